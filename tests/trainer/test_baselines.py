"""The counted baselines: one contract for all, their parameters and their data."""

import shutil
from typing import ClassVar

import numpy as np
import pytest
import scipy.sparse

from preprocessing.errors import UserError
from tests.trainer.event_logs import COLD, NUMBER, colours, histories, pair_events
from tests.trainer.toys import checkerboard_items, eval_triggers, item_table, write_examples
from trainer.baselines import BaselineData, best_setting, fit_baseline, load_baseline_data
from trainer.counted import CountedRecommender
from trainer.names import COUNTED, MODELS

NAMES = [model.name for model in MODELS.values() if model.kind == COUNTED]


@pytest.fixture(scope="module")
def data():
    known = histories(colours())
    validation = eval_triggers([(item, after) for _, item, after in pair_events(colours(20, seed=1))])
    content = checkerboard_items(NUMBER).content_vectors.copy()
    content[COLD[1]] = 0.0
    return BaselineData(known, known, validation, content, np.zeros((NUMBER, 3), np.int64))


@pytest.fixture(scope="module", params=NAMES)
def fitted(request, data):
    return request.param, *fit_baseline(request.param, data, k=5, seed=0)


class TestContract:
    """What every baseline must do."""

    @pytest.mark.parametrize("k", [1, 5, NUMBER - 1, NUMBER, 40])
    def test_lists(self, fitted, k):
        """Shape, no trigger, none twice, as many as there are, then pads; cold and repeated triggers too."""
        _, recommender, _ = fitted
        trigger = np.array([3, 0, *COLD, 3, *range(NUMBER)])
        found = recommender.retrieve(trigger, k=k, relevance_weight=0.0)
        assert found.shape == (len(trigger), k)
        assert found.dtype == np.int32
        full = min(k, NUMBER - 1)
        for item, answers in zip(trigger, found.tolist(), strict=True):
            assert item not in answers
            assert len(set(answers[:full])) == full
            assert all(0 <= answer < NUMBER for answer in answers[:full])
            assert answers[full:] == [-1] * (k - full)
        assert found[0].tolist() == found[4].tolist()

    def test_no_dial(self, fitted):
        _, recommender, _ = fitted
        assert recommender.has_dial is False
        lists = [recommender.retrieve(np.arange(NUMBER), k=5, relevance_weight=weight) for weight in (0.0, 0.9)]
        assert np.array_equal(*lists)

    def test_answers_do_not_depend_on_what_else_is_asked(self, fitted):
        _, recommender, _ = fitted
        together = recommender.retrieve(np.arange(NUMBER), k=5, relevance_weight=0.0)
        apart = [recommender.retrieve(np.array([item]), k=5, relevance_weight=0.0)[0] for item in range(NUMBER)]
        assert np.array_equal(together, apart)

    def test_no_trigger_no_answer(self, fitted):
        _, recommender, _ = fitted
        assert recommender.retrieve(np.zeros(0, np.int64), k=5, relevance_weight=0.0).shape == (0, 5)

    def test_again_the_same(self, fitted, data):
        name, recommender, chosen = fitted
        again, as_before = fit_baseline(name, data, k=5, seed=0)
        assert as_before == chosen
        lists = [model.retrieve(np.arange(NUMBER), k=9, relevance_weight=0.0) for model in (recommender, again)]
        assert np.array_equal(*lists)

    def test_parameters_are_of_the_grid_and_can_be_shown(self, fitted):
        name, _, chosen = fitted
        assert all(isinstance(value, (int, float, str)) for value in chosen.values())
        assert bool(chosen) == (name != "content")

    def test_finds_the_colour(self, fitted):
        """Seven others have the trigger's colour."""
        name, recommender, _ = fitted
        found = recommender.retrieve(np.arange(16), k=5, relevance_weight=0.0)
        same = (found % 2 == np.arange(16)[:, np.newaxis] % 2).mean()
        assert same < 0.7 if name == "popularity" else same == 1.0

    def test_cold_triggers_get_what_is_popular(self, fitted, data):
        name, recommender, _ = fitted
        popular, _ = fit_baseline("popularity", data, k=5, seed=0)
        cold = np.array(COLD[1:] if name == "content" else COLD)  # content knows the first of them
        answers = [model.retrieve(cold, k=5, relevance_weight=0.0) for model in (recommender, popular)]
        assert np.array_equal(*answers)


