"""Metrics on lists short enough to judge by eye; the docstrings' examples run too."""

import doctest
import math

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, strategies as st

from trainer import metrics

I32 = np.int32


def test_docstrings():
    result = doctest.testmod(metrics)
    assert result.attempted >= 4
    assert result.failed == 0


@given(st.integers(1, 6), st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_target_ranks_against_a_search(k, seed, block_values):
    rng = np.random.default_rng(seed)
    retrieved = np.stack([rng.permutation(8)[:k] for _ in range(3)]).astype(I32)
    retrieved[0, k // 2 :] = -1
    row, target = rng.integers(0, 3, 10), rng.integers(0, 8, 10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "_BLOCK_VALUES", block_values)
        found = metrics.target_ranks(retrieved, row, target)
    lists = retrieved.tolist()
    assert found.tolist() == [
        lists[r].index(t) if t in lists[r] else k for r, t in zip(row.tolist(), target.tolist(), strict=True)
    ]


def test_recall_and_mrr():
    ranks = np.array([0, 4, 1, 5], I32)
    assert metrics.recall(ranks, 5) == 0.75
    assert metrics.mrr(ranks, 5) == pytest.approx((1 + 1 / 5 + 1 / 2) / 4)
    nothing = np.array([], I32)
    assert (metrics.recall(nothing, 5), metrics.mrr(nothing, 5), metrics.ndcg(nothing, nothing, 5)) == (0, 0, 0)


def test_ndcg():
    ranks, occasion = np.array([1, 0, 3, 9, 2], I32), np.array([4, 4, 7, 7, 7])
    second = (1 / math.log2(5) + 1 / math.log2(4)) / (1 + 1 / math.log2(3) + 1 / math.log2(4))
    assert metrics.ndcg(ranks, occasion, 9) == pytest.approx((1.0 + second) / 2)


def test_ndcg_is_perfect_where_there_are_more_targets_than_slots():
    assert metrics.ndcg(np.array([0, 1, 2, 2], I32), np.array([0, 0, 0, 0]), 2) == pytest.approx(1.0)


@pytest.mark.parametrize("block_values", [1, 16_000_000])
def test_relevance(block_values, monkeypatch):
    monkeypatch.setattr(metrics, "_BLOCK_VALUES", block_values)
    content = np.array([[1, 0], [0.6, 0.8], [0, 1], [0, 0]], np.float32)
    retrieved = np.array([[1, 2], [0, -1], [-1, -1], [0, 1], [3, 1]], I32)
    found = metrics.relevance(np.array([0, 1, 2, 3, 0]), retrieved, content)
    assert found[[0, 1, 4]] == pytest.approx([(0.6 + 0) / 2, 0.6, (0 + 0.6) / 2])
    assert np.isnan(found[[2, 3]]).all()  # nothing retrieved; a trigger without a vector


@pytest.mark.parametrize("block_values", [1, 16_000_000])
def test_topic_match(block_values, monkeypatch):
    monkeypatch.setattr(metrics, "_BLOCK_VALUES", block_values)
    categories = scipy.sparse.csr_matrix(np.array([[1, 1, 0], [0, 1, 1], [1, 0, 0], [0, 0, 0]], np.float32))
    retrieved = np.array([[1, 2], [0, -1], [3, 0], [0, 1], [-1, -1]], I32)
    found = metrics.topic_match(np.array([0, 1, 2, 3, 0]), retrieved, categories)
    assert found[:3] == pytest.approx([(1 / 3 + 1 / 2) / 2, 1 / 3, (0 + 1 / 2) / 2])
    assert np.isnan(found[3:]).all()  # a trigger without categories; nothing retrieved


def test_tail_items():
    count = np.array([3, 1, 1, 9, 0])
    assert metrics.tail_items(count, 0.4).tolist() == [False, True, False, False, True]
    assert metrics.tail_items(count, 1.0).all()
    assert not metrics.tail_items(count, 0.1).any()
