"""Loads a SavedModel into a session beside requests that are answered meanwhile.

TensorFlow's own loader parses the file twice into Python's messages, writes the graph out again and imports that, and
holds the interpreter's lock for most of it: 70 to 90 ms in which no request gets on. Here the graph's bytes go from the
file to the import as they are.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from serving.server.runtime import tensorflow

TAG: Final = "serve"
INIT_SIGNATURE: Final = "__saved_model_init_op"
_META_GRAPH: Final = 2
"""`SavedModel.meta_graphs`."""
_GRAPH: Final = 2
"""`MetaGraphDef.graph_def`."""
_BYTES: Final = 2


def load(session: Any, path: Path) -> Any:
    """Loads the graph tagged ``serve``, its variables and tables.

    Args:
        session: a v1 session of an empty graph.
        path: the directory that holds ``saved_model.pb``.

    Returns:
        The ``MetaGraphDef``; of a model that TensorFlow 2 wrote, without the graph.

    Raises:
        tf.errors.OpError, OSError, ValueError, RuntimeError: whatever TensorFlow finds wrong with it.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import meta_graph_pb2

    tf = tensorflow()
    file = path / tf.saved_model.SAVED_MODEL_FILENAME_PB
    data = file.read_bytes() if file.is_file() else b""
    meta_graphs = [value for number, value, _ in _fields(data) if number == _META_GRAPH]
    for meta_graph in meta_graphs:
        graph = b"".join(value for number, value, _ in _fields(meta_graph) if number == _GRAPH)
        rest = b"".join(whole for number, _, whole in _fields(meta_graph) if number != _GRAPH)
        try:
            described = meta_graph_pb2.MetaGraphDef.FromString(rest)
        except DecodeError as error:
            raise ValueError(f"{file} cannot be read: {error}") from error
        if set(described.meta_info_def.tags) == {TAG} and described.HasField("object_graph_def"):
            _import(session.graph, graph)
            _restore(session, path, described)
            return described
    with session.graph.as_default():  # other makes, and files that are none: TensorFlow says what is wrong
        return tf.compat.v1.saved_model.load(session, [TAG], str(path))


def _import(graph: Any, graph_def: bytes) -> None:
    from tensorflow.python.client import pywrap_tf_session as c_api
    from tensorflow.python.framework import c_api_util

    options = c_api_util.ScopedTFImportGraphDefOptions()
    c_api.TF_ImportGraphDefOptionsSetValidateColocationConstraints(options.options, True)
    with graph._c_graph.get() as c_graph, c_api_util.tf_buffer(graph_def) as buffer:
        results = c_api.TF_GraphImportGraphDefWithResults(c_graph, buffer, options.options)
        c_api.TF_DeleteImportGraphDefResults(results)


def _restore(session: Any, path: Path, meta_graph: Any) -> None:
    tf = tensorflow()
    saver = meta_graph.saver_def
    if saver.restore_op_name:
        variables = path / tf.saved_model.VARIABLES_DIRECTORY / tf.saved_model.VARIABLES_FILENAME
        _run(session, {saver.filename_tensor_name: str(variables)}, saver.restore_op_name)
    if INIT_SIGNATURE in meta_graph.signature_def:
        assets = {
            each.tensor_info.name: str(path / tf.saved_model.ASSETS_DIRECTORY / each.filename)
            for each in meta_graph.asset_file_def
        }
        (init,) = meta_graph.signature_def[INIT_SIGNATURE].outputs.values()
        _run(session, assets, init.name.split(":")[0])


def _run(session: Any, feeds: dict[str, str], target: str) -> None:
    import numpy as np
    from tensorflow.core.protobuf import config_pb2

    options = config_pb2.CallableOptions(feed=list(feeds), target=[target])
    session._make_callable_from_options(options)(*(np.array(value, object) for value in feeds.values()))


def _fields(message: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """The fields of a serialised message, one level deep: number, content where it is bytes, and all of its bytes.

    Raises:
        ValueError: it is cut short, or no message.
    """
    at = 0
    while at < len(message):
        begin = at
        tag, at = _varint(message, at)
        kind, content = tag & 7, b""
        if kind == _BYTES:
            length, at = _varint(message, at)
            content = message[at : at + length]
            at += length
        elif kind == 0:
            _, at = _varint(message, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError("saved_model.pb is no SavedModel")
        if at > len(message):
            raise ValueError("saved_model.pb is cut short")
        yield tag >> 3, content, message[begin:at]


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise ValueError("saved_model.pb is cut short")
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