def test_trained_models_are_not_counted(data):
    with pytest.raises(KeyError):
        fit_baseline("mtmh", data, k=5, seed=0)


# --- histories ------------------------------------------------------------------------------------------------------


class Shifts:
    """Answers each trigger with the one item ``by`` further on."""

    grid: ClassVar = ({"by": 1}, {"by": 2}, {"by": 3}, {"by": 2})
    default: ClassVar = {"by": 1}

    def fit(self, *, by):
        scores = scipy.sparse.csr_matrix(np.roll(np.eye(9, dtype=np.float32), by, axis=1))
        return CountedRecommender(scores, np.zeros(9), fill=False)


def test_the_setting_of_best_recall_is_taken_and_of_equal_ones_the_first():
    """Pairs two further on are most of all pairs, though triggers with others are more."""
    validation = eval_triggers([(0, [1]), (1, [2]), (3, [5, 5, 5]), (4, [7])])
    assert best_setting(Shifts(), validation, 1)[0] is Shifts.grid[1]
    assert best_setting(Shifts(), eval_triggers([(0, [8])]), 1)[0] is Shifts.grid[0]


def write(directory, sequences, *, validation=(), eval_events=((0, [1]),)):
    """Examples of one shard, one user a sequence."""
    found = pair_events(sequences)
    held_out = [] if not validation else pair_events(validation)
    return write_examples(
        directory,
        item_table([f"item {row}" for row in range(NUMBER)], content=checkerboard_items(NUMBER).content_vectors),
        [(item, after) for _, item, after in found],
        list(eval_events),
        validation_events=[(item, after) for _, item, after in held_out],
        users=[user for user, _, _ in found],
        validation_users=[user for user, _, _ in held_out],
        eval_users=[0] * len(eval_events),
        shards=1,
    )


def test_data_is_read_from_examples(tmp_path):
    sequences = colours(8)
    held_out = [[sequence[-1], 16, sequence[0]] for sequence in sequences]
    read = load_baseline_data(write(tmp_path, sequences, validation=held_out))
    assert read.num_items == NUMBER
    assert read.training.item.tolist() == [item for sequence in sequences for item in sequence]
    assert read.complete.item.tolist() == [item for sequence in sequences for item in [*sequence, 16, sequence[0]]]
    assert (read.complete.weight == 1.0).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_evaluation_period_is_never_read(name, tmp_path):
    examples = write(tmp_path, colours(20), validation=colours(6, seed=2))
    shutil.rmtree(examples / "eval")
    fit_baseline(name, load_baseline_data(examples), k=5, seed=0)


def test_rows_of_the_validation_slice_choose_first_and_are_counted_then(tmp_path):
    """Only the slice knows item 16: no setting is chosen by having counted it, but in the end it is an answer."""
    held_out = [[sequence[-1], 16] for sequence in colours(20)]
    read = load_baseline_data(write(tmp_path, colours(20), validation=held_out))
    recommender, _ = fit_baseline("cooccurrence", read, k=3, seed=0)
    assert read.training.popularity(NUMBER)[16] == 0
    assert 16 in recommender.retrieve(np.array([held_out[0][0]]), k=3, relevance_weight=0.0)


def test_without_a_validation_slice_there_is_nothing_to_choose_by(tmp_path):
    read = load_baseline_data(write(tmp_path, colours(20)))
    assert len(read.validation) == 0
    assert fit_baseline("itemknn", read, k=5, seed=0)[1] == {"part_rows": "whole", "shrinkage": 50}


@pytest.mark.parametrize(
    ("name", "setting", "narrowed"),
    [("cooccurrence", "window", {"window": 3}), ("cooccurrence_damped", "reach", {"window": 3})],
)
def test_the_window_that_is_printed_is_the_one_that_is_counted(name, setting, narrowed, data, monkeypatch):
    chosen = fit_baseline(name, data, k=5, seed=0)[1]
    assert chosen[setting] > 3
    assert ("window" in chosen) == (name == "cooccurrence")
    monkeypatch.setattr("trainer.cooccurrence._MOST_PAIRS", 3 * len(data.complete))
    assert fit_baseline(name, data, k=5, seed=0)[1].items() >= narrowed.items()


def test_no_pairs(tmp_path):
    with pytest.raises(UserError, match="no training pairs"):
        load_baseline_data(write(tmp_path, []))
