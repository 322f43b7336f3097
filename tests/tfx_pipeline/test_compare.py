"""``mtmh compare`` on the checkerboard: trainings made and kept, files whole, figures the same again."""

import contextlib
import csv
import dataclasses
import io
import json
import re
import shutil
import signal

import numpy as np
import pytest

from preprocessing.errors import UserError
from preprocessing.manifest import load_manifest, save_manifest
from preprocessing.read import read_items
from tests.trainer.toys import checkerboard_events, checkerboard_items, write_examples
from tfx_pipeline import cli, steps
from tfx_pipeline.compare import train_missing
from tfx_pipeline.comparison_files import FILES, read_comparison
from tfx_pipeline.config import load_config
from tfx_pipeline.workdir import Workdir
from trainer.loop import TrainingLoop
from trainer.names import COUNTED, MODELS as MODEL_NAMES, ON_REQUEST, TRAINED, pick_models
from trainer.trained import load_recommender

SMALL = [
    "model.dimension=8", "model.hidden=16", "model.text_buckets=64", "model.text_tokens=6",
    "loss.uniform_negatives=6", "loss.relevance_rows=16", "loss.relevance_candidates=8", "loss.teacher_neighbours=2",
    "trainer.epochs=1", "trainer.batch_size=64", "evaluate.k=5", "evaluate.bootstrap_resamples=50",
    "features.categories=false", "retrieval.relevance_weight=0.32",
]  # fmt: skip
MODELS = ["content", "one_head", "mtmh"]


def make_workdir(root):
    """Examples of the checkerboard as `mtmh preprocess` would leave them, with the configuration."""
    write_examples(
        root / "examples", checkerboard_items(), checkerboard_events(), checkerboard_events(events=40, seed=1),
        validation_events=[], eval_users=[number % 6 for number in range(40)], shards=1,
    )  # fmt: skip
    config = load_config(None, SMALL)
    manifest = load_manifest(str(root / "examples"))
    made_with = dataclasses.asdict(config.preprocessing)
    save_manifest(dataclasses.replace(manifest, config=made_with), str(root / "examples"))
    Workdir(root).store_config(config)
    return Workdir(root)


def compare(workdir, *arguments):
    """Status and standard output of the verb."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        status = cli.main(["compare", "--workdir", str(workdir.root), *arguments])
    return status, out.getvalue()


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A work directory after `mtmh compare`, and what was printed."""
    workdir = make_workdir(tmp_path_factory.mktemp("compared"))
    status, out = compare(workdir, "--models", ",".join(MODELS))
    assert status == 0
    return workdir, out


def trainings(workdir):
    return {path.parents[1].name: path.stat().st_mtime_ns for path in workdir.root.glob("training/*/model/model.json")}


def test_prints_tables_headline_and_files(compared):
    workdir, out = compared
    lines = out.splitlines()
    assert max(len(line) for line in lines if str(workdir.root) not in line) <= 120
    assert "…" not in out  # nothing is cut
    for words in ("what the models retrieve, K = 5", "frontier", "at equal recall", "neither model nor teacher saw"):
        assert words in out
    assert any(line.startswith("MTMH at dial 0.32 over one head") for line in lines)
    assert [line for line in lines if line in {str(workdir.comparison / name) for name in FILES.values()}]


def test_leaves_every_file(compared):
    workdir, _ = compared
    assert {path.name for path in workdir.comparison.iterdir()} == set(FILES.values())
    comparison = read_comparison(workdir.comparison)
    assert comparison.files == FILES
    assert [model.name for model in comparison.models] == MODELS
    assert (comparison.data.users, comparison.data.triggers, comparison.resamples) == (6, 40, 50)
    assert comparison.model("mtmh").default_weight == 0.32
    rows = list(csv.DictReader((workdir.comparison / FILES["csv"]).open()))
    (row,) = [
        row for row in rows
        if (row["model"], row["relevance_weight"], row["slice"], row["metric"]) == ("mtmh", "0.5", "all", "recall@5")
    ]  # fmt: skip
    (point,) = [point for point in comparison.model("mtmh").points if point.relevance_weight == 0.5]
    assert float(row["value"]) == pytest.approx(point.metrics["recall"].value, rel=1e-5)


def test_learns_what_is_known_of_the_checkerboard(compared):
    """Items of a colour follow each other, and content tells the colours: 7 of 15 others are right."""
    comparison = read_comparison(compared[0].comparison)
    content = comparison.model("content").points[0].metrics
    assert content["recall"].value > 0.6
    assert content["topic_match"].value > 0.95
    relevance = {point.relevance_weight: point.metrics["relevance"].value for point in comparison.model("mtmh").points}
    assert relevance[1.0] > relevance[0.0]


