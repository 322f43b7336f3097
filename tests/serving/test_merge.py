"""The pure parts of an answer: weights of triggers, sets, the best of a list."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from preprocessing.backend import tf
from serving import merge

ROWS = st.integers(-1, 6)
COLUMNS = st.integers(0, 7)


def matrices(rows, columns=COLUMNS, values=ROWS):
    return st.tuples(rows, columns).flatmap(
        lambda shape: st.lists(
            st.lists(values, min_size=shape[1], max_size=shape[1]), min_size=shape[0], max_size=shape[0]
        ).map(lambda cells: np.array(cells, np.int32).reshape(shape))
    )


@given(st.lists(st.booleans(), max_size=9), st.sampled_from([0.01, 0.5, 0.9, 1.0]))
def test_position_weights(known, decay):
    weights = merge.position_weights(tf.constant([known], tf.bool, shape=[1, len(known)]), decay).numpy()[0]
    present = weights[np.array(known, bool)]
    assert not weights[~np.array(known, bool)].any()
    if any(known):
        expected = decay ** np.arange(len(present))
        np.testing.assert_allclose(present, expected / expected.sum(), rtol=1e-5)
    assert (np.diff(present) <= 0).all()


def test_first_trigger_counts_most_wherever_empties_stand():
    known = tf.constant([[True, True, True, False, False], [False, True, False, True, True]])
    weights = merge.position_weights(known, 0.5).numpy()
    np.testing.assert_allclose(weights[0, :3], [4 / 7, 2 / 7, 1 / 7], rtol=1e-6)
    np.testing.assert_allclose(weights[1, [1, 3, 4]], weights[0, :3])


def test_many_triggers_keep_a_sum_of_one():
    weights = merge.position_weights(tf.ones([1, 256], tf.bool), 0.01).numpy()
    assert weights.sum() == pytest.approx(1.0)
    assert np.isfinite(weights).all()


@given(matrices(rows=st.integers(1, 4)), st.integers(1, 8))
def test_leading_keeps_the_first_known(rows, size):
    found = merge.leading(tf.constant(rows), size).numpy()
    assert found.shape == (len(rows), min(size, rows.shape[1]))
    for before, after in zip(rows, found, strict=True):
        assert after[after >= 0].tolist() == before[before >= 0][:size].tolist()


@given(
    st.integers(0, 3).flatmap(
        lambda n: st.tuples(matrices(rows=st.just(n)), matrices(rows=st.just(n), columns=st.integers(1, 7)))
    )
)
def test_contains(pair):
    sets, values = pair
    found = merge.contains(tf.constant(sets), tf.constant(values)).numpy()
    for row in range(len(sets)):
        assert found[row].tolist() == [value in set(sets[row]) for value in values[row]]


@given(matrices(rows=st.integers(0, 3)))
def test_count_distinct(values):
    found = merge.count_distinct(tf.constant(values)).numpy()
    assert found.tolist() == [len({value for value in row if value >= 0}) for row in values]


def test_without_repeats():
    joined = merge.without_repeats(tf.constant([[1, 2, -1]]), tf.constant([[2, 3, 1, -1]])).numpy()
    assert joined.tolist() == [[1, 2, -1, -1, 3, -1, -1]]


@settings(max_examples=50)
@given(st.integers(0, 6), st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=1, max_size=6))
def test_best(size, slots):
    scores = np.array([[score for score, _ in slots]], np.float32)
    allowed = np.array([[fit for _, fit in slots]])
    rows = np.arange(len(slots), dtype=np.int32)[np.newaxis]
    values, chosen, carried = (
        part.numpy()[0] for part in merge.best(scores, tf.constant(rows), tf.constant(allowed), size, -scores)
    )
    expected = sorted(scores[allowed], reverse=True)[:size]
    real = len(expected)
    assert len(values) == len(chosen) == len(carried) == size
    assert values[:real].tolist() == expected
    assert scores[0, chosen[:real]].tolist() == expected
    assert (-carried[:real]).tolist() == expected
    assert (values[real:] == -math.inf).all()
    assert (chosen[real:] == -1).all()
    assert not carried[real:].any()


def test_threshold_is_the_kth_score():
    ordered = tf.constant([[0.9, 0.5, 0.1]] * 4 + [[0.9, -math.inf, -math.inf]])
    least = merge.threshold(ordered, tf.constant([0, 1, 3, 7, 2])).numpy()[:, 0]
    np.testing.assert_allclose(least, [math.inf, 0.9, 0.1, 0.1, -math.inf])
