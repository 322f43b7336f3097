"""TFRecord files of tf.Example messages, written and read without TensorFlow.

A Beam worker would pay 5 s for importing TensorFlow, so the three messages of ``tensorflow/core/example`` are declared
in a private descriptor pool, where they cannot clash with TensorFlow's own.
"""

import functools
import hashlib
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from preprocessing.errors import UserError
from preprocessing.files import open_raw, replacing
from preprocessing.schema import Feature, OutputFile
from preprocessing.tfrecord import frame, unframe

_GZIP: Final = 31
"""zlib's window bits for a gzip container; its header then carries no name and no time."""
_LEVEL: Final = 6
_BLOCK_BYTES: Final = 1 << 20


def write_records(directory: str, path: str, records: Iterable[bytes]) -> OutputFile:
    """Writes a gzip-compressed TFRecord file whose bytes depend on the records alone.

    The file appears under its name when it is complete, so a retried bundle of work replaces it as a whole.

    Args:
      directory: the output directory, on any Beam filesystem.
      path: path of the file below it.
      records: serialized messages.
    """
    count, size, digest = 0, 0, hashlib.sha256()
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    with replacing(f"{directory}/{path}") as stream:

        def put(data: bytes) -> int:
            stream.write(data)
            digest.update(data)
            return len(data)

        for record in records:
            size += put(compressor.compress(frame(record)))
            count += 1
        size += put(compressor.flush())
    return OutputFile(path=path, bytes=size, sha256=digest.hexdigest(), records=count)


def read_records(path: str) -> Iterator[bytes]:
    """Records of a gzip-compressed TFRecord file, checked against their CRCs.

    Raises:
      UserError: the file is missing, cut off or damaged.
    """
    try:
        yield from unframe(_decompressed(path))
    except ValueError as error:
        raise _damaged(path, str(error)) from error


def _decompressed(path: str) -> Iterator[bytes]:
    try:
        stream = open_raw(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error}; run the preprocessing again") from error
    decompressor = zlib.decompressobj(_GZIP)
    with stream:
        while block := stream.read(_BLOCK_BYTES):
            try:
                yield decompressor.decompress(block)
            except zlib.error as error:
                raise _damaged(path, str(error)) from error
    if not decompressor.eof:
        raise _damaged(path, "it is cut off")
    if decompressor.unused_data:
        raise _damaged(path, "bytes follow its end")


def _damaged(path: str, why: str) -> UserError:
    return UserError(f"{path} is damaged: {why}; run the preprocessing again")


@functools.cache
def _example_class() -> Any:
    """The class of ``tensorflow.Example``, built from its declaration."""
    field = descriptor_pb2.FieldDescriptorProto
    proto = descriptor_pb2.FileDescriptorProto(name="mtmh/example.proto", package="mtmh.tensorflow", syntax="proto3")

    def message(name: str) -> Any:
        return proto.message_type.add(name=name)

    for name, kind in (
        ("BytesList", field.TYPE_BYTES),
        ("FloatList", field.TYPE_FLOAT),
        ("Int64List", field.TYPE_INT64),
    ):
        values = message(name).field.add(name="value", number=1, type=kind, label=field.LABEL_REPEATED)
        if kind != field.TYPE_BYTES:
            values.options.packed = True
    feature = message("Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, list_type) in enumerate(
        (("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List")), start=1
    ):
        feature.field.add(
            name=name,
            number=number,
            type=field.TYPE_MESSAGE,
            type_name=f".mtmh.tensorflow.{list_type}",
            label=field.LABEL_OPTIONAL,
            oneof_index=0,
        )
    features = message("Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    entry.field.add(
        name="value",
        number=2,
        type=field.TYPE_MESSAGE,
        type_name=".mtmh.tensorflow.Feature",
        label=field.LABEL_OPTIONAL,
    )
    features.field.add(
        name="feature",
        number=1,
        type=field.TYPE_MESSAGE,
        type_name=".mtmh.tensorflow.Features.FeatureEntry",
        label=field.LABEL_REPEATED,
    )
    message("Example").field.add(
        name="features",
        number=1,
        type=field.TYPE_MESSAGE,
        type_name=".mtmh.tensorflow.Features",
        label=field.LABEL_OPTIONAL,
    )
    pool: Any = descriptor_pool.DescriptorPool()
    pool.Add(proto)
    descriptor = pool.FindMessageTypeByName("mtmh.tensorflow.Example")
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(pool).GetPrototype(descriptor)


_LIST_OF_KIND: Final = {"bytes": "bytes_list", "int64": "int64_list", "float": "float_list"}
_DTYPE_OF_KIND: Final[Mapping[str, Any]] = {"int64": np.int64, "float": np.float32}


class DecodedExample:
    """A parsed tf.Example whose features are looked up by their declaration."""

    def __init__(self, record: bytes):
        """Parses ``record``; raises ``ValueError`` when it is no tf.Example."""
        self._features = _example_class().FromString(record).features.feature

    def array(self, feature: Feature) -> Any:
        """The values of a numeric feature as an array [n]: int64 or float32.

        Raises:
          ValueError: there are more or fewer than the feature has.
        """
        values = self._values(feature)
        if feature.length not in (None, len(values)):
            raise ValueError(f"feature {feature.name} has {len(values)} values instead of {feature.length}")
        return np.fromiter(values, dtype=_DTYPE_OF_KIND[feature.kind], count=len(values))

    def values(self, feature: Feature) -> list[Any]:
        """The values of a feature as a list."""
        return list(self._values(feature))

    def scalar(self, feature: Feature) -> Any:
        """The only value of a feature; raises ``ValueError`` when there is not exactly one."""
        values = self._values(feature)
        if len(values) != 1:
            raise ValueError(f"feature {feature.name} has {len(values)} values instead of one")
        return values[0]

    def _values(self, feature: Feature) -> Any:
        if feature.name not in self._features:
            raise ValueError(f"feature {feature.name} is missing")
        return getattr(self._features[feature.name], _LIST_OF_KIND[feature.kind]).value
