"""Popularity, co-occurrence and ItemKNN: each formula by hand."""

import doctest

import numpy as np
import pytest
import scipy.sparse
from implicit.nearest_neighbours import CosineRecommender

from tests.trainer.event_logs import colours, histories
from trainer import cooccurrence, itemknn
from trainer.cooccurrence import Cooccurrence, DampedCooccurrence, damped, window_counts
from trainer.counted import most_popular
from trainer.itemknn import ItemKNN, overlaps, shrunk_cosine
from trainer.popularity import Popularity
from trainer.swing import Swing


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
    assert [Cooccurrence(known, 16).narrowed(window=rows, alpha=1.0) for rows in (1, 2, 30)] == [{}, {}, {"window": 2}]
    assert [DampedCooccurrence(known, 16).narrowed(reach=reach, beta=0.1) for reach in (1, 10)] == [{}, {"window": 2}]


def test_windows_that_are_narrowed_to_one_are_counted_once(monkeypatch):
    known, counted = histories(colours(9)), []
    monkeypatch.setattr(cooccurrence, "_MOST_PAIRS", 2 * len(known))
    monkeypatch.setattr(cooccurrence, "window_counts", lambda *args: counted.append(args[2]) or window_counts(*args))
    model = Cooccurrence(known, 16)
    found = [model.fit(window=rows, alpha=1.0).scores.toarray() for rows in (5, 10, 20)]
    assert counted == [2]
    assert (found[0] == found[2]).all()


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


def test_docstrings():
    assert doctest.testmod(itemknn).failed == 0


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
