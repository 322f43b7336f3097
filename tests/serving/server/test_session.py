"""Sessions of TensorFlow's C API: the model that TensorFlow's own loader makes of the same files, and its errors."""

import functools
import os
import re
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as npst

from preprocessing.backend import tf
from serving.server import c_tensors, session
from serving.server.background import give_way
from serving.server.c_api import ModelError
from serving.server.servable import LoadedVersion
from serving.server.session import Call, Session
from serving.tensors import Plain


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
        found = loaded.ask("serving_default", name=np.array(names, object))["row"]
    finally:
        loaded.close()
    assert found.tolist() == by_tensorflow(version, names).tolist() == [[9, 10, 11], [3, 4, 5], [0, 1, 2]]


def test_a_model_that_was_moved_brings_its_own_assets(version, tmp_path):
    moved = tmp_path / "7"
    shutil.copytree(version, moved)
    (moved / "assets" / "names.txt").write_text("bee\nant\n", encoding="utf-8")
    loaded = LoadedVersion(7, moved)
    try:
        found = loaded.ask("", name=np.array([b"ant", b"cat"], object))["row"]
    finally:
        loaded.close()
    assert found.tolist() == [[6, 7, 8], [0, 1, 2]]


def test_a_model_of_tensorflow_1(tmp_path):
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        number = tf.compat.v1.placeholder(tf.float32, [None], "x")
        weight = tf.compat.v1.get_variable("w", initializer=3.0, use_resource=True)
        session.run(weight.initializer)
        tf.compat.v1.saved_model.simple_save(session, str(tmp_path / "1"), {"x": number}, {"y": weight * number})
    loaded = LoadedVersion(1, tmp_path / "1")
    try:
        found = loaded.ask("", x=np.array([2.0], np.float32))
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
    with pytest.raises(ModelError):
        LoadedVersion(1, cut)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("saved_model.pb", "Could not find SavedModel"),
        ("variables/variables.data-00000-of-00001", "variables.data-00000-of-00001"),
        ("assets/names.txt", "names.txt"),
    ],
)
def test_a_file_that_is_missing_is_an_error(version, tmp_path, name, said):
    lacking = tmp_path / "1"
    shutil.copytree(version, lacking)
    (lacking / name).unlink()
    with pytest.raises(ModelError, match=re.escape(said)):
        LoadedVersion(1, lacking)


def test_what_is_closed_is_asked_no_more_and_closing_twice_does_no_harm(version):
    session = Session(version, "serve")
    call = Call(session, ["serving_default_name:0"], ["StatefulPartitionedCall:0"])
    session.close()
    session.close()
    with pytest.raises(ValueError, match="closed"):
        call([Plain.of(np.array([b"ant"], object))])


def test_a_tensor_that_is_not_there_is_named(version):
    session = Session(version, "serve")
    try:
        with pytest.raises(ModelError, match="no tensor nowhere:0"):
            Call(session, ["nowhere:0"], [])
    finally:
        session.close()


def test_another_tag_is_an_error(version):
    with pytest.raises(ModelError, match="tags"):
        Session(version, "elsewhere")


@pytest.fixture(scope="module")
def echo(tmp_path_factory):
    """A call that gives back a tensor of each type, and the strings joined to themselves."""

    @tf.function(
        input_signature=[
            tf.TensorSpec(None, dtype, name)
            for name, dtype in (("text", tf.string), ("float", tf.float32), ("int", tf.int64), ("bool", tf.bool))
        ]
    )
    def echo(text, float, int, bool):  # noqa: A002
        return {"bool": bool, "float": float, "int": int, "text": text, "twice": text + text}

    module = tf.Module()
    directory = tmp_path_factory.mktemp("echo") / "1"
    tf.saved_model.save(module, str(directory), signatures={"serving_default": echo})
    loaded = LoadedVersion(1, directory)
    yield functools.partial(loaded.ask, "")
    loaded.close()


shapes = npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
texts = st.one_of(
    st.binary(max_size=30), st.integers(0, 60).map(lambda n: b"x" * n), st.sampled_from([b"\0", b"y" * 70_000])
)


