"""Swing by hand, and against a naive one."""

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings, strategies as st

from tests.trainer.event_logs import colours, histories
from trainer import itemknn, swing
from trainer.swing import Swing, swing_scores


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
    monkeypatch.setattr(itemknn, "_NEIGHBOURS", 2)
    kept = swing_scores(table, np.array([0]), alpha=1.0, beta=0.5).toarray()[0]
    best = np.argsort(-expected, kind="stable")[:2]
    assert sorted(np.flatnonzero(kept)) == sorted(best)


def test_large_catalogues_keep_fewer_answers_of_each_item(monkeypatch):
    """Of 6 items 12 answers in all are 2 of each, the best."""
    table = scipy.sparse.csr_matrix((np.random.default_rng(0).random((12, 6)) < 0.6).astype(np.float32))
    whole = swing_scores(table, np.arange(6), alpha=1.0, beta=0.5).toarray()
    monkeypatch.setattr(itemknn, "_MOST_NEIGHBOURS", 12)
    monkeypatch.setattr(itemknn, "_FEWEST_NEIGHBOURS", 1)
    kept = swing_scores(table, np.arange(6), alpha=1.0, beta=0.5)
    assert np.diff(kept.indptr).tolist() == [2] * 6
    assert np.sort(kept.data.reshape(6, 2)).tolist() == np.sort(whole, axis=1)[:, -2:].tolist()


def test_swing_can_be_counted_for_some_triggers_only():
    known = histories(colours())
    setting = {"part_rows": None, "alpha": 1.0, "beta": 0.5}
    whole = Swing(known, 16).fit(**setting).retrieve(np.array([3, 8]), k=6)
    assert np.array_equal(
        Swing(known, 16, only=np.array([3, 8, 3])).fit(**setting).retrieve(np.array([3, 8]), k=6), whole
    )
