"""Exports as a server meets them: in another process, at another place, with nothing of the trainer."""

import copy
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from preprocessing.backend import tf
from preprocessing.errors import UserError
from serving import export as export_module
from serving.client import Client
from serving.config import ExportConfig, IndexConfig, RetrievalConfig, ServingConfig
from serving.export import _warn_of_a_silent_head, build_version, default_weight, dial_by_rule, export
from serving.index_gate import GATE_DIAL
from serving.push import versions
from serving.signatures import DESCRIBE, EMBED, RETRIEVE, RETRIEVE_BY_CONTENT, SERVING_DEFAULT, SIGNATURES
from serving.version_manifest import MODEL_CARD, describe
from serving.warmup import WARMUP_FILE
from tests.serving.conftest import CONFIG, ODD_IDS
from tests.serving.naive import Row, Shelf, without_scan
from tests.serving.server.server_process import ServerProcess
from trainer.artefact import DialPoint, load_description, load_model, weights_digest
from trainer.evaluate import DIAL
from trainer.model import ItemVectors
from trainer.names import QUOTA

_FRESH = """
import os, sys
os.environ["TF_USE_LEGACY_KERAS"] = "1"
import numpy as np, tensorflow as tf
from scann.scann_ops.py import scann_ops
path, questions, answers = sys.argv[1:]
asked = np.load(questions, allow_pickle=True).item()
found = {}
model = tf.saved_model.load(path)
for key, (signature, inputs) in asked.items():
    inputs = {name: tf.constant(value) for name, value in inputs.items()}
    found["v2", key] = {name: value.numpy() for name, value in model.signatures[signature](**inputs).items()}
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], path)
    for key, (signature, inputs) in asked.items():
        definition = graph.signature_def[signature]
        outputs = {name: info.name for name, info in definition.outputs.items()}
        found["v1", key] = session.run(outputs, {definition.inputs[name].name: inputs[name] for name in inputs})
ours = [name for name in sys.modules if name.split(".")[0] in ("trainer", "serving", "preprocessing")]
assert not ours and "tensorflow_recommenders" not in sys.modules, ours
np.save(answers, found, allow_pickle=True)
"""


def retrieve_inputs(rows):
    width = max(len(row.triggers) for row in rows) + 1
    wide = max(len(row.exclude) for row in rows) + 1

    def matrix(lists, size):
        return np.array([["", *each, *[""] * (size - 1 - len(each))] for each in lists], object)

    return {
        "item_id": matrix([row.triggers for row in rows], width),
        "relevance_weight": np.array([row.weight for row in rows], np.float32),
        "k": np.array([row.k for row in rows], np.int32),
        "exclude_id": matrix([row.exclude for row in rows], wide),
    }


def content_inputs(title="", description="", categories="", vector=(0.0,), k=5, weight=0.3):
    return {
        "title": np.array([title], object),
        "description": np.array([description], object),
        "categories": np.array([categories], object),
        "content_vector": np.array([vector], np.float32),
        "relevance_weight": np.array([weight], np.float32),
        "k": np.array([k], np.int32),
    }


@pytest.fixture(scope="session")
def vectors(trained) -> ItemVectors:
    return load_model(trained.model, trained.items)[0].embed_catalogue()


@pytest.fixture(scope="session")
def reference(trained, vectors, tmp_path_factory) -> Shelf:
    """The naive answers."""
    shelf = Shelf(
        tmp_path_factory.mktemp("reference"), trained.items.ids, vectors, counts=trained.items.interaction_count
    )
    shelf.defaults = dataclasses.replace(shelf.defaults, k=7, max_k=30, relevance_weight=0.3)
    return shelf