@settings(deadline=None)
@given(
    npst.arrays(object, shapes, elements=texts, fill=st.nothing()),
    npst.arrays(np.float32, shapes),
    npst.arrays(np.int64, shapes),
    npst.arrays(np.bool_, shapes),
)
def test_tensors_come_back_as_they_went(echo, text, number, whole, truth):
    found = echo(text=text, float=number, int=whole, bool=truth)
    for name, expected in (("text", text), ("float", number), ("int", whole), ("bool", truth)):
        assert found[name].shape == expected.shape
        assert found[name].dtype == expected.dtype
        np.testing.assert_array_equal(found[name], expected)
    assert found["twice"].ravel().tolist() == [2 * value for value in text.ravel().tolist()]
    assert not c_tensors._held


def test_strings_do_not_pile_up(echo):
    def resident():
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    long = np.array([b"z" * 1_000_000] * 4, object)
    rest = {"float": np.float32([1]), "int": np.int64([1]), "bool": np.array([True])}
    for _ in range(5):
        echo(text=long, **rest)
    before = resident()
    for _ in range(50):
        echo(text=long, **rest)
    assert resident() - before < 50e6  # of the 600 MB that passed


def test_a_thread_that_gives_way_runs_its_ops_itself(version):
    session = Session(version, "serve")
    seen = []

    def work():
        give_way()
        seen.append((session.run_options is not None, os.getpriority(os.PRIO_PROCESS, threading.get_native_id())))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    try:
        assert seen == [(True, 15)]
        assert (session.run_options is not None) == (len(os.sched_getaffinity(0)) == 1)
        call = Call(session, ["serving_default_name:0"], ["StatefulPartitionedCall:0"])
        answers = []
        thread = threading.Thread(
            target=lambda: (give_way(), answers.extend(call([Plain.of(np.array([b"cat"], object))])))
        )
        thread.start()
        thread.join()
        assert answers[0].array().tolist() == [[9, 10, 11]]
    finally:
        session.close()


def test_metadata_are_those_of_tensorflow_serving(version):
    from google.protobuf import json_format
    from tensorflow_serving.apis import get_model_metadata_pb2

    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        meta_graph = tf.compat.v1.saved_model.load(session, ["serve"], str(version))
    expected = get_model_metadata_pb2.SignatureDefMap()
    expected.signature_def["serving_default"].CopyFrom(meta_graph.signature_def["serving_default"])
    loaded = LoadedVersion(1, version)
    loaded.close()
    assert loaded.metadata == json_format.MessageToDict(
        expected, including_default_value_fields=True, preserving_proto_field_name=True
    )
    assert get_model_metadata_pb2.SignatureDefMap.FromString(loaded.signature_def_map) == expected


def test_no_python_of_tensorflow_is_imported(version):
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from serving.server.serve import serve\n"
        "from serving.server.servable import LoadedVersion\n"
        "loaded = LoadedVersion(1, Path(sys.argv[1]))\n"
        "answer = loaded.ask('', name=np.array([b'bee'], object))\n"
        "loaded.close()\n"
        "heavy = [name for name in sys.modules if name.split('.')[0] in ('tensorflow', 'scann')]\n"
        "print(answer['row'].tolist(), heavy)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(version)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.stdout, result.stderr) == ("[[6.0, 7.0, 8.0]] []\n", "")


def test_graphs_are_written_out_and_what_is_shared_is_done_once():
    from tensorflow.core.protobuf import config_pb2
    from tensorflow.python.grappler import tf_optimizer

    @tf.function
    def twice(value):
        return 2.0 * tf.sin(value)

    graph = tf.Graph()
    with graph.as_default():
        value = tf.compat.v1.placeholder(tf.float32, [None])
        answer = tf.identity(twice(value) + twice(value), name="answer")
        tf.cos(value)
        tf.compat.v1.add_to_collection("train_op", answer)
        meta_graph = tf.compat.v1.train.export_meta_graph(graph=graph)
    config = config_pb2.ConfigProto.FromString(session.session_config())
    ops = [node.op for node in tf_optimizer.OptimizeGraph(config, meta_graph).node]
    assert ops.count("Sin") == ops.count("Mul") == 1
    assert "Cos" not in ops
    assert not any("Call" in op for op in ops)
