"""What a run puts where the other verbs look for it, and what it says of itself."""

import dataclasses
import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from preprocessing.backend import tf  # noqa: F401 before TFX imports TensorFlow in a flavour of its own
from preprocessing.errors import UserError
from tests.tfx_pipeline.test_tables import SCORES
from tfx_pipeline.alone import alone
from tfx_pipeline.config import load_config
from tfx_pipeline.run import RunResult, _show, print_result
from tfx_pipeline.workdir import Workdir


def step(node, **outputs):
    return SimpleNamespace(node=node, outputs={key: SimpleNamespace(uri=str(path)) for key, path in outputs.items()})


@pytest.fixture
def steps(tmp_path):
    """The Trainer's and the RetrievalEvaluator's, with what they leave."""
    pipeline = tmp_path / "pipeline"
    for name in ("model/model/model.json", "evaluation/metrics.json", "evaluation/logs/evaluation/events"):
        (pipeline / name).parent.mkdir(parents=True, exist_ok=True)
        (pipeline / name).write_text(json.dumps("the run's"))
    (pipeline / "model_run" / "logs").mkdir(parents=True)
    return [
        step("Trainer", model=pipeline / "model", model_run=pipeline / "model_run"),
        step("RetrievalEvaluator", evaluation=pipeline / "evaluation"),
    ]


def test_a_run_leaves_a_training_that_is_at_work_alone(tmp_path, steps, caplog):
    workdir = Workdir(tmp_path)
    training = workdir.training("mtmh")
    with alone(training, "training"):
        (training / "checkpoints").mkdir()
        for each in steps:
            _show(workdir, "mtmh", each)
        assert [path.name for path in training.iterdir()] == ["checkpoints"]
        assert f"a training is at work in {training}, which stays as it is" in caplog.text
    for each in steps:
        _show(workdir, "mtmh", each)
    assert (workdir.model("mtmh") / "model.json").read_text() == '"the run\'s"'
    assert not (training / "checkpoints").exists()
    assert (training / "logs" / "evaluation" / "events").is_file()


def test_a_lock_holds_for_what_takes_the_directorys_place(tmp_path):
    directory = tmp_path / "work"
    with alone(directory, "training"):
        directory.rename(tmp_path / "elsewhere")
        with pytest.raises(UserError, match="another training is at work"), alone(directory, "training"):
            pass
    with alone(directory, "training"):
        pass


@pytest.mark.parametrize(("new", "line"), [(True, "published /w/3\n"), (False, "served already: /w/3\n")])
def test_what_an_earlier_run_has_published_is_not_said_to_be_published(new, line):
    out = io.StringIO()
    result = RunResult(Path("/w/3"), new, None, (), [dataclasses.asdict(SCORES)], ("Pusher",), ("Trainer",), 1.0)
    print_result(Console(file=out, width=200), result, Workdir(Path("/w")), load_config(None, []))
    assert line in out.getvalue()
    assert "1 steps ran, 1 were kept" in out.getvalue()
