"""What all counted baselines share: the best of a row of scores, and what fills it up."""

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings, strategies as st

from trainer import counted
from trainer.counted import CountedRecommender, best_scored, fill_up
from trainer.dot_products import DotProductRecommender


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
    recommender = CountedRecommender(scores, np.array([1.0, 2.0, 0.0]), fill=False)
    assert recommender.retrieve(np.array([0, 1]), k=2).tolist() == [[2, -1], [-1, -1]]
    vectors = np.array([[1, 0], [0, 0], [1, 1]], np.float32)
    without = DotProductRecommender(vectors, vectors, vectors.any(axis=1), np.array([1.0, 2.0, 0.0]), fill=False)
    assert without.retrieve(np.array([0, 1]), k=2).tolist() == [[2, -1], [-1, -1]]


def test_items_without_a_vector_come_after_those_of_opposite_vectors():
    vectors = np.array([[1.0], [-1.0], [0.0], [-0.5]], np.float32)
    recommender = DotProductRecommender(vectors, vectors, vectors.any(axis=1), np.array([0.0, 1.0, 3.0, 2.0]))
    assert recommender.retrieve(np.array([0, 2]), k=3).tolist() == [[3, 1, 2], [3, 1, 0]]
    scores = recommender.score_pairs(np.array([0, 0, 0, 2, 2]), np.array([3, 1, 2, 1, 0]))
    assert scores[:2].tolist() == [-0.5, -1.0]
    assert (scores[2:] == scores[2]).all()
    assert scores[2] < -1e5
