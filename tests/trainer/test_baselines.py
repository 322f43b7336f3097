"""The counted baselines: one contract for all, and each formula by hand."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings, strategies as st
from implicit.nearest_neighbours import CosineRecommender

from preprocessing.errors import UserError
from tests.trainer.test_evaluate import unit
from tests.trainer.toys import checkerboard_items, eval_triggers, item_table, write_examples
from trainer import cooccurrence, counted, swing
from trainer.baselines import BaselineData, best_setting, fit_baseline, load_baseline_data
from trainer.content_only import ContentOnly
from trainer.cooccurrence import Cooccurrence, DampedCooccurrence, damped, window_counts
from trainer.counted import CountedRecommender, best_scored, fill_up, most_popular
from trainer.dot_products import DotProductRecommender
from trainer.histories import Events, Histories, histories_of
from trainer.item2vec import Item2Vec
from trainer.itemknn import ItemKNN, overlaps, shrunk_cosine
from trainer.names import COUNTED, MODELS
from trainer.popularity import Popularity
from trainer.swing import Swing, swing_scores

NAMES = [model.name for model in MODELS.values() if model.kind == COUNTED]
NUMBER = 18
COLD = (16, 17)


def histories(sequences, users=None, weight=1.0):
    """Histories of item sequences; by default each of another user."""
    users = range(len(sequences)) if users is None else users
    lengths = [len(sequence) for sequence in sequences]
    item = np.array([item for sequence in sequences for item in sequence], np.int64)
    return Histories(
        item=item,
        user=np.repeat(np.array(users, np.int64), lengths),
        sequence=np.repeat(np.arange(len(sequences)), lengths),
        weight=np.full(len(item), weight, np.float32),
    )


def colours(users=60, seed=0):
    """Each user stays on one colour of the checkerboard, as in the toys; the two last items are never met."""
    rng = np.random.default_rng(seed)
    return [rng.choice(np.arange(user % 2, 16, 2), 6, replace=False).tolist() for user in range(users)]


def pair_events(sequences, window=5):
    """Trigger events as the preprocessing mines them: the next rows, each item once, where it is nearest."""
    found = []
    for user, sequence in enumerate(sequences):
        for row, item in enumerate(sequence):
            after = [other for other in sequence[row + 1 : row + 1 + window] if other != item]
            if after:
                found.append((user, item, list(dict.fromkeys(after))))
    return found


def as_events(found, weight=1.0):
    return Events(
        trigger=np.array([item for _, item, _ in found], np.int64),
        user=np.array([user for user, _, _ in found], np.int64),
        lengths=np.array([len(after) for _, _, after in found], np.int64),
        target=np.array([other for _, _, after in found for other in after], np.int64),
        weight=np.full(sum(len(after) for _, _, after in found), weight, np.float32),
    )


@pytest.fixture(scope="module")
def data():
    known = histories(colours())
    validation = eval_triggers([(item, after) for _, item, after in pair_events(colours(20, seed=1))])
    content = checkerboard_items(NUMBER).content_vectors.copy()
    content[COLD[1]] = 0.0
    return BaselineData(known, known, validation, content)


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

SEQUENCES = st.lists(
    st.lists(st.integers(0, 4), min_size=2, max_size=9).map(
        lambda items: [item for row, item in enumerate(items) if not row or item != items[row - 1]]
    ),
    min_size=1,
    max_size=5,
)


@given(SEQUENCES, st.integers(1, 3))
def test_histories_are_what_pairs_were_mined_from(sequences, window):
    long = [sequence for sequence in sequences if len(sequence) > 1]
    found = histories_of([as_events(pair_events(long, window), weight=0.5)])
    expected = histories(long, weight=0.5)
    for column in ("item", "user", "sequence", "weight"):
        assert getattr(found, column).tolist() == getattr(expected, column).tolist()


def test_held_out_rows_go_on_where_the_training_rows_end():
    training = as_events([(7, 1, [2]), (7, 2, [3]), (9, 5, [6])])
    held_out = as_events([(7, 3, [4, 1]), (7, 4, [1])])
    found = histories_of([training, held_out])
    assert found.item.tolist() == [1, 2, 3, 4, 1, 5, 6]
    assert found.user.tolist() == [7] * 5 + [9] * 2
    assert found.sequence.tolist() == [0] * 5 + [1] * 2


def test_a_sequence_ends_where_the_next_trigger_is_another_item():
    found = histories_of([as_events([(0, 1, [2]), (0, 4, [5])])])
    assert (found.item.tolist(), found.sequence.tolist()) == ([1, 2, 4, 5], [0, 0, 1, 1])


def test_rows_weigh_what_their_nearest_pair_weighs():
    events = as_events([(0, 1, [2, 3]), (0, 2, [3])])
    aged = Events(events.trigger, events.user, events.lengths, events.target, np.array([0.5, 0.4, 0.8], np.float32))
    found = histories_of([aged])
    assert found.weight.tolist() == pytest.approx([0.5, 0.8, 0.8])
    assert found.popularity(5).tolist() == pytest.approx([0, 0.5, 0.8, 0.8, 0])
    assert found.engagements(5).toarray().tolist() == [pytest.approx([0, 0.5, 0.8, 0.8, 0])]


def test_parts_of_histories_are_equal_and_whole_by_default():
    found = histories([[0] * 7, [1] * 2, [2] * 3])
    assert found.parts(None).tolist() == [0] * 7 + [1] * 2 + [2] * 3
    assert found.parts(3).tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 3]
    assert histories([[4, 2, 4], [2, 1]]).engagements(5).toarray().tolist() == [[0, 0, 1, 0, 1], [0, 1, 1, 0, 0]]


# --- lists ----------------------------------------------------------------------------------------------------------


def naive_best(scores, row, k):
    order = sorted(range(len(scores)), key=lambda column: (-scores[row, column], column))
    answers = [column for column in order if column != row and scores[row, column] > 0][:k]
    return answers + [-1] * (k - len(answers))


@settings(max_examples=60)
@given(st.data(), st.integers(1, 9), st.sampled_from([1, 7, 8_000_000]))
def test_best_scored_is_the_naive_one(drawn, k, scores_held):
    number = drawn.draw(st.integers(1, 7))
    values = drawn.draw(
        st.lists(st.sampled_from([-1.0, 0.0, 0.5, 1.0]), min_size=number * number, max_size=number * number)
    )
    table = np.array(values, np.float32).reshape(number, number)
    rows = np.array(drawn.draw(st.lists(st.integers(0, number - 1), max_size=5)), np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counted, "_BLOCK_SCORES", scores_held)
        found = best_scored(scipy.sparse.csr_matrix(table), rows, k)
    assert found.tolist() == [naive_best(table, row, k) for row in rows]


@settings(max_examples=60)
@given(st.data(), st.integers(1, 9), st.integers(1, 7), st.sampled_from([1, 8_000_000]))
def test_filling_up_is_the_naive_one(drawn, k, number, scores_held):
    popular = drawn.draw(st.permutations(range(number)))
    trigger = drawn.draw(st.lists(st.integers(0, number - 1), max_size=4))
    lists, expected = [], []
    for item in trigger:
        others = drawn.draw(st.permutations([other for other in range(number) if other != item]))
        known = others[: drawn.draw(st.integers(0, min(k, len(others))))]
        more = [other for other in popular if other != item and other not in known]
        lists.append(known + [-1] * (k - len(known)))
        expected.append((known + more + [-1] * k)[:k])
    found = np.array(lists, np.int32).reshape(len(trigger), k)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counted, "_BLOCK_SCORES", scores_held)
        assert fill_up(found, np.array(trigger, np.int64), np.array(popular)).tolist() == expected
    assert found.tolist() == lists  # left as it was


def test_lists_need_not_be_filled_up():
    scores = scipy.sparse.csr_matrix(np.array([[0, 0, 2], [0, 0, 0], [0, 0, 0]], np.float32))
    recommender = CountedRecommender(scores, np.array([1, 0, 2]), fill=False)
    assert recommender.retrieve(np.array([0, 1]), k=2).tolist() == [[2, -1], [-1, -1]]
    vectors = np.array([[1, 0], [0, 0], [1, 1]], np.float32)
    without = DotProductRecommender(vectors, vectors, vectors.any(axis=1), np.array([1, 0, 2]), fill=False)
    assert without.retrieve(np.array([0, 1]), k=2).tolist() == [[2, -1], [-1, -1]]


def test_items_without_a_vector_come_after_those_of_opposite_vectors():
    vectors = np.array([[1.0], [-1.0], [0.0], [-0.5]], np.float32)
    recommender = DotProductRecommender(vectors, vectors, vectors.any(axis=1), np.array([2, 3, 1, 0]))
    assert recommender.retrieve(np.array([0, 2]), k=3).tolist() == [[3, 1, 2], [3, 1, 0]]


# --- formulas -------------------------------------------------------------------------------------------------------


def test_popularity_counts_rows_or_users():
    """Item 1 has three rows of one user, item 2 two rows of two; of equal ones the smaller index is first."""
    known = histories([[1, 0, 1, 3, 1, 2], [2]])
    assert Popularity(known, 4).fit(count="rows").popular.tolist() == [1, 2, 0, 3]
    assert Popularity(known, 4).fit(count="users").popular.tolist() == [2, 0, 1, 3]
    assert most_popular(np.array([0.0, 2.0, 2.0])).tolist() == [1, 2, 0]


def test_cooccurrence_by_hand():
    """0 1 2 0 and 0 1: in a window of two rows, sequences apart."""
    known = histories([[0, 1, 2, 0], [0, 1]])
    counts = window_counts(known, 3, 2).toarray()
    assert counts.tolist() == [[0, 2, 1], [1, 0, 1], [1, 0, 0]]
    scores = Cooccurrence(known, 3).fit(window=2, alpha=0.5).scores.toarray()
    assert scores.tolist() == [[0, 2.5, 1.5], [2, 0, 1], [1.5, 0.5, 0]]


def test_distance_and_age_count_less():
    known = histories([[0, 1, 2]], weight=0.5)
    assert window_counts(known, 3, 2, 0.1).toarray().tolist() == [
        [0, pytest.approx(0.5), pytest.approx(0.05)],
        [0, 0, pytest.approx(0.5)],
        [0, 0, 0],
    ]


@pytest.mark.parametrize("pairs_held", [1, 9, 25])
def test_counting_in_blocks_changes_nothing(pairs_held, monkeypatch):
    known = histories(colours(9))
    whole = window_counts(known, 16, 5, 0.8).toarray()
    monkeypatch.setattr(cooccurrence, "_BLOCK_PAIRS", pairs_held)
    assert window_counts(known, 16, 5, 0.8).toarray() == pytest.approx(whole)


def test_windows_shrink_where_there_would_be_too_many_pairs(monkeypatch):
    known = histories(colours(9))
    narrow = window_counts(known, 16, 2).toarray()
    monkeypatch.setattr(cooccurrence, "_MOST_PAIRS", 2 * len(known))
    assert (window_counts(known, 16, 30).toarray() == narrow).all()


def test_damping_by_hand():
    """A count of 6 with an item of popularity 9 is worth 6 / 3, less than one of 5 with one of popularity 4."""
    counts = scipy.sparse.csr_matrix(np.array([[0, 6, 5, 0]], np.float32).repeat(4, axis=0))
    found = damped(counts, np.array([1.0, 9.0, 4.0, 0.0]), 0.5)
    assert found.dtype == np.float32
    assert found.toarray()[0].tolist() == pytest.approx([0, 2, 2.5, 0])
    known = histories([[0, 1], [1, 2], [2, 1, 3]])
    scores = DampedCooccurrence(known, 4).fit(reach=1, beta=1.0).scores.toarray()
    near, far = 1.0, np.exp(-1.0)
    assert scores[1].tolist() == pytest.approx([1.0, 0, 2 * near / 2, 1.0])
    assert scores[2].tolist() == pytest.approx([0, 2 * near / 3, 0, far])


def test_shrinkage_by_hand():
    """Two users in common of 4 and of 1 beat one in common of 1 and 1 only when few in common count little."""
    users = np.array([[1, 1, 0], [1, 0, 1], [1, 1, 0], [1, 1, 0]], np.float32)  # items of 4, 3 and 1 users
    overlap, norm = overlaps(scipy.sparse.csr_matrix(users))
    assert norm.tolist() == pytest.approx([2, 3**0.5, 1])
    assert overlap.toarray().tolist() == [[4, 3, 1], [3, 3, 0], [1, 0, 1]]
    scores = shrunk_cosine(overlap, norm, 10.0).toarray()
    assert scores[0, 1] == pytest.approx(3 / (2 * 3**0.5 + 10))
    assert scores[0, 2] == pytest.approx(1 / (2 + 10))


def test_without_shrinkage_itemknn_is_the_librarys_cosine():
    known = histories(colours(30, seed=3))
    found = ItemKNN(known, 16).fit(part_rows=None, shrinkage=0.0).scores
    cosine = CosineRecommender(K=16, num_threads=1)
    cosine.fit(known.engagements(16).astype(np.float64), show_progress=False)
    assert found.toarray() == pytest.approx(cosine.similarity.toarray(), abs=1e-6)


def test_shrinkage_ranks_many_above_few():
    """Item 0 has 4 users; 2 of item 1's 9 are among them, and the only one of item 2: cosines 2 / 6 and 1 / 2."""
    known = histories([[0, 1]] * 2 + [[0, 2], [0, 3]] + [[1, 4]] * 7)
    found = {
        shrinkage: ItemKNN(known, 5).fit(part_rows=None, shrinkage=shrinkage).retrieve(np.array([0]), k=3)[0].tolist()
        for shrinkage in (0.0, 10.0)
    }
    assert found == {0.0: [2, 3, 1], 10.0: [1, 2, 3]}