@pytest.fixture(scope="session")
def questions(trained):
    """By name: a signature and its inputs."""
    history = [*trained.items.ids[:40], "nobody", "", *trained.items.ids[:22]]
    rows = [
        Row([ODD_IDS[0]], 0.3, 5),
        Row([ODD_IDS[1], ODD_IDS[2]], 0.0, 29),
        Row(history, 1.0, 30),
        Row(["nobody"], 0.5, 9, [trained.items.ids[0]]),
        Row(["i01"], 0.5, 10**6, trained.items.ids),
        Row(["i01"], float("nan"), -1, [ODD_IDS[3], "nobody"]),
        Row([], 0.5, 0),
    ]
    asked = {f"row {at}": (RETRIEVE, retrieve_inputs([row])) for at, row in enumerate(rows)}
    asked["batch"] = (RETRIEVE, retrieve_inputs(rows))
    asked["default"] = (SERVING_DEFAULT, {"item_id": np.array(["i01", ODD_IDS[4], "nobody"], object)})
    asked["content"] = (RETRIEVE_BY_CONTENT, content_inputs("red thing"))
    asked["embed"] = (EMBED, {"item_id": np.array([*trained.items.ids, "nobody", ""], object)})
    asked["describe"] = (DESCRIBE, {"item_id": np.array(["i01", "nobody", *ODD_IDS], object)})
    return rows, asked


@pytest.fixture(scope="session")
def loaded(exported):
    return tf.saved_model.load(str(exported.directory))


def call(model, signature, inputs):
    tensors = {name: tf.constant(value) for name, value in inputs.items()}
    return {name: value.numpy() for name, value in model.signatures[signature](**tensors).items()}


def same(left, right):
    assert set(left) == set(right)
    for name in left:
        if left[name].dtype == np.float32:
            np.testing.assert_allclose(left[name], right[name], atol=1e-5)
        else:
            assert left[name].tolist() == right[name].tolist()


# --- what the SavedModel is -------------------------------------------------------------------------------------


def test_signatures_are_those_declared(loaded):
    assert set(loaded.signatures) == set(SIGNATURES)
    for name, signature in SIGNATURES.items():
        function = loaded.signatures[name]
        _, inputs = function.structured_input_signature
        for declared, real in ((signature.inputs, inputs), (signature.outputs, function.structured_outputs)):
            assert {tensor.name: (tensor.dtype, len(tensor.shape)) for tensor in declared} == {
                key: (spec.dtype.name, spec.shape.rank) for key, spec in real.items()
            }
        assert all(tuple(spec.shape) == (None,) * spec.shape.rank for spec in inputs.values())


def test_answers_are_the_naive_ones(exported, loaded, reference, questions):
    rows, asked = questions
    answer = call(loaded, *asked["batch"])
    reference.check(rows, answer)
    for at, row in enumerate(rows):
        reference.check([row], call(loaded, *asked[f"row {at}"]))


def test_default_signature(loaded):
    ids = ["i01", "nobody", ODD_IDS[2]]
    left = call(loaded, SERVING_DEFAULT, {"item_id": np.array(ids, object)})
    same(left, call(loaded, RETRIEVE, retrieve_inputs([Row([item_id]) for item_id in ids])))
    assert left["item_id"].shape == (3, 7)


def test_embed_is_the_model(loaded, vectors, trained):
    found = call(loaded, EMBED, {"item_id": np.array([*trained.items.ids, "nobody", ""], object)})
    for name, value in found.items():
        np.testing.assert_allclose(value[:-2], getattr(vectors, name), atol=1e-5)
        assert not value[-2:].any()


@pytest.mark.parametrize("kind", ["exact", "tree"])
def test_a_quota_is_exported(trained, reference, questions, tmp_path, kind):
    rows, asked = questions
    config = dataclasses.replace(
        CONFIG, retrieval=dataclasses.replace(CONFIG.retrieval, merge=QUOTA), index=IndexConfig(kind=kind)
    )
    result = export(trained.examples, trained.model, tmp_path / "mtmh", config)
    assert min(result.index_recall.values()) >= 0.999
    card = json.loads((result.directory / MODEL_CARD).read_text(encoding="utf-8"))
    assert card["defaults"]["merge"] == QUOTA
    loaded, by_quota = tf.saved_model.load(str(result.directory)), copy.copy(reference)
    by_quota.defaults = dataclasses.replace(reference.defaults, merge=QUOTA)
    by_quota.check(rows, call(loaded, *asked["batch"]))
    content = call(loaded, *asked["content"])
    assert content["count"].tolist() == [5]
    assert len(set(content["item_id"][0])) == 5


