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


def test_gains_of_ranks():
    ranks = np.array([0, 4, 1, 5], I32)
    assert metrics.hits(ranks, 5).tolist() == [1, 1, 1, 0]
    assert metrics.reciprocal_ranks(ranks, 5) == pytest.approx([1, 1 / 5, 1 / 2, 0])
    assert metrics.discounted_gains(ranks, 5) == pytest.approx([1, 1 / math.log2(6), 1 / math.log2(3), 0])


def test_ideal_gain_is_bounded_by_the_slots():
    assert metrics.ideal_gains(np.array([0, 1, 2, 5]), 2) == pytest.approx([0, 1, *[1 + 1 / math.log2(3)] * 2])


def graded(rows):
    trigger, grade, score = zip(*rows, strict=True)
    return metrics.annotation_ndcg(np.array(trigger), np.array(grade, np.float32), np.array(score, np.float32))


def test_annotation_ndcg_by_hand():
    """Trigger 4 in the wrong order, 9 in the right one, rows mixed; 2 has one item and 5 equal grades: none to rank."""
    rows = [(9, 0.5, 0.2), (4, 1.0, -0.5), (2, 1.0, 0.0), (4, 0.25, 0.5), (9, 0.75, 0.9), (5, 0.5, 0.1), (5, 0.5, 0.2)]
    second = 1 / math.log2(3)
    expected = [(0.25 + 1.0 * second) / (1.0 + 0.25 * second), 1.0]
    assert graded(rows) == pytest.approx(expected)
    assert graded(rows[::-1]) == pytest.approx(expected)
    assert graded([(1, 0.5, 0.0), (1, 0.5, 1.0)]).tolist() == []


def test_annotation_ndcg_of_equal_scores_is_the_mean_over_their_orders():
    second, third = 1 / math.log2(3), 0.5
    ideal = 1.0 + 0.5 * second
    orders = [0.5 + 1.0 * second, 0.5 + 1.0 * third]  # the graded 1 before or after the graded 0
    rows = [(0, 1.0, 0.3), (0, 0.5, 0.8), (0, 0.0, 0.3)]
    assert graded(rows) == pytest.approx([np.mean(orders) / ideal])


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


@pytest.mark.parametrize("gain", [0, 16])
def test_lists_along_a_dial_are_judged_as_each_alone(gain, monkeypatch):
    """Compared with the whole catalogue at once or item by item."""
    rng = np.random.default_rng(0)
    content = rng.normal(size=(9, 4)).astype(np.float32)
    categories = scipy.sparse.csr_matrix((rng.random((9, 5)) < 0.4).astype(np.float32))
    trigger, retrieved = np.array([3, 0, 8]), rng.integers(-1, 9, (4, 3, 5)).astype(I32)
    alone = [
        [metrics.relevance(trigger, lists, content), metrics.topic_match(trigger, lists, categories)]
        for lists in retrieved
    ]
    monkeypatch.setattr(metrics, "_TABLE_GAIN", gain)
    assert metrics.relevance(trigger, retrieved, content) == pytest.approx(np.array([r for r, _ in alone]), abs=1e-6)
    found = metrics.topic_match(trigger, retrieved, categories)
    assert found == pytest.approx(np.array([t for _, t in alone]), abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("block_values", [1, 16_000_000])
def test_diversity_against_all_pairs(block_values, monkeypatch):
    monkeypatch.setattr(metrics, "_BLOCK_VALUES", block_values)
    rng = np.random.default_rng(1)
    content = rng.normal(size=(7, 3))
    content /= np.linalg.norm(content, axis=1, keepdims=True)
    content[4] = 0
    retrieved = np.array([[0, 1, 2, 3], [4, 0, 6, -1], [4, 2, -1, -1], [-1] * 4], I32)
    found = metrics.diversity(retrieved, content.astype(np.float32))
    cosine = content @ content.T
    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert found[0] == pytest.approx(1 - np.mean([cosine[pair] for pair in pairs]), abs=1e-6)
    assert found[1] == pytest.approx(1 - cosine[0, 6], abs=1e-6)  # item 4 is unknown to the teacher
    assert np.isnan(found[2:]).all()


def test_self_information_of_unseen_items_is_finite_and_greatest():
    bits = metrics.self_information(np.array([6, 0, 1, 0]))
    assert bits == pytest.approx([math.log2(11 / 7), math.log2(11), math.log2(11 / 2), math.log2(11)])


def test_tail_items():
    count = np.array([3, 1, 1, 9, 0])
    assert metrics.tail_items(count, 0.4).tolist() == [False, True, False, False, True]
    assert metrics.tail_items(count, 1.0).all()
    assert not metrics.tail_items(count, 0.1).any()