def test_itemknn_and_swing_look_at_parts_of_long_histories():
    """Together in two users' histories, but half a history apart."""
    known = histories([[*range(10)], [*range(10)]])
    for model, setting in ((ItemKNN(known, 10), {"shrinkage": 1}), (Swing(known, 10), {"alpha": 1.0, "beta": 0.5})):
        assert model.fit(part_rows=None, **setting).scores[0, 9] > 0
        apart = model.fit(part_rows=5, **setting).scores
        assert apart[0, 9] == 0
        assert apart[0, 4] > 0


def test_swing_by_hand():
    """Users 0 and 1 share items 0 and 1; 0 and 2 share 0 and 2; 1 and 2 share 0 alone. User 0 has three items."""
    users = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 1]], np.float32)
    scores = swing_scores(scipy.sparse.csr_matrix(users), np.arange(3), alpha=2.0, beta=0.5).toarray()
    of_both = 1 / (3**0.5 * 2**0.5) / (2 + 2)
    assert scores[0, 1] == pytest.approx(of_both)
    assert scores[0, 2] == pytest.approx(of_both)
    assert scores[1, 2] == 0.0  # one user alone has both: no swing
    assert scores[0, 0] == pytest.approx(2 * of_both + 1 / 2 / (2 + 1))
    assert (scores == scores.T).all()


