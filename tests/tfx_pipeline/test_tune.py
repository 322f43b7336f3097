"""``mtmh tune`` on the checkerboard: tries, prints, writes a configuration, goes on where it stopped."""

import contextlib
import dataclasses
import fcntl
import io
import types

import pytest
import yaml

from preprocessing.manifest import load_manifest, save_manifest
from tests.trainer.test_tensorboard import scalars_of, session_of
from tests.trainer.toys import write_checkerboard
from tfx_pipeline import cli
from tfx_pipeline.config import RunConfig, load_config
from tfx_pipeline.tune import BEST, TRIALS, best_yaml, sentence, tune_step
from tfx_pipeline.workdir import Workdir
from trainer.search import TrialResult, nearest
from trainer.train import choose, suited_options
from trainer.tune import SPACE, options_of

SMALL = [
    "model.dimension=32", "model.hidden=16", "model.text_buckets=64", "model.text_tokens=6",
    "loss.uniform_negatives=6", "loss.relevance_rows=16", "loss.relevance_candidates=8", "loss.teacher_neighbours=2",
    "trainer.epochs=2", "trainer.batch_size=64", "evaluate.k=5", "features.categories=false",
]  # fmt: skip


SILENT = ["--set", "trainer.tensorboard=false"]


def make_workdir(root, **manifest):
    """Examples of the checkerboard as `mtmh preprocess` would leave them, with the configuration."""
    examples, config = write_checkerboard(root / "examples"), load_config(None, SMALL)
    made_with = dataclasses.asdict(config.preprocessing)
    save_manifest(dataclasses.replace(load_manifest(str(examples)), config=made_with, **manifest), str(examples))
    Workdir(root).store_config(config)
    return Workdir(root)


def tune(workdir, *arguments):
    """Status and standard output of the verb."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        status = cli.main(["tune", "--workdir", str(workdir.root), *arguments])
    return status, out.getvalue()


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A work directory after two trials, what was printed, and the results."""
    workdir = make_workdir(tmp_path_factory.mktemp("tuned"))
    status, out = tune(workdir, "--trials", "2")
    assert status == 0
    config = workdir.load_config(None, [])
    return workdir, out, tune_step(workdir, config, trials=2)


def test_prints_the_trials_and_what_to_do_with_them(tuned):
    workdir, out, results = tuned
    lines = out.splitlines()
    assert max(len(line) for line in lines if str(workdir.root) not in line) <= 120
    assert "…" not in out
    assert "the best of 2 trials" in lines[0]
    rows = [line.split() for line in lines if line[:1].isdigit()]
    assert [row[0] for row in rows] == [str(result.number) for result in results]
    assert rows[0][1] == f"{results[0].score:.5f}"
    first = next(row for row in rows if row[0] == "0")
    training = workdir.load_config(None, []).training
    options = options_of(training) | suited_options(workdir.examples, training)
    assert first[5:] == [f"{nearest(SPACE[name], options[name]):.3g}" for name in SPACE]
    where = f"--workdir {workdir.root} --config {workdir.tuning / BEST}"
    assert f"train with them: mtmh train {where}" in lines
    assert f"compare what that makes: mtmh compare {where}" in lines
    assert f"train with them, and publish: mtmh run --interactions LOG --items ITEMS {where}" in lines
    assert f"look at all trials: tensorboard --logdir {workdir.tuning}" in lines


def test_best_yaml_is_the_run_s_configuration_with_the_best_options(tuned, tmp_path):
    workdir, _, results = tuned
    best = results[0]
    found = load_config(str(workdir.tuning / BEST))
    base = workdir.load_config(None, [])
    own = best.options if best.number else {}
    assert options_of(found.training) == options_of(base.training) | own
    assert (found.features, found.split, found.retrieval) == (base.features, base.split, base.retrieval)
    assert set(best.options) == set(SPACE)
    # The figure is what a training with it finds.
    choice = choose(workdir.examples, tmp_path, load_config(str(workdir.tuning / BEST), SILENT[1:]).training)
    assert choice.frontier_area == pytest.approx(best.score, rel=1e-6)
    assert choice.scores[0].values["recall"] == pytest.approx(best.figures["recall"], rel=1e-6)


def test_each_trial_is_a_row_of_the_hparams_page(tuned):
    workdir, _, results = tuned
    for result in results:
        logs = workdir.tuning / f"trial-{result.number:04d}" / "logs"
        options, name = session_of(logs / "outcome")
        assert name == f"{workdir.root.name}/tuning/trial-{result.number:04d}"
        assert {name: options[name].number_value for name in SPACE} == result.options
        (area,) = scalars_of(logs / "outcome")["outcome/frontier_area"].values()
        assert area == pytest.approx(result.score, rel=1e-5)
        assert not (logs.parent / "checkpoints").exists()


def test_the_same_command_finds_all_done(tuned, monkeypatch):
    workdir, out, _ = tuned
    monkeypatch.setattr("trainer.tune.choose", lambda *_, **__: pytest.fail("nothing is left to try"))
    assert tune(workdir, "--trials", "2") == (0, out)


