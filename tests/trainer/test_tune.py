"""What a trial is, with a training that is acted."""

import numpy as np
import pytest

from preprocessing.errors import UserError
from tests.trainer.test_tensorboard import point, scalars_of
from tests.trainer.toys import SMALL, changed
from trainer.choice import Choice
from trainer.config import TrainingConfig
from trainer.loop import CHECKPOINTS, DivergedError
from trainer.search import OutOfTimeError, PrunedError, nearest
from trainer.tune import SPACE, options_of, start_of, trial_directory, trial_of, with_options

LOGGED = changed(SMALL, trainer={"tensorboard": True})
OPTIONS = {"loss.relevance": 0.7, "model.dimension": 48}
GOOD = (point(0.0, 0.4, 0.2), point(1.0, 0.1, 0.6))
AREA = 0.4 * 0.2 + 0.4 * 0.1


class ActedTraining:
    """Stands for `choose`: tells epochs of the same scores, then does what it is told to."""

    def __init__(self, monkeypatch, *, scores=GOOD, ends=None):
        self.calls, self.scores, self.ends = [], scores, ends
        monkeypatch.setattr("trainer.tune.choose", self)

    def __call__(self, examples, output, config, *, resume, or_anew, watch):
        assert (resume, or_anew) == (True, True)
        self.calls.append((output, config))
        (output / CHECKPOINTS / "training").mkdir(parents=True, exist_ok=True)
        for epoch in (1, 2):
            watch(epoch, list(self.scores))
        if self.ends:
            raise self.ends
        return Choice(1, self.scores)


def test_a_trial_trains_with_its_options_and_leaves_no_checkpoints(tmp_path, monkeypatch):
    training, reported = ActedTraining(monkeypatch), []
    score, figures = trial_of(tmp_path, tmp_path, LOGGED)(3, OPTIONS, lambda *report: reported.append(report))
    ((output, config),) = training.calls
    assert output == trial_directory(tmp_path, 3)
    assert config == changed(LOGGED, loss={"relevance": 0.7}, model={"dimension": 48})
    assert score == pytest.approx(AREA)
    assert reported == [(1, pytest.approx(AREA)), (2, pytest.approx(AREA))]
    assert figures == {"recall": 0.4, "relevance": 0.2, "topic_match": None, "epochs": 1}
    assert list(output.iterdir()) == []


@pytest.mark.parametrize("error", [PrunedError("below"), DivergedError("the loss became nan")])
def test_a_trial_that_ends_early_is_pruned_and_still_a_row_of_the_page(tmp_path, monkeypatch, error):
    ActedTraining(monkeypatch, ends=error)
    with pytest.raises(PrunedError, match=str(error)):
        trial_of(tmp_path, tmp_path, LOGGED)(0, OPTIONS, lambda *_: None)
    output = trial_directory(tmp_path, 0)
    assert not (output / CHECKPOINTS).exists()
    scalars = scalars_of(output / "logs" / "outcome")
    assert scalars["outcome/frontier_area"] == {2: pytest.approx(AREA)}


def test_a_trial_out_of_time_can_go_on(tmp_path, monkeypatch):
    ActedTraining(monkeypatch, ends=OutOfTimeError())
    with pytest.raises(OutOfTimeError):
        trial_of(tmp_path, tmp_path, LOGGED)(0, OPTIONS, lambda *_: None)
    assert (trial_directory(tmp_path, 0) / CHECKPOINTS).exists()


def test_without_logs_none_are_written(tmp_path, monkeypatch):
    ActedTraining(monkeypatch, ends=PrunedError("below"))
    with pytest.raises(PrunedError):
        trial_of(tmp_path, tmp_path, SMALL)(0, OPTIONS, lambda *_: None)
    assert list(trial_directory(tmp_path, 0).iterdir()) == []


def test_nothing_to_tune_by(tmp_path, monkeypatch):
    ActedTraining(monkeypatch, scores=(point(0.0, 0.4, None),))
    with pytest.raises(UserError, match=r"teacher\.kind"):
        trial_of(tmp_path, tmp_path, SMALL)(0, OPTIONS, lambda *_: None)


def test_the_first_trial_is_the_configuration_as_it_stands(tmp_path, monkeypatch):
    training = ActedTraining(monkeypatch)
    for number in (0, 1):
        trial_of(tmp_path, tmp_path, LOGGED)(number, OPTIONS, lambda *_: None)
    assert [config.loss.relevance for _, config in training.calls] == [LOGGED.loss.relevance, 0.7]
    assert training.calls[0][1] == LOGGED


def test_the_search_starts_where_the_data_put_what_is_left_open(tmp_path, monkeypatch):
    data = {"loss.align": 0.0096, "model.id_dropout": 0.119}
    monkeypatch.setattr("trainer.tune.suited_options", lambda *_: data)
    open_config = changed(LOGGED, loss={"align": None}, model={"id_dropout": None})
    start = start_of(tmp_path, changed(open_config, model={"id_dropout": 0.4}))
    assert (start["loss.align"], start["model.id_dropout"]) == (0.0096, 0.4)
    assert start.keys() == SPACE.keys()
    monkeypatch.setattr("trainer.tune.suited_options", lambda *_: pytest.fail("nothing is open"))
    assert start_of(tmp_path, changed(open_config, model={"id_dropout": 0.4}, loss={"align": 0.3}))["loss.align"] == 0.3


def test_every_range_is_of_an_option_and_holds_its_default():
    options = options_of(TrainingConfig())
    for name, distribution in SPACE.items():
        start = options[name]
        assert start is None or nearest(distribution, start) == start, name
        bounds = {name: distribution.low}, {name: distribution.high}
        for bound in bounds:  # the options admit them
            found = options_of(with_options(TrainingConfig(), bound))
            assert found == options | bound
            assert np.isfinite(found[name])
