"""A new catalogue with the weights that are served: through the gates, recorded, or refused with serving untouched."""

import dataclasses
import hashlib
import json
import shutil

import pytest

from preprocessing.errors import UserError
from serving.push import history, origin, push, rollback, versions
from tests.preprocessing.shop import shop_interactions, shop_items, write_csv
from tfx_pipeline import blessed, refresh
from tfx_pipeline.config import load_config
from tfx_pipeline.refresh import find_served, refresh_step
from tfx_pipeline.steps import Inputs, export_step, preprocess_step, train_step
from tfx_pipeline.verdict import Verdict
from tfx_pipeline.workdir import Workdir
from trainer.artefact import load_model
from trainer.snapshot import Snapshot, load_snapshot

NEW = {"item_id": "red9", "title": "red thing number 9", "description": "a red thing", "categories": "red|things"}
OPTIONS = [
    "teacher.dimension=8", "model.dimension=8", "model.hidden=16", "trainer.epochs=1", "trainer.steps_per_epoch=4",
    "trainer.tensorboard=false", "evaluate.k=5", "retrieval.k=5", "evaluate.bootstrap_resamples=50",
    "gate.min_recall=0", "gate.min_relevance=-1", "gate.min_tail_share=0", "gate.over_popularity=0",
    "gate.recall_margin=1", "gate.slice_margin=1", "gate.relevance_margin=1", "gate.tail_margin=1",
    "gate.blessed_kept=0", "validator.requests=5", "validator.max_p99_ms=60000", "validator.request_seconds=60",
]  # fmt: skip
MEASURE = {"evaluate.k": 7}


@pytest.fixture(scope="module")
def config():
    return load_config(None, OPTIONS)


@pytest.fixture(scope="module")
def workdir(config, tmp_path_factory):
    """A shop whose model is served, with the record that the Pusher keeps."""
    directory = tmp_path_factory.mktemp("shop")
    workdir = Workdir(directory / "work")
    workdir.prepare()
    log = write_csv(directory / "log.csv", shop_interactions())
    items = write_csv(directory / "items.csv", shop_items())
    preprocess_step(workdir, config, Inputs((log,), (items,)))
    train_step(workdir, config)
    exported = export_step(workdir, config)
    keep_record(workdir, config, int(exported.directory.name))
    return workdir


def keep_record(workdir, config, version):
    from preprocessing.read import read_items

    items = read_items(str(workdir.examples))
    model = load_model(workdir.model(config.model.name), items)[0]
    frozen = workdir.root / "frozen"
    frozen.mkdir(exist_ok=True)
    Snapshot(items.ids, model.embed_catalogue(), items.interaction_count, True, 0.0, recall=0.5, measure=MEASURE).save(
        frozen
    )
    parts = {
        blessed.MODEL: workdir.model(config.model.name),
        blessed.SNAPSHOT: frozen,
        "manifest.json": workdir.examples / "manifest.json",
    }
    blessed.record(
        workdir.blessed, version, {"data": "d", "model": "m"}, parts, served=blessed.lineage(workdir.serving)
    )


def say_of(version, **what):
    card = version / "assets.extra" / "mtmh.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | what))


def today(tmp_path, *, without=(), extra=(NEW,)):
    rows = [item for item in shop_items() if item["item_id"] not in without]
    return [write_csv(tmp_path / "today.csv", [*rows, *extra])]


def test_a_new_catalogue_is_served_and_recorded(workdir, config, tmp_path, caplog):
    """All gates, the server among them."""
    caplog.set_level("INFO", "mtmh")
    before = versions(workdir.serving)
    pushed = refresh_step(workdir, config, today(tmp_path, without=("blue0",)))
    assert pushed.new
    assert versions(workdir.serving) == [*before, pushed.version]
    assert {state.faults for state in history(workdir.serving, verify=True)} == {()}
    said = caplog.text
    assert "11 items known, 1 new, 1 gone" in said
    for gate in ("IndexGate", "RetrievalGate", "ServingValidator"):
        assert f"{gate} passes" in said
    record = workdir.blessed / str(pushed.version)
    assert blessed.identity_of(record) == {"data": "d", "model": "m"}
    snapshot = load_snapshot(record / blessed.SNAPSHOT)
    assert "red9" in snapshot.ids
    assert "blue0" not in snapshot.ids
    assert (snapshot.recall, snapshot.measure) == (0.5, MEASURE)
    assert "gate.blessed_kept can't tell: recall is not what it was for the last blessed model: evaluate.k" in said
    weights = [
        (workdir.blessed / str(each) / "model" / "model.json").read_bytes() for each in (before[-1], pushed.version)
    ]
    assert weights[0] == weights[1]
    # And again from there, with the weights of the record.
    served = find_served(workdir, config)
    assert served.record == record
    assert served.examples == workdir.examples


