"""Into tensors of TensorFlow's C API, and out of them."""

import ctypes
import functools
import math
from typing import Any, Final

from serving.server.c_api import RELEASE, library
from serving.tensors import STRING, Plain, numpy_dtype

_STRING_BYTES: Final = 24
_MOST_INLINE: Final = 22
"""A ``TF_TString`` of that many bytes or fewer holds them itself, after a byte of four times their number
(``tensorflow/core/platform/ctstring_internal.h``, little endian): read and written here in one go for a whole tensor,
where a call for each string would take longer than the search."""


_INLINE_HEADS: Final = bytes(range(0, 256, 4))

_held: dict[int, Any] = {}
"""Memory of tensors with long strings, by its address, until TensorFlow has done with it."""


def to_tensor(functions: Any, plain: Plain) -> int:
    """A TF_Tensor with a copy of the values, for the caller to delete; ``functions`` is `c_api.library`."""
    number, shape, values = plain
    dims = _dims(shape)
    content = values if isinstance(values, bytes) else b"".join([_inline(value) for value in values])
    if isinstance(values, bytes) or max(map(len, values), default=0) <= _MOST_INLINE:
        tensor = functions.TF_AllocateTensor(number, dims, len(shape), len(content))
        ctypes.memmove(functions.TF_TensorData(tensor), content, len(content))
        return int(tensor)
    memory = ctypes.create_string_buffer(content, len(content))
    address = ctypes.addressof(memory)
    for place, value in enumerate(values):
        if len(value) > _MOST_INLINE:
            functions.TF_StringCopy(address + _STRING_BYTES * place, value, len(value))
    _held[address] = memory
    return int(functions.TF_NewTensor(number, dims, len(shape), address, len(content), _release, None))


@functools.lru_cache(maxsize=256)
def _dims(shape: tuple[int, ...]) -> Any:
    return (ctypes.c_int64 * len(shape))(*shape)


def _inline(value: bytes) -> bytes:
    """A ``TF_TString`` that holds a short value itself; of a long one, the empty one."""
    if len(value) > _MOST_INLINE:
        value = b""
    return (bytes((len(value) << 2,)) + value).ljust(_STRING_BYTES, b"\0")


@RELEASE
def _release(address: int, length: int, _: Any) -> None:
    deallocate = library().TF_StringDealloc
    for offset in range(0, length, _STRING_BYTES):
        deallocate(address + offset)
    del _held[address]


def to_plain(functions: Any, tensor: int, number: int) -> Plain:
    """A copy of a TF_Tensor of the type of that number."""
    axis_size = functions.TF_Dim
    shape = tuple([axis_size(tensor, axis) for axis in range(functions.TF_NumDims(tensor))])
    count, address = math.prod(shape), functions.TF_TensorData(tensor)
    if number == STRING:
        return Plain(number, shape, _strings(functions, address, count))
    return Plain(number, shape, ctypes.string_at(address, count * numpy_dtype(number).itemsize) if count else b"")


def _strings(functions: Any, address: int, count: int) -> list[bytes]:
    """The values of so many ``TF_TString``."""
    content = ctypes.string_at(address, _STRING_BYTES * count) if count else b""
    heads = content[::_STRING_BYTES]
    starts = range(1, len(content), _STRING_BYTES)
    values = [content[start : start + (head >> 2)] for start, head in zip(starts, heads, strict=True)]
    if heads.translate(None, _INLINE_HEADS):
        for place, head in enumerate(heads):
            if head & 3:
                at = address + _STRING_BYTES * place
                data, length = functions.TF_StringGetDataPointer(at), functions.TF_StringGetSize(at)
                values[place] = ctypes.string_at(data, length)
    return values