def test_a_version_that_is_built_again_names_the_same_content(trained, exported_tree, tmp_path):
    """Its files are others each time; what it is made of is not."""
    name = exported_tree.base.name

    def card_of(directory):
        return json.loads((directory / MODEL_CARD).read_text(encoding="utf-8"))

    once = card_of(exported_tree.directory)
    alone = dataclasses.replace(exported_tree.config, export=ExportConfig())
    other = dataclasses.replace(alone, retrieval=dataclasses.replace(alone.retrieval, k=9))
    again, another = (
        card_of(build_version(trained.examples, trained.model, tmp_path / f"v{place}", name, config).directory)
        for place, config in enumerate((alone, other))
    )
    assert again["content"] == once["content"] != another["content"]
    assert again["weights"] == another["weights"] == weights_digest(trained.model)
    assert describe(tmp_path / "v0").digest == once["content"]
    assert describe(tmp_path / "v0").files != describe(exported_tree.directory).files
    # By it the flavours of a model are found together.
    assert card_of(exported_tree.result.stock.directory)["content"] == once["content"]


def test_describe(loaded, trained):
    row = trained.items.ids.index("🎬")
    found = call(loaded, DESCRIBE, {"item_id": np.array(["🎬", "nobody", ""], object)})
    assert [title.decode() for title in found["title"]] == [trained.items.titles[row], "", ""]
    assert [names.decode() for names in found["categories"]] == ["|".join(trained.items.categories[row]), "", ""]


# --- items that the model never saw -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        {"title": "red thing 7"},
        {"description": "thing"},
        {"categories": "red|things"},
        {"categories": "never heard of"},
        {"vector": [1.0, 0, 0, 0, 0, 0]},
        {"title": "red", "vector": [0.0] * 17},
        {"title": "red", "vector": []},
        {"title": "x" * 10_000},
        {"vector": [1e30, -1e30, 0, 0, 0, 0]},
        {"vector": [1e-30, 0, 0, 0, 0, 0]},
    ],
)
def test_content_alone_is_enough(loaded, said):
    answer = call(loaded, RETRIEVE_BY_CONTENT, content_inputs(**said))
    assert answer["count"].tolist() == [5]
    assert len(set(answer["item_id"][0])) == 5
    assert set(answer["source"][0]) <= {b"engagement", b"relevance", b"both"}
    assert np.isfinite(answer["score"]).all()
    assert (np.diff(answer["score"][0]) <= 0).all()


def test_content_is_encoded_as_the_model_encodes_it(loaded, trained, vectors):
    """An item without interactions has no identity: asking for its words and vector is asking for the item."""
    model, catalogue, _ = load_model(trained.model, trained.items)
    row = 5
    inputs = dataclasses.replace(model.inputs_of(tf.constant([row])), index=tf.constant([catalogue.num_items]))
    engagement, _, relevance = (part.numpy()[0] for part in model.embed(inputs))
    answer = call(
        loaded,
        RETRIEVE_BY_CONTENT,
        content_inputs(
            trained.items.titles[row],
            "",
            "|".join(trained.items.categories[row]),
            3.0 * trained.items.content_vectors[row],
            k=30,
        ),
    )
    rows = [trained.items.ids.index(item_id.decode()) for item_id in answer["item_id"][0]]
    np.testing.assert_allclose(
        answer["engagement_score"][0], vectors.engagement_candidate[rows] @ engagement, atol=1e-5
    )
    np.testing.assert_allclose(answer["relevance_score"][0], vectors.relevance[rows] @ relevance, atol=1e-5)