def naive_swing(users, alpha, beta):
    number = users.shape[1]
    scores = np.zeros((number, number))
    size = users.sum(axis=1)
    for i in range(number):
        for j in range(number):
            both = np.flatnonzero(users[:, i] * users[:, j])
            for u in both:
                for v in both[both > u]:
                    scores[i, j] += (size[u] * size[v]) ** -beta / (alpha + (users[u] * users[v]).sum())
    return scores


@settings(max_examples=20)
@given(st.integers(0, 1000), st.sampled_from([0.0, 0.5]))
def test_swing_is_the_naive_one(seed, beta):
    users = (np.random.default_rng(seed).random((9, 6)) < 0.4).astype(np.float32)
    found = swing_scores(scipy.sparse.csr_matrix(users), np.array([0, 2, 5]), alpha=1.5, beta=beta).toarray()
    expected = naive_swing(users, 1.5, beta)
    expected[[1, 3, 4]] = 0.0
    assert found == pytest.approx(expected, abs=1e-6)


def test_swing_is_bounded_by_the_lightest_users_and_the_best_items(monkeypatch):
    users = (np.random.default_rng(0).random((12, 6)) < 0.6).astype(np.float32)
    users[:, 0] = 1.0
    lightest = np.argsort(users.sum(axis=1), kind="stable")[:5]
    expected = naive_swing(users[lightest], 1.0, 0.5)[0]
    monkeypatch.setattr(swing, "_MOST_USERS", 5)
    table = scipy.sparse.csr_matrix(users)
    assert swing_scores(table, np.array([0]), alpha=1.0, beta=0.5).toarray()[0] == pytest.approx(expected, abs=1e-6)
    monkeypatch.setattr(swing, "_MOST_ITEMS", 2)
    kept = swing_scores(table, np.array([0]), alpha=1.0, beta=0.5).toarray()[0]
    best = np.argsort(-expected, kind="stable")[:2]
    assert sorted(np.flatnonzero(kept)) == sorted(best)