def test_what_one_model_has_over_another_is_a_table_of_its_own(compared):
    workdir = compared[0]
    comparison = read_comparison(workdir.comparison)
    rows = list(csv.DictReader((workdir.comparison / FILES["headline"]).open()))
    found = {(row["what"], row["over"] or row["model"], row["at"], row["metric"]): row for row in rows}
    gain = next(gain for gain in comparison.gains if (gain.over, gain.at) == ("one_head", "dial 0"))
    row = found["gain, percent", "one_head", "dial 0", "recall@5"]
    assert (row["model"], row["relevance_weight"]) == ("mtmh", "0")
    assert float(row["value"]) == pytest.approx(gain.percent["recall"].value, rel=1e-5)
    assert float(row["low"]) <= float(row["value"]) <= float(row["high"])
    area = comparison.model("one_head").area["relevance"].value
    assert float(found["area", "one_head", "", "relevance@5"]["value"]) == pytest.approx(area, rel=1e-5)
    lead = next(lead for lead in comparison.areas if (lead.over, lead.axis) == ("one_head", "relevance"))
    shown = float(found["area gain, percent", "one_head", "", "relevance@5"]["value"])
    assert shown == pytest.approx(lead.percent.value, rel=1e-5)
    assert sum(row["what"] == "gap closed, share" for row in rows) == 2 * len(comparison.gaps)
    assert sum(row["what"] == "difference" for row in rows) == len(comparison.floors)


def test_tensorboard_has_a_run_for_each_model_and_a_picture(compared):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logs = compared[0].training("comparison") / "logs"
    assert {path.name for path in logs.iterdir()} == {*MODELS, "frontier"}
    events = EventAccumulator(str(logs / "mtmh"), {"tensors": 0}).Reload()
    assert "by_dial/all/recall@5" in events.Tags()["tensors"]
    assert [event.step for event in events.Tensors("by_dial/all/recall@5")] == sorted({*range(0, 101, 5), 32})
    assert EventAccumulator(str(logs / "frontier")).Reload().Tags()["tensors"] == ["frontier"]


def test_trainings_that_fit_are_kept_and_figures_stay(compared):
    workdir, out = compared
    before, document = trainings(workdir), (workdir.comparison / FILES["json"]).read_bytes()
    files = {name: (workdir.comparison / name).read_bytes() for name in FILES.values()}
    assert set(before) == {"one_head", "mtmh"}
    assert compare(workdir, "--models", "mtmh,content", "--models", "one_head") == (0, out)
    assert trainings(workdir) == before
    assert {name: (workdir.comparison / name).read_bytes() for name in FILES.values()} == files
    assert json.loads(document)["best_co_engagement"] == "one_head"


@pytest.mark.parametrize(
    ("overrides", "trained"),
    [
        ([], []),
        (["evaluate.max_triggers=9", "evaluate.bootstrap_resamples=9", "trainer.tensorboard=false"], []),
        (["evaluate.k=4", "trainer.patience=2"], []),  # nothing was chosen: there is no validation slice
        (["trainer.warm_start=true"], []),  # a comparison begins with nothing
        (["trainer.refit=true"], []),  # and nobody learns what all are judged by
        (["loss.align=0.2"], ["mtmh"]),  # the others have no such loss
        (["trainer.epochs=2"], ["one_head", "mtmh"]),
        (["seed=1"], ["one_head", "mtmh"]),
        (["features.text=false"], ["one_head", "mtmh"]),
    ],
)
def test_another_configuration_trains_anew_what_it_changes(compared, monkeypatch, overrides, trained):
    asked = []
    monkeypatch.setattr(steps, "train_step", lambda workdir, config, **_: asked.append(config.model.name))
    train_missing(compared[0], load_config(None, [*SMALL, *overrides]), pick_models(MODELS))
    assert asked == trained


def test_figures_of_what_has_learnt_the_rows_that_judge_it_come_with_a_warning(compared, tmp_path, caplog):
    workdir = Workdir(tmp_path / "copy")
    shutil.copytree(compared[0].root, workdir.root)
    said = "has learnt the rows after the split too (trainer.refit)"
    with caplog.at_level("WARNING", logger="mtmh"):
        assert cli.main(["evaluate", "--workdir", str(workdir.root)]) == 0
        assert said not in caplog.text
        path = workdir.model("mtmh") / "model.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"refit": True}))
        assert cli.main(["evaluate", "--workdir", str(workdir.root)]) == 0
    assert said in caplog.text


