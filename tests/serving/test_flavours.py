"""Both flavours as TF Serving meets them: the loader of TensorFlow 1, a session, no Python of ScaNN's or ours."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from preprocessing.backend import tf
from serving.flavours import SCANN, STOCK
from serving.push import versions
from serving.signatures import RETRIEVE, SIGNATURES
from serving.version_manifest import MODEL_CARD
from tests.serving.naive import Row
from tests.serving.test_export import retrieve_inputs

_PROGRAM = """
import importlib.util, os, sys
from pathlib import Path
stock, scann, ids_file, answers = sys.argv[1:]
library = Path(importlib.util.find_spec("scann").origin).parent / "scann_ops" / "cc" / "_scann_ops.so"
sys.modules["scann"] = None  # an import of it fails
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry
from tensorflow_serving.apis import prediction_log_pb2

def foreign_ops(path):
    saved = saved_model_pb2.SavedModel.FromString((Path(path) / "saved_model.pb").read_bytes())
    used = set()
    for meta in saved.meta_graphs:
        own = {function.signature.name for function in meta.graph_def.library.function}
        nodes = [*meta.graph_def.node]
        for function in meta.graph_def.library.function:
            nodes += function.node_def
        used |= {node.op for node in nodes} - own
    assert len(used) > 50, used
    return sorted(op for op in used if op_def_registry.get(op) is None)

ids = Path(ids_file).read_text(encoding="utf-8").split("\\n")[:-1]
rng = np.random.default_rng(0)
def names(width, batch=20):
    pool = np.array([*ids, *["", "nobody", "x" * 10_000] * 5], object)
    return pool[rng.integers(0, len(pool), (batch, width))]

def served(path):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], path)
        def call(signature, inputs):
            definition = graph.signature_def[signature]
            assert set(inputs) == set(definition.inputs)
            feeds = {definition.inputs[name].name: value for name, value in inputs.items()}
            return session.run({name: info.name for name, info in definition.outputs.items()}, feeds)

        replayed = 0
        for record in tf.compat.v1.io.tf_record_iterator(path + "/assets.extra/tf_serving_warmup_requests"):
            request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
            inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
            call(request.model_spec.signature_name, inputs)
            replayed += 1
        return replayed, [asked(call, turn) for turn in range(20)]

def asked(call, turn):
    inputs = {
        "item_id": names(3),
        "relevance_weight": rng.random(20).astype(np.float32),
        "k": rng.integers(0, 80, 20).astype(np.int32),
        "exclude_id": names(1 + turn),
    }
    signature = "retrieve"
    if turn % 2:
        signature = "retrieve_filtered"
        categories = np.array(["", "red", "blue", "nothing"], object)
        inputs["allow_category"] = categories[rng.integers(0, 4, (20, 2))]
        inputs["deny_category"] = categories[rng.integers(0, 4, (20, 1))]
    answer = call(signature, inputs)
    for row in range(20):
        found = answer["item_id"][row][: answer["count"][row]].tolist()
        assert len(set(found)) == len(found) == answer["count"][row] <= min(30, inputs["k"][row])
        banned = {name.encode() for key in ("item_id", "exclude_id") for name in inputs[key][row]}
        assert not banned & set(found) and set(found) <= {item.encode() for item in ids}
        assert not any(answer["item_id"][row][len(found):])
    return signature, inputs, answer

found = {}
for flavour, path in (("stock", stock), ("scann", scann)):  # stock while there are TensorFlow's own ops alone
    foreign = foreign_ops(path)
    if flavour == "scann":
        tf.load_op_library(str(library))
    replayed, answered = served(path)
    found[flavour] = {"foreign": foreign, "replayed": replayed, "answered": answered}
ours = [name for name in sys.modules if name.split(".")[0] in ("trainer", "serving", "preprocessing")]
assert not ours and sys.modules["scann"] is None and "tensorflow_recommenders" not in sys.modules, ours
np.save(answers, found, allow_pickle=True)
"""


@pytest.fixture(scope="module")
def results(exported_tree):
    """What was exported, by flavour."""
    return {SCANN: exported_tree.result, STOCK: exported_tree.result.stock}


@pytest.fixture(scope="module")
def sessions(results, tmp_path_factory, trained):
    """What a process makes of both that has TensorFlow's own ops alone, and for `scann` its op library."""
    directory = tmp_path_factory.mktemp("session")
    ids, answers = directory / "ids", directory / "answers.npy"
    ids.write_text("".join(f"{item_id}\n" for item_id in trained.items.ids), encoding="utf-8")
    paths = [results[STOCK].directory, results[SCANN].directory, ids, answers]
    command = [sys.executable, "-c", _PROGRAM, *map(str, paths)]
    run = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    return np.load(answers, allow_pickle=True).item()


@pytest.fixture(scope="module")
def loaded(results):
    """By flavour."""
    return {flavour: tf.saved_model.load(str(result.directory)) for flavour, result in results.items()}


def test_ops_outside_tensorflow(sessions):
    """In the graph and in the functions that it calls."""
    assert sessions[STOCK]["foreign"] == []
    assert sessions[SCANN]["foreign"]
    assert all(op.startswith("Scann>") for op in sessions[SCANN]["foreign"])


@pytest.mark.parametrize("flavour", [SCANN, STOCK])
def test_warm_up_is_replayed_in_full(sessions, exported_tree, flavour):
    assert sessions[flavour]["replayed"] == len(SIGNATURES) * exported_tree.config.export.warmup_requests


@pytest.mark.parametrize("flavour", [SCANN, STOCK])
def test_random_requests_are_answered_alike_by_either_loader(loaded, sessions, flavour):
    for signature, inputs, answer in sessions[flavour]["answered"][:4]:
        tensors = {name: tf.constant(value) for name, value in inputs.items()}
        outputs = loaded[flavour].signatures[signature](**tensors)
        assert outputs["count"].numpy().tolist() == answer["count"].tolist()
        np.testing.assert_allclose(outputs["score"].numpy(), answer["score"], atol=1e-5)


def test_both_flavours_answer_alike(loaded, trained):
    """A catalogue of sixty is searched whole by either."""
    rows = [Row([item_id], weight, 9) for item_id in trained.items.ids[:10] for weight in (0.0, 0.3, 1.0)]
    inputs = {name: tf.constant(value) for name, value in retrieve_inputs(rows).items()}
    answers = [loaded[flavour].signatures[RETRIEVE](**inputs) for flavour in (SCANN, STOCK)]
    for name in ("score", "engagement_score", "relevance_score"):
        np.testing.assert_allclose(answers[0][name].numpy(), answers[1][name].numpy(), atol=1e-5)


def test_the_stock_flavour_is_published_beside(exported_tree):
    stock, base = exported_tree.result.stock, Path(f"{exported_tree.base}-stock")
    assert stock.directory.parent == base
    assert versions(base) == [int(stock.directory.name)]
    card = json.loads((stock.directory / MODEL_CARD).read_text(encoding="utf-8"))
    assert card["index"]["flavour"] == STOCK
    assert set(card["index_recall"]) == {str(weight) for weight in stock.index_recall}
    assert min(stock.index_recall.values()) >= 0.999
    assert not list(exported_tree.base.glob("*-stock"))