@pytest.mark.parametrize("gate", [0, 1, 2])
def test_a_gate_that_refuses_leaves_what_is_served(workdir, config, tmp_path, monkeypatch, gate):
    """In their order: what comes after a refusal is not asked."""
    asked = []

    def passing(name, verdict):
        def judge(refreshed, served, config):
            asked.append(name)
            return verdict

        return judge

    verdicts = [Verdict("g", "it", ("not good",) if place == gate else (), {}) for place in range(3)]
    monkeypatch.setattr(refresh, "GATES", tuple(passing(place, verdict) for place, verdict in enumerate(verdicts)))
    before = versions(workdir.serving)
    with pytest.raises(UserError, match="g refuses it: not good"):
        refresh_step(workdir, config, today(tmp_path))
    assert asked == list(range(gate + 1))
    assert versions(workdir.serving) == before
    assert not list(workdir.serving.glob(".staging-*"))


def test_each_gate_can_refuse(workdir, config, tmp_path, monkeypatch):
    monkeypatch.setattr(refresh, "GATES", refresh.GATES[:2])
    strict = dataclasses.replace(config, gate=dataclasses.replace(config.gate, min_relevance=1.0))
    with pytest.raises(UserError, match=r"RetrievalGate refuses the catalogue: relevance.*gate\.min_relevance"):
        refresh_step(workdir, strict, today(tmp_path))
    tree = dataclasses.replace(config, index=dataclasses.replace(config.index, min_recall=1.0))
    monkeypatch.setattr("serving.export.tune_index", lambda *given: (given[3], {0.0: 0.9}))
    with pytest.raises(UserError, match=r"IndexGate refuses the index.*index\.min_recall"):
        refresh_step(workdir, tree, today(tmp_path))


def test_what_looks_like_another_catalogue(workdir, config, tmp_path):
    blue = [item["item_id"] for item in shop_items() if item["item_id"].startswith("blue")]
    few = dataclasses.replace(config, refresh=dataclasses.replace(config.refresh, min_kept=0.6))
    with pytest.raises(UserError, match=r"50\.0% of the items engaged with.*refresh\.min_kept"):
        refresh_step(workdir, few, today(tmp_path, without=blue))
    with pytest.raises(UserError, match="no file matches"):
        refresh_step(workdir, config, [str(tmp_path / "none.csv")])


def test_the_weights_are_those_that_are_served_through_rollbacks(workdir, config, tmp_path):
    copied = Workdir(tmp_path / "work")
    shutil.copytree(workdir.root, copied.root)
    first = versions(copied.serving)[0]
    other = tmp_path / "other"
    shutil.copytree(copied.serving / str(first), other)
    say_of(other, content="another model")
    second = push(other, copied.serving).version
    keep_record(copied, config, second)
    assert find_served(copied, config).record == copied.blessed / str(second)
    rollback(copied.serving, first)
    assert origin(copied.serving) == first
    assert find_served(copied, config).record == copied.blessed / str(first)
    # The examples of these weights among the artifacts of an earlier run, where the present ones are others.
    shutil.copytree(copied.examples, copied.pipeline / "Preprocess" / "examples" / "7")
    manifest = json.loads((copied.examples / "manifest.json").read_text())
    (copied.examples / "manifest.json").write_text(json.dumps(manifest | {"num_users": 1}))
    assert find_served(copied, config).examples == copied.pipeline / "Preprocess" / "examples" / "7"
    shutil.rmtree(copied.pipeline)
    with pytest.raises(UserError, match=r"examples.*not in.*any more.*`mtmh run`"):
        find_served(copied, config)


def test_weights_that_are_not_those_of_what_is_served_are_refused(workdir, config, tmp_path):
    """An experiment that was trained since in the same directory, where no record holds the weights that are served."""
    copied = Workdir(tmp_path / "work")
    shutil.copytree(workdir.root, copied.root)
    shutil.rmtree(copied.blessed)
    assert find_served(copied, config).model == copied.model(config.model.name)
    train_step(copied, dataclasses.replace(config, seed=5))
    before = versions(copied.serving)
    with pytest.raises(UserError, match=rf"{before[-1]}, which is served: `mtmh export`.*`mtmh run`"):
        refresh_step(copied, config, today(tmp_path))
    assert versions(copied.serving) == before
    exported = export_step(copied, config).directory
    assert find_served(copied, config).record is None
    say_of(exported, weights="0" * 64)
    with pytest.raises(UserError, match="not those of"):
        find_served(copied, config)


def test_nothing_to_refresh(config, tmp_path):
    with pytest.raises(UserError, match=r"no version to refresh; `mtmh run`"):
        find_served(Workdir(tmp_path), config)


def test_the_digest_of_examples_is_the_manifests(workdir, config):
    description = json.loads((workdir.model(config.model.name) / "model.json").read_text())
    assert (
        description["examples_digest"] == hashlib.sha256((workdir.examples / "manifest.json").read_bytes()).hexdigest()
    )