@pytest.mark.parametrize(
    "said", [{}, {"title": " ?! "}, {"categories": " | |"}, {"vector": [np.nan, 1, 0, 0, 0, 0]}, {"vector": [0.0] * 6}]
)
def test_nothing_said_is_answered_by_what_is_popular(loaded, trained, said):
    answer = call(loaded, RETRIEVE_BY_CONTENT, content_inputs(**said))
    assert [item_id.decode() for item_id in answer["item_id"][0]] == trained.items.ids[:5]
    assert set(answer["source"][0]) == {b"popular"}


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_vector_with_a_value_that_is_no_number_is_absent(loaded, broken):
    left = call(loaded, RETRIEVE_BY_CONTENT, content_inputs("red thing", vector=[1, broken, 0, 0, 0, 0]))
    same(left, call(loaded, RETRIEVE_BY_CONTENT, content_inputs("red thing")))


@pytest.mark.parametrize("vector", [[1.0], [0.0] * 6 + [0.5], [1.0] * 5])
def test_vector_of_another_width_is_refused(loaded, vector):
    with pytest.raises(tf.errors.InvalidArgumentError, match="content_vector must have 6 values a row"):
        call(loaded, RETRIEVE_BY_CONTENT, content_inputs("red", vector=vector))


# --- elsewhere --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["title", "description", "categories", "content_vector", "relevance_weight", "k"])
def test_one_row_of_content_does_not_count_for_all(loaded, name):
    one = content_inputs("red thing", vector=[0.0])
    two = {each: np.concatenate([value, value]) for each, value in one.items()}
    assert call(loaded, RETRIEVE_BY_CONTENT, two)["count"].tolist() == [5, 5]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"title, description, .* must all have a row"):
        call(loaded, RETRIEVE_BY_CONTENT, two | {name: one[name]})