def test_swing_can_be_counted_for_some_triggers_only():
    known = histories(colours())
    setting = {"part_rows": None, "alpha": 1.0, "beta": 0.5}
    whole = Swing(known, 16).fit(**setting).retrieve(np.array([3, 8]), k=6)
    assert np.array_equal(
        Swing(known, 16, only=np.array([3, 8, 3])).fit(**setting).retrieve(np.array([3, 8]), k=6), whole
    )


TRAIN_ITEM2VEC = """
from tests.trainer.test_baselines import colours, histories
from trainer.item2vec import Item2Vec
model = Item2Vec(histories(colours()), 18, seed=3).fit(**Item2Vec.default)
print(model.query.tobytes().hex() + model.candidate.tobytes().hex())
"""


def test_item2vec_is_the_same_in_every_process():
    """Python's own hash is salted anew in each."""
    printed = subprocess.run(
        [sys.executable, "-c", TRAIN_ITEM2VEC],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    here = Item2Vec(histories(colours()), NUMBER, seed=3).fit(**Item2Vec.default)
    assert printed.strip() == here.query.tobytes().hex() + here.candidate.tobytes().hex()


def test_item2vec_reads_its_vectors_in_four_ways():
    model = Item2Vec(histories(colours()), NUMBER, seed=0)
    first, second = (
        model.fit(learning_rate=0.05, readout="dot").query,
        model.fit(learning_rate=0.05, readout="dot").candidate,
    )
    assert not first[list(COLD)].any()

    def lists(readout):
        return model.fit(learning_rate=0.05, readout=readout).retrieve(np.arange(16), k=4).tolist()

    def naive(scores):
        np.fill_diagonal(scores, -np.inf)
        return np.argsort(-scores[:16, :16], axis=1, kind="stable")[:, :4].tolist()

    cosine = [vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9) for vectors in (first, second)]
    assert lists("dot") == naive(first @ second.T)
    assert lists("cosine") == naive(cosine[0] @ cosine[1].T)
    assert lists("both") == naive(cosine[0] @ cosine[1].T + cosine[1] @ cosine[0].T)
    assert lists("input") == naive(cosine[0] @ cosine[0].T)