@pytest.mark.parametrize(
    ("arguments", "marked"),
    [([], ["0.32 (default)"]), (["--relevance-weight", "0.32"], []), (["--set", "model.name=one_head"], [])],
)
def test_evaluate_marks_the_row_of_the_default_dial(compared, capsys, arguments, marked):
    if "one_head" in str(arguments):
        arguments = [*arguments, "--set", "retrieval.relevance_weight=0"]
    assert cli.main(["evaluate", "--workdir", str(compared[0].root), *arguments]) == 0
    assert re.findall(r"\S+ \(default\)", capsys.readouterr().out) == marked


def test_a_teacher_that_read_the_categories_is_no_independent_judge(compared, tmp_path):
    """Whatever the model sees: the examples were made with ``features.categories``."""
    workdir = Workdir(tmp_path / "copy")
    shutil.copytree(compared[0].root, workdir.root)
    manifest = load_manifest(str(workdir.examples))
    features = manifest.config["features"] | {"categories": True}
    save_manifest(dataclasses.replace(manifest, config=manifest.config | {"features": features}), str(workdir.examples))
    assert compare(workdir, "--models", "content", "--set", "trainer.tensorboard=false")[0] == 0
    assert read_comparison(workdir.comparison).data.topic_match_independent is False
    assert cli.main(["evaluate", "--workdir", str(workdir.root)]) == 0
    assert not any(row["topic_match_independent"] for row in json.loads(workdir.metrics("mtmh").read_text()))
    assert cli.main(["evaluate", "--workdir", str(compared[0].root)]) == 0
    assert all(row["topic_match_independent"] for row in json.loads(compared[0].metrics("mtmh").read_text()))


def test_two_models_are_trained_as_their_parts_and_put_together(compared, monkeypatch):
    """What stands for the relevance model here is MTMH."""
    workdir, asked = compared[0], []
    monkeypatch.setattr(steps, "train_step", lambda workdir, config, **_: asked.append(config.model.name))
    train_missing(workdir, load_config(None, SMALL), pick_models(["two_models", "one_head"]))
    assert asked == ["relevance_only"]
    items = read_items(str(workdir.examples))
    places = {"one_head": workdir.model("one_head"), "relevance_only": workdir.model("mtmh")}
    merged = load_recommender("two_models", places.__getitem__, items)
    one_head, mtmh = (load_recommender(name, workdir.model, items) for name in ("one_head", "mtmh"))
    assert merged.has_dial
    assert np.array_equal(merged.vectors.engagement_trigger, one_head.vectors.engagement_trigger)
    assert np.array_equal(merged.vectors.engagement_candidate, one_head.vectors.engagement_candidate)
    assert np.array_equal(merged.vectors.relevance, mtmh.vectors.relevance)
    assert not one_head.vectors.relevance.any()


def test_heads_are_merged_as_configured(compared, tmp_path):
    """By quota one of 5 answers is the relevance head's, at weight .15 as at .25."""
    shutil.copytree(compared[0].root, tmp_path / "copy")
    workdir = Workdir(tmp_path / "copy")
    options = ["--set", "retrieval.merge=quota", "--set", "trainer.tensorboard=false"]
    assert compare(workdir, "--models", "mtmh", *options)[0] == 0
    blend, quota = (
        {
            point.relevance_weight: point.metrics["relevance"].value
            for point in read_comparison(place).model("mtmh").points
        }
        for place in (compared[0].comparison, workdir.comparison)
    )
    assert (quota[0.0], quota[1.0]) == (pytest.approx(blend[0.0]), pytest.approx(blend[1.0]))
    assert quota != blend
    assert quota[0.15] == pytest.approx(quota[0.25])


def test_blend_and_quota_of_one_training_side_by_side(compared, tmp_path):
    shutil.copytree(compared[0].root, tmp_path / "copy")
    workdir = Workdir(tmp_path / "copy")
    before = trainings(workdir)
    status, out = compare(workdir, "--models", "mtmh_quota,mtmh", "--set", "trainer.tensorboard=false")
    assert status == 0
    assert "MTMH, quota" in out
    assert trainings(workdir) == before
    comparison = read_comparison(workdir.comparison)
    assert [model.name for model in comparison.models] == ["mtmh", "mtmh_quota"]
    assert comparison.subject == "mtmh"
    recall, of_quota = (
        {point.relevance_weight: point.metrics["recall"].value for point in model.points} for model in comparison.models
    )
    assert (recall[0.0], recall[1.0]) == (pytest.approx(of_quota[0.0]), pytest.approx(of_quota[1.0]))
    assert of_quota[0.15] == pytest.approx(of_quota[0.25])