@pytest.mark.parametrize("damaged", [False, True])
def test_a_trial_cut_short_goes_on_from_its_last_epoch(tuned, tmp_path, monkeypatch, caplog, damaged):
    """Or begins anew where that is damaged: the tuning must not be stuck with it."""
    _, _, results = tuned
    again = make_workdir(tmp_path)
    clock = iter([0.0, 0.0, *[9.0] * 9])
    with monkeypatch.context() as patch:
        patch.setattr("trainer.search.time", types.SimpleNamespace(monotonic=lambda: next(clock)))
        status, out = tune(again, "--trials", "1", "--timeout-seconds", "5", *SILENT)
    assert (status, out) == (0, "no trial is finished yet; the same command goes on where it stopped\n")
    assert not (again.tuning / BEST).exists()
    if damaged:
        (again.tuning / "trial-0000" / "checkpoints" / "training" / "state.json").write_text("{")
    with caplog.at_level("INFO", logger="mtmh"):
        assert tune(again, "--trials", "1", *SILENT)[0] == 0
    assert f"2 epochs at most, {0 if damaged else 1} done" in caplog.text
    (first,) = tune_step(again, again.load_config(None, SILENT[1:]), trials=1)
    assert first == next(result for result in results if result.number == 0)


def test_refusals(tuned, tmp_path, capsys):
    workdir, _, _ = tuned
    for arguments, said in (
        (["--set", "model.name=one_head"], "tune mtmh"),
        (["--set", "model.name=relevance_only"], "tune mtmh"),
        (["--set", "trainer.epochs=3"], "trainer.epochs was 2, now 3; move"),
        (["--trials", "0"], "--trials"),
        (["--timeout-seconds", "-1"], "--timeout-seconds"),
    ):
        assert tune(workdir, *arguments) == (2, "")
        assert said in capsys.readouterr().err
    with workdir.tuning.with_name(f".{workdir.tuning.name}.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert tune(workdir, "--trials", "2") == (2, "")
        assert "another `mtmh tune` is at work" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert tune(Workdir(tmp_path / "empty"))[0] == 2
    assert "mtmh preprocess" in capsys.readouterr().err


def test_a_tuning_is_not_gone_on_with_by_other_code(tuned, capsys, monkeypatch):
    """Its trials would not be comparable."""
    monkeypatch.setattr("trainer.sources.trainer_version", lambda: "trainer:another")
    assert tune(tuned[0], "--trials", "2") == (2, "")
    error = capsys.readouterr().err
    assert "code was trainer:" in error
    assert ", now trainer:another; move" in error


def test_without_a_validation_slice(tmp_path, capsys):
    workdir = make_workdir(tmp_path, num_validation_triggers=0)
    assert tune(workdir, "--trials", "1")[0] == 2
    assert "split.validation_users" in capsys.readouterr().err
    assert not workdir.tuning.exists()


def test_a_configuration_of_the_best_carries_what_is_set_apart_from_the_defaults(tmp_path):
    config = load_config(
        None, ["teacher.kind=onnx", "teacher.path=a: 'b' #c", "input.events=[buy, 'no']", "input.columns.user_id=x",
               "input.min_value=1e-05", "loss.align=0.05"],
    )  # fmt: skip
    text = best_yaml(config, TrialResult(4, {"loss.align": 0.01, "loss.relevance": 0.5}, 0.25, {}), Workdir(tmp_path))
    (tmp_path / "best.yaml").write_text(text, encoding="utf-8")
    found = load_config(str(tmp_path / "best.yaml"), ["loss.align=0.05"])
    assert found == config
    assert set(yaml.safe_load(text)) == {"input", "teacher", "loss"}
    assert yaml.safe_load(text)["loss"] == {"relevance": 0.5, "align": 0.01}
    assert RunConfig().input.events == ()
    # The first trial is the configuration itself: what that leaves to the data stays open.
    text = best_yaml(
        RunConfig(), TrialResult(0, {"loss.align": 0.01, "loss.relevance": 0.5}, 0.25, {}), Workdir(tmp_path)
    )
    assert yaml.safe_load(text) in (None, {})


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ({0: 0.1, 3: 0.2}, "trial 3 has the best options, written to best.yaml: frontier area +100.0% against"),
        ({0: 0.1, 3: 0.05}, "no trial is better"),
        ({0: None, 3: 0.05}, "trial 3 has the best options, written to best.yaml"),
    ],
)
def test_what_is_said_of_the_best(scores, said):
    results = [TrialResult(number, {}, score, {}) for number, score in scores.items()]
    assert said in sentence(sorted(results, key=lambda result: -(result.score or 0.0)))


def test_files_of_a_tuning(tuned):
    names = {path.name for path in tuned[0].tuning.iterdir()}
    assert names == {TRIALS, BEST, "trial-0000", "trial-0001"}