def test_content_is_the_teachers_cosine():
    content = unit(np.random.default_rng(0), 9, 4)
    scores = content @ content.T
    np.fill_diagonal(scores, -2)
    found = ContentOnly(histories([[0, 1]]), content).fit().retrieve(np.arange(9), k=5)
    assert found.tolist() == np.argsort(-scores, axis=1, kind="stable")[:, :5].tolist()


# --- tuning ---------------------------------------------------------------------------------------------------------


class Shifts:
    """Answers each trigger with the one item ``by`` further on."""

    grid: ClassVar = ({"by": 1}, {"by": 2}, {"by": 3}, {"by": 2})
    default: ClassVar = {"by": 1}

    def fit(self, *, by):
        scores = scipy.sparse.csr_matrix(np.roll(np.eye(9, dtype=np.float32), by, axis=1))
        return CountedRecommender(scores, np.arange(9), fill=False)


def test_the_setting_of_best_recall_is_taken_and_of_equal_ones_the_first():
    """Pairs two further on are most of all pairs, though triggers with others are more."""
    validation = eval_triggers([(0, [1]), (1, [2]), (3, [5, 5, 5]), (4, [7])])
    assert best_setting(Shifts(), validation, 1) is Shifts.grid[1]
    assert best_setting(Shifts(), eval_triggers([(0, [8])]), 1) is Shifts.grid[0]


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


def test_no_pairs(tmp_path):
    with pytest.raises(UserError, match="no training pairs"):
        load_baseline_data(write(tmp_path, []))
