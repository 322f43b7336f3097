"""A training that was cut off goes on, or is begun anew, and ends like one that was not."""

import json
import logging
import shutil
from pathlib import Path

import pytest

from preprocessing.errors import UserError
from tests.trainer.toys import (
    SMALL,
    changed,
    checkerboard_events,
    checkerboard_items,
    write_examples,
)
from tests.trainer.trainings import ONE_STEP, same, vectors_of
from trainer import loop as loop_module
from trainer.loop import TrainingLoop
from trainer.train import choose, train


class KilledError(Exception):
    pass


def interrupt(monkeypatch, method, epoch):
    """Kills the training after (``_save_state``) or within (``_keep``) the given epoch."""
    original = getattr(TrainingLoop, method)

    def dying(self, *args):
        original(self, *args)
        if self._state.epoch == epoch:
            raise KilledError

    monkeypatch.setattr(TrainingLoop, method, dying)


@pytest.mark.parametrize("method", ["_save_state", pytest.param("_keep", marks=pytest.mark.slow)])
def test_resumed_training_ends_like_an_uninterrupted_one(board, trained, tmp_path, monkeypatch, method):
    output = tmp_path / "killed"
    with monkeypatch.context() as patch:
        interrupt(patch, method, 2)
        with pytest.raises(KilledError):
            train(board, output, trained.config)
    assert not (output / "model").exists()
    resumed = train(board, output, trained.config, resume=True)
    assert (resumed.epochs, resumed.scores) == (trained.result.epochs, trained.result.scores)
    assert same(vectors_of(trained.output, board), vectors_of(output, board))
    states = [
        json.loads((directory / "checkpoints" / "training" / "state.json").read_text())["state"]
        for directory in (trained.output, output)
    ]
    assert states[0] == states[1]


def test_what_a_killed_write_of_a_checkpoint_leaves_is_cleared_away(board, tmp_path, monkeypatch):
    config = changed(SMALL, trainer=ONE_STEP | {"epochs": 2, "patience": 2})
    with monkeypatch.context() as patch:
        interrupt(patch, "_save_state", 1)
        with pytest.raises(KilledError):
            train(board, tmp_path, config)
    directory = tmp_path / "checkpoints" / "training"
    (directory / "last-2_temp").mkdir()
    (directory / "last-2_temp" / "x").write_bytes(b"half")
    train(board, tmp_path, config, resume=True)
    assert json.loads((directory / "state.json").read_text())["state"]["epoch"] == 2
    assert not [path for path in directory.iterdir() if path.is_dir()]


def test_resume_refuses_another_configuration_other_examples_and_damage(board, tmp_path):
    config = changed(SMALL, trainer=ONE_STEP)
    output = tmp_path / "out"
    train(board, output, config)
    with pytest.raises(UserError, match=r"another configuration.*without --resume"):
        train(board, output, changed(config, seed=7), resume=True)
    with pytest.raises(UserError, match="another configuration"):
        train(board, output, changed(config, evaluate={"k": 3}), resume=True)  # another epoch may be best at this K
    other = write_examples(
        tmp_path / "other", checkerboard_items(), checkerboard_events(seed=3), checkerboard_events(events=9, seed=4)
    )
    with pytest.raises(UserError, match="other examples"):
        train(other, output, config, resume=True)
    before = (output / "model" / "model.json").read_bytes()
    train(board, output, config, resume=True)  # nothing left to do
    assert (output / "model" / "model.json").read_bytes() == before
    shown = {"tail_share": 0.3, "max_triggers": 9, "bootstrap_resamples": 9}
    train(board, output, changed(config, trainer={"tensorboard": True}, evaluate=shown), resume=True)
    state = output / "checkpoints" / "training" / "state.json"
    whole = state.read_text()
    for broken in (whole[: len(whole) // 2], "[]", "{}"):
        state.write_text(broken)
        with pytest.raises(UserError, match=r"damaged.*without --resume"):
            train(board, output, config, resume=True)
    state.write_text(whole)
    for path in state.parent.glob("last-*"):
        path.unlink()
    with pytest.raises(UserError, match=r"damaged.*without --resume"):
        train(board, output, config, resume=True)
    train(board, output, config)  # anew


@pytest.fixture(scope="module")
def cut(board, tmp_path_factory):
    """A first stage of two epochs that was killed after one, its configuration, and how it ends by itself."""
    directory = tmp_path_factory.mktemp("cut")
    config = changed(SMALL, trainer=ONE_STEP | {"epochs": 2, "patience": 2})
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, "_save_state", 1)
        with pytest.raises(KilledError):
            choose(board, directory / "killed", config)
    return directory / "killed", config, choose(board, directory / "whole", config)


def test_resume_refuses_what_another_version_began(board, cut, tmp_path, monkeypatch):
    """Its model would be signed by this version, which trained a part of it."""
    killed, config, _ = cut
    output = Path(shutil.copytree(killed, tmp_path / "out"))
    with monkeypatch.context() as patch:
        patch.setattr(loop_module, "trainer_version", lambda: "trainer:other")
        with pytest.raises(UserError, match=r"by other code; resume with the version of mtmh that began it, or start"):
            choose(board, output, config, resume=True)
    choose(board, output, config, resume=True)  # by this one it goes on


def cut_short(path):
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda directory: None, None),
        (lambda directory: cut_short(directory / "state.json"), "is damaged"),
        (lambda directory: cut_short(directory / "last-1.data-00000-of-00001"), "is damaged"),
        (lambda directory: (directory / "best-1.index").unlink(), "is damaged"),
    ],
)
def test_resumed_or_anew_a_training_ends_the_same(board, cut, tmp_path, caplog, spoil, said):
    killed, config, whole = cut
    spoil(Path(shutil.copytree(killed, tmp_path / "out")) / "checkpoints" / "training")
    with caplog.at_level(logging.INFO, "mtmh.trainer"):
        assert choose(board, tmp_path / "out", config, resume=True, or_anew=True) == whole
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert f"2 epochs at most, {0 if said else 1} done" in caplog.text
    assert len(warnings) == (said is not None)
    for warning in warnings:
        assert said in warning
        assert warning.endswith("; beginning anew")
        assert "--resume" not in warning


def test_what_is_another_training_is_begun_anew_where_that_is_asked_for(board, cut, tmp_path, caplog, monkeypatch):
    killed, config, _ = cut
    for name, other, code in (("options", changed(config, seed=7), None), ("code", config, "trainer:other")):
        output = Path(shutil.copytree(killed, tmp_path / name))
        with monkeypatch.context() as patch:
            if code:
                patch.setattr(loop_module, "trainer_version", lambda code=code: code)
            choose(board, output, other, resume=True, or_anew=True)
    assert "is a training of another configuration" in caplog.text
    assert "is a training by other code; beginning anew" in caplog.text


def test_a_training_that_is_begun_anew_is_resumed_whatever_was_finished_before(board, tmp_path, monkeypatch):
    """Its second stage must not meet that of the one before."""
    config = changed(SMALL, trainer=ONE_STEP)
    train(board, tmp_path, changed(config, seed=7))
    with monkeypatch.context() as patch:
        interrupt(patch, "_save_state", 1)
        with pytest.raises(KilledError):
            train(board, tmp_path, config)
    train(board, tmp_path, config, resume=True)
    assert json.loads((tmp_path / "model" / "model.json").read_text())["seed"] == config.seed
