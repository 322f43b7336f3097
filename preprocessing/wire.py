"""Serialized tf.Example messages, straight from arrays.

Protocol Buffers' own classes take values one Python object at a time, which for blocks of pairs cost more than mining
them. What is written here is what ``SerializeToString(deterministic=True)`` gives: features ordered by name, numbers
packed.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from preprocessing.schema import Feature

_NESTED: Final = {"bytes": b"\x0a", "float": b"\x12", "int64": b"\x1a"}
"""Tags of ``bytes_list``, ``float_list`` and ``int64_list`` in a Feature."""
_ALL_BITS: Final = 2**64 - 1
_FIRST: Final = b"\x0a"
"""Tag of field 1, with a length: a list's values, an entry's key, the entries, the features."""
_VALUE: Final = b"\x12"
"""Tag of field 2, with a length: an entry's value."""


def encode_example(values: Sequence[tuple[Feature, Any]]) -> bytes:
    """A serialized tf.Example with the given features; equal values give equal bytes.

    Args:
      values: features, each with its values: a list or array of numbers, or a list of bytes.
    """
    entries = []
    for feature, items in sorted(values, key=lambda pair: pair[0].name.encode("utf-8")):
        content = _NESTED[feature.kind] + _sized(_list(feature.kind, items))
        entries.append(_FIRST + _sized(_FIRST + _sized(feature.name.encode("utf-8")) + _VALUE + _sized(content)))
    return _FIRST + _sized(b"".join(entries))


def varints(values: npt.NDArray[np.int64]) -> bytes:
    """Base-128 varints of integers int64 [n], one after another; negative ones take ten bytes, as everywhere.

    >>> varints(np.array([1, 300])).hex()
    '01ac02'
    """
    unsigned = values.view(np.uint64)
    most = int(unsigned.max(initial=0))
    width = max(1, -(-most.bit_length() // 7))
    if width == 1:
        return unsigned.astype(np.uint8).tobytes()
    shifts = np.arange(0, 7 * width, 7, dtype=np.uint64)
    if most < 2**31:
        # Half the bytes to move.
        unsigned, shifts = unsigned.astype(np.uint32), shifts.astype(np.uint32)
    rest = unsigned[:, np.newaxis] >> shifts
    groups = (rest & rest.dtype.type(0x7F)).astype(np.uint8)
    groups[:, :-1] |= (rest[:, 1:] > 0).view(np.uint8) << np.uint8(7)
    used = rest > 0
    used[:, 0] = True
    return groups[used].tobytes()


def _list(kind: str, items: Any) -> bytes:
    """The fields of a ``BytesList``, ``FloatList`` or ``Int64List``."""
    if kind == "bytes":
        return b"".join(_FIRST + _sized(item) for item in items)
    if not len(items):
        return b""
    if kind == "float":
        return _FIRST + _sized(np.asarray(items, "<f4").tobytes())
    if len(items) == 1:
        return _FIRST + _sized(_varint(int(items[0]) & _ALL_BITS))
    return _FIRST + _sized(varints(np.ascontiguousarray(items, np.int64)))


def _sized(data: bytes) -> bytes:
    """Data after its length."""
    return _varint(len(data)) + data


def _varint(value: int) -> bytes:
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)
