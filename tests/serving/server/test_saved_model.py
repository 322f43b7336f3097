"""The loader that lets requests have their turn: the same model as TensorFlow's own loader makes, and its errors."""

import shutil

import numpy as np
import pytest

from preprocessing.backend import tf
from serving.server import saved_model
from serving.server.servable import LoadedVersion


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    """A SavedModel with a variable, a table that is made of an asset file, and a function called by another."""
    directory = tmp_path_factory.mktemp("model")
    names = directory / "names.txt"
    names.write_text("ant\nbee\ncat\n", encoding="utf-8")
    module = tf.Module()
    initializer = tf.lookup.TextFileInitializer(
        str(names), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
    )
    module.table = tf.lookup.StaticHashTable(initializer, -1)
    module.weights = tf.Variable(np.arange(12, dtype=np.float32).reshape(4, 3))
    module.row = tf.function(lambda place: tf.gather(module.weights, place + 1))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "name")])
    def look_up(name):
        return {"row": module.row(module.table.lookup(name))}

    module.look_up = look_up
    tf.saved_model.save(module, str(directory / "1"), signatures={"serving_default": look_up})
    return directory / "1"


def by_tensorflow(path, names):
    """What TensorFlow's loader makes of it."""
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        meta_graph = tf.compat.v1.saved_model.load(session, ["serve"], str(path))
        definition = meta_graph.signature_def["serving_default"]
        return session.run(definition.outputs["row"].name, {definition.inputs["name"].name: names})


def test_variables_tables_and_functions_are_those_of_tensorflows_loader(version):
    names = [b"cat", b"ant", b"dog"]
    loaded = LoadedVersion(1, version)
    try:
        found = loaded.predict(loaded.signature("serving_default"), {"name": np.array(names, object)})["row"]
    finally:
        loaded.close()
    assert found.tolist() == by_tensorflow(version, names).tolist() == [[9, 10, 11], [3, 4, 5], [0, 1, 2]]


def test_a_model_that_was_moved_brings_its_own_assets(version, tmp_path):
    moved = tmp_path / "7"
    shutil.copytree(version, moved)
    (moved / "assets" / "names.txt").write_text("bee\nant\n", encoding="utf-8")
    loaded = LoadedVersion(7, moved)
    try:
        found = loaded.predict(loaded.signature(""), {"name": np.array([b"ant", b"cat"], object)})["row"]
    finally:
        loaded.close()
    assert found.tolist() == [[6, 7, 8], [0, 1, 2]]


def test_a_model_of_tensorflow_1_is_left_to_its_loader(tmp_path):
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        number = tf.compat.v1.placeholder(tf.float32, [None], "x")
        weight = tf.compat.v1.get_variable("w", initializer=3.0, use_resource=True)
        session.run(weight.initializer)
        tf.compat.v1.saved_model.simple_save(session, str(tmp_path / "1"), {"x": number}, {"y": weight * number})
    loaded = LoadedVersion(1, tmp_path / "1")
    try:
        found = loaded.predict(loaded.signature(""), {"x": np.array([2.0], np.float32)})
    finally:
        loaded.close()
    assert found["y"].tolist() == [6.0]


@pytest.mark.parametrize("keep", [0, 1, 10, 0.5, 0.99])
def test_a_file_that_is_cut_short_is_an_error(version, tmp_path, keep):
    cut = tmp_path / "1"
    shutil.copytree(version, cut)
    data = (cut / "saved_model.pb").read_bytes()
    length = keep if isinstance(keep, int) else int(keep * len(data))
    (cut / "saved_model.pb").write_bytes(data[:length])
    with pytest.raises((OSError, ValueError, RuntimeError, tf.errors.OpError)):
        LoadedVersion(1, cut)


@pytest.mark.parametrize("name", ["saved_model.pb", "variables/variables.data-00000-of-00001", "assets/names.txt"])
def test_a_file_that_is_missing_is_an_error(version, tmp_path, name):
    lacking = tmp_path / "1"
    shutil.copytree(version, lacking)
    (lacking / name).unlink()
    with pytest.raises((OSError, ValueError, tf.errors.OpError)):
        LoadedVersion(1, lacking)


def test_fields_are_those_of_protocol_buffers():
    from tensorflow.core.protobuf import meta_graph_pb2

    message = meta_graph_pb2.MetaGraphDef()
    message.meta_info_def.tags.append("serve")
    message.graph_def.node.add(name="n" * 300, op="NoOp")
    message.asset_file_def.add(filename="a")
    message.asset_file_def.add(filename="b")
    data = message.SerializeToString()
    fields = list(saved_model._fields(data))
    assert b"".join(whole for _, _, whole in fields) == data
    assert [number for number, _, _ in fields] == [1, 2, 6, 6]
    assert fields[1][1] == message.graph_def.SerializeToString()
    for cut in (1, 5, 100, len(data) - 1):
        with pytest.raises(ValueError, match="cut short"):
            list(saved_model._fields(data[:cut]))