def test_models_are_made_when_it_is_their_turn(compared, tmp_path, caplog):
    shutil.copytree(compared[0].root, tmp_path / "copy")
    with caplog.at_level("INFO", "mtmh.compare"):
        status, _ = compare(
            Workdir(tmp_path / "copy"), "--models", "popularity,content,one_head", "--set", "trainer.tensorboard=false"
        )
    assert status == 0
    order = [message.split()[0] for message in caplog.messages if message.startswith(("counting", "scored"))]
    assert order == ["counting", "scored"] * 2 + ["scored"]


def test_counted_models_come_first_in_tables():
    """What they are counted from is let go before a trained one is loaded."""
    kinds = [model.kind for model in pick_models([*MODEL_NAMES, *ON_REQUEST])]
    assert kinds == sorted(kinds, key=(COUNTED, TRAINED).index)


def test_other_examples_train_anew(compared, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(steps, "train_step", lambda workdir, config, **_: asked.append(config.model.name))
    shutil.copytree(compared[0].root, tmp_path / "copy")
    manifest = tmp_path / "copy" / "examples" / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    train_missing(Workdir(tmp_path / "copy"), load_config(None, SMALL), pick_models(["one_head"]))
    assert asked == ["one_head"]


def test_other_code_trains_anew(compared, monkeypatch, caplog):
    asked = []
    monkeypatch.setattr(steps, "train_step", lambda workdir, config, **_: asked.append(config.model.name))
    monkeypatch.setattr("trainer.trained.trainer_version", lambda: "trainer:another")
    with caplog.at_level("INFO", "mtmh.compare"):
        train_missing(compared[0], load_config(None, SMALL), pick_models(["one_head"]))
    assert asked == ["one_head"]
    assert "trained by other code" in caplog.text


def test_a_training_cut_off_goes_on_and_one_of_another_configuration_begins_anew(tmp_path, monkeypatch, caplog):
    workdir = make_workdir(tmp_path)
    save_state = TrainingLoop._save_state

    def dying(loop):
        save_state(loop)
        with pytest.raises(UserError, match=r"another training is at work in .*one_head; wait for it, or end it"):
            train()
        raise KeyboardInterrupt

    def train(*overrides):
        train_missing(workdir, load_config(None, [*SMALL, "trainer.epochs=2", *overrides]), pick_models(["one_head"]))

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "_save_state", dying)
        with pytest.raises(KeyboardInterrupt):
            train()
    with caplog.at_level("INFO", "mtmh"):
        train()
    assert "2 epochs at most, 1 done" in caplog.text
    caplog.clear()
    with caplog.at_level("INFO", "mtmh"):
        train("seed=1")
    assert "2 epochs at most, 0 done" in caplog.text
    assert "another configuration, of other examples or from another start; beginning anew" in caplog.text


def test_an_interrupted_comparison_says_that_the_same_command_goes_on(tmp_path, monkeypatch, capsys, caplog):
    workdir = make_workdir(tmp_path)
    save_state = TrainingLoop._save_state

    def interrupted(loop):
        save_state(loop)
        raise KeyboardInterrupt

    command = ["--models", "one_head", "--set", "trainer.epochs=2", "--set", "trainer.tensorboard=false"]
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(TrainingLoop, "_save_state", interrupted)
            assert compare(workdir, *command)[0] == 130
    finally:
        signal.signal(signal.SIGINT, on_interrupt)
    assert capsys.readouterr().err.endswith("mtmh: interrupted; the same command goes on from there\n")
    with caplog.at_level("INFO", "mtmh"):
        assert compare(workdir, *command)[0] == 0
    assert "2 epochs at most, 1 done" in caplog.text


def test_a_sample_of_the_triggers(compared, tmp_path):
    shutil.copytree(compared[0].root, tmp_path / "copy")
    workdir = Workdir(tmp_path / "copy")
    options = ["--set", "evaluate.max_triggers=9", "--set", "trainer.tensorboard=false"]
    assert compare(workdir, "--models", "one_head", *options)[0] == 0
    comparison = read_comparison(workdir.comparison)
    assert (comparison.data.triggers, comparison.subject) == (9, None)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--models", "mtnh"], "did you mean mtmh?"),
        (["--models", "mtmh,everything"], "models are popularity"),
        (["--models", ","], "--models content,mtmh"),
    ],
)
def test_models_that_are_none_are_refused_before_any_work(tmp_path, capsys, arguments, said):
    workdir = make_workdir(tmp_path)
    assert compare(workdir, *arguments) == (2, "")
    assert said in capsys.readouterr().err
    assert not (tmp_path / "training").exists()


def test_without_examples(tmp_path, capsys):
    assert compare(Workdir(tmp_path)) == (2, "")
    assert "run `mtmh preprocess" in capsys.readouterr().err
