"""Between numpy arrays and ``TensorProto`` messages, the private ones of ``serving.wire`` or TensorFlow's own.

Arrays of strings have dtype object and hold ``bytes``. Messages come from the network and are not trusted: every
length is checked before memory is taken for it.
"""

import functools
import math
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from serving import wire

Array = npt.NDArray[Any]

MAX_REPEATED: Final = 1 << 16
"""Most elements that a tensor may stand for beyond those it carries (a ``*_val`` field may hold the first few only)."""
MAX_RANK: Final = 32
"""numpy's bound on dimensions."""


class TensorError(ValueError):
    """A tensor message that contradicts itself, or whose type MTMH does not speak."""


class _Type(NamedTuple):
    name: str
    dtype: np.dtype[Any]
    field: str


_TYPES: Final = {
    1: _Type("float32", np.dtype(np.float32), "float_val"),
    2: _Type("float64", np.dtype(np.float64), "double_val"),
    3: _Type("int32", np.dtype(np.int32), "int_val"),
    7: _Type("string", np.dtype(object), "string_val"),
    9: _Type("int64", np.dtype(np.int64), "int64_val"),
    10: _Type("bool", np.dtype(np.bool_), "bool_val"),
}
"""By number of ``tensorflow.DataType``."""
STRING: Final = 7
"""``tensorflow.DT_STRING``."""
_NUMBERS: Final = {kind.dtype: number for number, kind in _TYPES.items()}


def type_name(number: int) -> str:
    """The dtype's name (``string``, ``float32``, ...) for a number of ``tensorflow.DataType``."""
    kind = _TYPES.get(number)
    return kind.name if kind else f"DataType {number}"


def numpy_dtype(number: int) -> np.dtype[Any]:
    """The numpy dtype for a number of ``tensorflow.DataType``; object for strings.

    Raises:
        TensorError: MTMH does not speak this type.
    """
    kind = _TYPES.get(number)
    if kind is None:
        raise TensorError(f"tensors of DataType {number} are not supported")
    return kind.dtype


def type_number(dtype: np.dtype[Any]) -> int:
    """The number of ``tensorflow.DataType`` for a numpy dtype; that of strings for object, bytes and text.

    Raises:
        TensorError: MTMH does not speak this type.
    """
    number = _NUMBERS.get(dtype, STRING if dtype.kind in "SU" else None)
    if number is None:
        raise TensorError(f"arrays of dtype {dtype} are not supported")
    return number


class Plain(NamedTuple):
    """A tensor as it lies in a message and in TensorFlow's memory, without a numpy array between the two.

    Attributes:
        number: of ``tensorflow.DataType``.
        shape: sizes of the dimensions.
        values: strings one by one, anything else as its bytes, little endian; as many as the shape says.
    """

    number: int
    shape: tuple[int, ...]
    values: bytes | list[bytes]

    @classmethod
    def of(cls, array: Array) -> "Plain":
        """The array's values; elements of strings are ``bytes`` or ``str``.

        Raises:
            TensorError: MTMH does not speak its dtype.
        """
        number = type_number(array.dtype)
        if number != STRING:
            return cls(number, array.shape, array.tobytes())
        values = array.ravel().tolist()
        return cls(number, array.shape, [value.encode() if isinstance(value, str) else value for value in values])

    def array(self) -> Array:
        """A copy as an array; strings have dtype object and hold ``bytes``."""
        if isinstance(self.values, bytes):
            return np.frombuffer(self.values, numpy_dtype(self.number)).reshape(self.shape).copy()
        return _objects(self.values).reshape(self.shape)


def fill(proto: Any, array: Array) -> None:
    """Writes an array of any shape into an empty ``TensorProto``; as `fill_plain` does.

    Raises:
        TensorError: the array's dtype is not one that MTMH speaks.
    """
    fill_plain(proto, Plain.of(array))


def fill_plain(proto: Any, tensor: Plain) -> None:
    """Writes a tensor into an empty ``TensorProto``.

    Numbers travel as ``tensor_content`` (little endian), strings as ``string_val``.
    """
    # A server answers with the same types and shapes again and again.
    proto.MergeFromString(_kind(tensor.number, tensor.shape))
    if isinstance(tensor.values, bytes):
        proto.tensor_content = tensor.values
    else:
        proto.string_val.extend(tensor.values)