def test_fresh_process_answers_alike_after_a_move(exported, loaded, questions, tmp_path):
    """By the loader of TensorFlow 2, and by that of TensorFlow 1 into a session, as TF Serving does it."""
    _, asked = questions
    moved = tmp_path / "else where" / "42"
    shutil.copytree(exported.directory, moved)
    hidden = exported.base.with_name("hidden")
    os.rename(exported.base, hidden)  # whatever a path of the export still points to is gone
    try:
        np.save(tmp_path / "questions.npy", asked, allow_pickle=True)
        command = [sys.executable, "-c", _FRESH, moved, tmp_path / "questions.npy", tmp_path / "answers.npy"]
        run = subprocess.run([str(part) for part in command], cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert run.returncode == 0, run.stderr[-3000:]
    finally:
        os.rename(hidden, exported.base)
    found = np.load(tmp_path / "answers.npy", allow_pickle=True).item()
    for key, (signature, inputs) in asked.items():
        answer = call(loaded, signature, inputs)
        for loader in ("v1", "v2"):
            same(found[loader, key], answer)


@pytest.fixture(scope="module")
def server(exported, request):
    """The exact one is served to other tests too."""
    if exported is request.getfixturevalue("exported_exact"):
        yield request.getfixturevalue("trained_server")
        return
    process = ServerProcess.start(exported.base).wait_ready()
    yield process
    assert process.stop() == 0


def test_through_a_server(exported, server, reference, trained):
    with Client(server.address) as client:
        ids = trained.items.ids

        def check(row, answer):
            k, _, banned, _ = reference.expected(row)
            found = [result.item_id for result in answer.results]
            assert len(found) == len(set(found)) == min(k, len(ids) - len(banned))
            assert not banned & {reference.row[item_id] for item_id in found}

        history = [*ids[:30], "nobody", "", *ids[:32]]
        check(Row(history, 0.5, 30), client.retrieve(history, 30, 0.5))
        many = [*ids[:20], *["nobody"] * 4075]
        check(Row(["i01"], 0.5, 30, many), client.retrieve(["i01"], 30, 0.5, many))
        with pytest.raises(UserError, match="at most 4095 are allowed"):
            client.retrieve(["i01"], exclude=[*many, "nobody"])
        too_many = retrieve_inputs([Row(["i01"], 0.5, 3, [*many, "nobody"])])
        with pytest.raises(UserError, match="exclude_id holds more than 4096 ids a row"):
            client.predict(RETRIEVE, too_many)
        assert len(client.retrieve_by_content("red thing", k=4).results) == 4
        assert client.retrieve_by_content(k=4).is_fallback
        with pytest.raises(UserError, match="content_vector must have 6 values a row"):
            client.retrieve_by_content("red thing", content_vector=[1.0, 2.0])
        assert client.retrieve(["x" * 10_000]).is_fallback
        red = client.retrieve(["i01"], 30, allow_categories=["red", "nothing"], exclude=["i03"])
        assert len(red.results) == 28
        described = client.describe([result.item_id for result in red.results])
        assert all("red" in each.categories for each in described)
        assert not client.retrieve(["i01"], deny_categories=["things"]).results
        assert client.describe([ODD_IDS[2]])[0].title == trained.items.titles[ids.index(ODD_IDS[2])]
        assert client.status()[0].version == int(exported.directory.name)


# --- how it comes about -----------------------------------------------------------------------------------------


def test_version_appears_complete(exported):
    final = {str(path.relative_to(exported.directory)) for path in exported.directory.rglob("*") if path.is_file()}
    assert {"saved_model.pb", str(WARMUP_FILE), MODEL_CARD, "assets/item_ids.txt"} <= final
    assert exported.seen
    assert all(names == final for names in exported.seen)
    assert [path.name for path in exported.base.iterdir()] == [exported.directory.name]


def test_model_card(exported, trained):
    card = json.loads((exported.directory / MODEL_CARD).read_text(encoding="utf-8"))
    assert card["items"] == 60
    assert card["content_dimension"] == 6
    assert card["index"] == dataclasses.asdict(exported.result.plan)
    assert card["index_recall"] == {str(weight): value for weight, value in exported.result.index_recall.items()}
    assert card["defaults"] == {"k": 7, "relevance_weight": 0.3, "max_k": 30, "trigger_decay": 0.9, "merge": "blend"}


def test_index_recall_of_small_catalogues(exported):
    assert set(exported.result.index_recall) == set(GATE_DIAL)
    assert min(exported.result.index_recall.values()) >= 0.999


def quick_save(monkeypatch):
    def save(module, path, **options):
        Path(path).mkdir()
        (Path(path) / "saved_model.pb").write_bytes(os.urandom(8))

    monkeypatch.setattr(export_module.tf.saved_model, "save", save)
    monkeypatch.setattr(export_module.ServingModule, "signatures", lambda self: {})


def test_two_exports_in_a_second_and_the_last_once_more(trained, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "mtmh")
    quick_save(monkeypatch)
    monkeypatch.setattr("serving.shelf.time.time", lambda: 1000.0)
    other = dataclasses.replace(CONFIG, retrieval=dataclasses.replace(CONFIG.retrieval, k=9))
    done = [export(trained.examples, trained.model, tmp_path, config).directory for config in (CONFIG, other, other)]
    assert versions(tmp_path) == [1000, 1001]
    assert [int(directory.name) for directory in done] == [1000, 1001, 1001]
    assert [f"{word} {done[1]}: index" in caplog.text for word in ("published", "as it is already in")] == [True, True]


def test_failure_in_the_middle_leaves_the_old_versions(trained, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("disk full")

    quick_save(monkeypatch)
    monkeypatch.setattr(export_module, "write_warmup", fail)
    (tmp_path / "5").mkdir()
    with pytest.raises(RuntimeError, match="disk full"):
        export(trained.examples, trained.model, tmp_path, CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["5"]


def test_index_below_the_floor_is_refused(trained, tmp_path):
    config = dataclasses.replace(CONFIG, index=IndexConfig(kind="tree", leaves=12, leaves_to_search=1, reorder=2))
    monkeypatched = dataclasses.replace(config, retrieval=RetrievalConfig(relevance_weight=0.3))
    with pytest.raises(UserError) as refusal:
        # No scan of all may help out: 50 of 60 items are more than a leaf holds, so the count alone would force one.
        _export_without_scan(trained, tmp_path, monkeypatched)
    message = str(refusal.value)
    assert "below index.min_recall 0.95" in message
    assert "index.leaves_to_search (now 1 of 12)" in message
    assert "index.reorder (now 2)" in message
    assert "index.kind=exact" in message
    assert list(tmp_path.iterdir()) == []


def _export_without_scan(trained, base, config):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("serving.search.Search._by_scan", without_scan)
        export(trained.examples, trained.model, base, config)


def test_without_titles(trained, tmp_path):
    config = dataclasses.replace(CONFIG, export=ExportConfig(titles=False, warmup_requests=0))
    loaded = tf.saved_model.load(str(export(trained.examples, trained.model, tmp_path, config).directory))
    found = call(loaded, DESCRIBE, {"item_id": np.array(["i01", "nobody"], object)})
    assert found["title"].tolist() == found["categories"].tolist() == [b"", b""]


# --- the dial ---------------------------------------------------------------------------------------------------


def points(*recalls):
    return tuple(DialPoint(weight, recall, None) for weight, recall in zip((0.0, 0.25, 0.5, 1.0), recalls, strict=True))


@pytest.mark.parametrize(
    ("recalls", "kept", "weight"),
    [
        ((0.20, 0.20, 0.10, 0.05), 0.95, 0.25),
        ((0.20, 0.21, 0.20, 0.05), 0.95, 0.5),
        ((0.20, 0.15, 0.10, 0.05), 0.95, 0.0),
        ((0.20, 0.15, 0.10, 0.05), 0.5, 0.5),
        ((0.10, 0.20, 0.30, 0.40), 0.95, 1.0),
        ((0.20, 0.15, 0.10, 0.05), 0.0, 1.0),
        ((0.20, 0.20, 0.10, 0.05), 1.0, 0.25),
        ((0.0, 0.0, 0.0, 0.0), 0.95, 0.0),
    ],
)
def test_dial_by_rule(recalls, kept, weight):
    assert dial_by_rule(points(*recalls), kept) == weight
    assert dial_by_rule(points(*recalls)[::-1], kept) == weight


@pytest.mark.parametrize(
    ("recalls", "retrieval", "warned"),
    [
        ((0.2, 0.2, 0.19, 0.19), {}, True),
        ((0.2, 0.2, 0.19, 0.1), {}, False),
        ((0.2, 0.2, 0.19, 0.19), {"recall_kept": 0.99}, False),
        ((0.2, 0.2, 0.19, 0.19), {"relevance_weight": 1.0}, False),
    ],
)
def test_a_head_that_has_no_say_by_default_is_warned_of(trained, caplog, recalls, retrieval, warned):
    description = dataclasses.replace(load_description(trained.model), dial=points(*recalls))
    _warn_of_a_silent_head(description, ServingConfig(retrieval=RetrievalConfig(**retrieval)))
    said = [message for message in caplog.messages if "the engagement head has no say" in message]
    assert len(said) == warned
    if warned:
        assert "keeps 95 % of the best recall" in said[0]
        assert "retrieval.recall_kept asks for 90 %; raise it or set retrieval.relevance_weight" in said[0]


def test_default_weight(trained):
    description = load_description(trained.model)
    known = dataclasses.replace(description, dial=points(0.2, 0.2, 0.1, 0.0))
    assert default_weight(known, ServingConfig()) == 0.25
    assert default_weight(known, ServingConfig(retrieval=RetrievalConfig(relevance_weight=0.9))) == 0.9
    assert default_weight(dataclasses.replace(description, dial=()), ServingConfig()) == 0.0
    # A quota's dial is its own.
    by_quota = ServingConfig(retrieval=RetrievalConfig(merge=QUOTA))
    assert default_weight(dataclasses.replace(known, quota_dial=points(0.2, 0.2, 0.19, 0.0)), by_quota) == 0.5
    assert default_weight(dataclasses.replace(known, quota_dial=()), by_quota) == 0.0
    assert [point.relevance_weight for point in description.quota_dial] == list(DIAL)
    ends = [(description.dial[at].recall, description.quota_dial[at].recall) for at in (0, -1)]
    assert all(blend == pytest.approx(quota) for blend, quota in ends)