@functools.lru_cache(maxsize=256)
def _kind(number: int, shape: tuple[int, ...]) -> bytes:
    """A serialised ``TensorProto`` with nothing but a type and a shape."""
    proto = wire.TensorProto(dtype=number)
    for size in shape:
        proto.tensor_shape.dim.add().size = size
    return bytes(proto.SerializeToString())


def _shape(proto: Any) -> tuple[int, ...]:
    shape_proto = proto.tensor_shape
    if shape_proto.unknown_rank:
        raise TensorError("the tensor's shape is unknown")
    shape = tuple([dim.size for dim in shape_proto.dim])
    if len(shape) > MAX_RANK or min(shape, default=0) < 0:
        raise TensorError(f"the tensor's shape {list(shape)[:MAX_RANK]} is not possible")
    # An empty tensor carries nothing that bounds its other dimensions, and TensorFlow ends the process where a product
    # of some of them, within a model, is beyond an int64.
    if 0 in shape and math.prod([size or 1 for size in shape]) > MAX_REPEATED:
        raise TensorError(f"the tensor's shape {list(shape)} is that of no elements, and too large")
    return shape


def _split_strings(content: bytes, count: int) -> list[bytes]:
    """TensorFlow's packing of strings in ``tensor_content``: all lengths as varints, then all bytes."""
    lengths, at = [], 0
    for _ in range(count):
        length = shift = 0
        while True:
            if at >= len(content) or shift > 63:
                raise TensorError("the tensor's content is cut short")
            byte = content[at]
            at += 1
            length |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        lengths.append(length)
    if at + sum(lengths) != len(content):
        raise TensorError("the tensor's content does not match its shape")
    strings = []
    for length in lengths:
        strings.append(content[at : at + length])
        at += length
    return strings


def _from_content(content: bytes, kind: _Type, count: int) -> bytes | list[bytes]:
    if kind.dtype == object:
        if count > len(content):
            raise TensorError("the tensor's content does not match its shape")
        return _split_strings(content, count)
    if len(content) != count * kind.dtype.itemsize:
        raise TensorError(
            f"the tensor's content has {len(content)} bytes, its shape asks for {count * kind.dtype.itemsize}"
        )
    return content


def _objects(values: list[bytes]) -> Array:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _from_values(values: list[Any], kind: _Type, count: int) -> bytes | list[bytes]:
    if len(values) > count:
        raise TensorError(f"the tensor carries {len(values)} values, its shape asks for {count}")
    if count - len(values) > MAX_REPEATED:
        raise TensorError(f"the tensor carries {len(values)} values, its shape asks for {count}: too many to repeat")
    if len(values) < count:
        # TensorFlow's rule: the last value stands for those left out, and the type's zero when there is none.
        last = values[-1] if values else (b"" if kind.dtype == object else 0)
        values = values + [last] * (count - len(values))
    return values if kind.dtype == object else np.array(values, kind.dtype).tobytes()


def to_plain(proto: Any) -> Plain:
    """Reads a ``TensorProto``, in its ``tensor_content`` or its ``*_val`` form.

    Raises:
        TensorError: lengths contradict the shape, or the type is not one that MTMH speaks.
    """
    kind = _TYPES.get(proto.dtype)
    if kind is None:
        raise TensorError(f"tensors of DataType {proto.dtype} are not supported")
    shape = _shape(proto)
    count = math.prod(shape)
    content = proto.tensor_content
    if content:
        return Plain(proto.dtype, shape, _from_content(content, kind, count))
    return Plain(proto.dtype, shape, _from_values(list(getattr(proto, kind.field)), kind, count))


def to_array(proto: Any) -> Array:
    """`to_plain`, as an array.

    Returns:
        An array of the message's shape; strings as dtype object holding ``bytes``.

    Raises:
        TensorError: lengths contradict the shape, or the type is not one that MTMH speaks.
    """
    return to_plain(proto).array()
