"""Frontiers with areas and crossings known by drawing them."""

import doctest

import numpy as np
import pytest
from hypothesis import given, strategies as st

from trainer import frontier
from trainer.frontier import area, at_setting, last_keeping, recall_at


def row(*values):
    return np.array([values], np.float64)


def test_docstrings():
    result = doctest.testmod(frontier)
    assert result.attempted >= 4
    assert result.failed == 0


def test_area_of_one_point_is_its_rectangle():
    assert area(row(0.4), row(0.5)) == pytest.approx([0.2])


def test_area_of_a_staircase():
    """(1, 3), (2, 2), (4, 1): columns of width 1, 1 and 2."""
    assert area(row(1, 2, 4), row(3, 2, 1)) == pytest.approx([3 + 2 + 2])


def test_dominated_and_repeated_points_add_nothing():
    assert area(row(1, 2, 4, 0.5, 2, 1.5), row(3, 2, 1, 1, 2, 1.9)) == pytest.approx([7])


def test_below_zero_counts_as_zero():
    assert area(row(-1, 2), row(9, 1)) == pytest.approx([2])
    assert area(row(-1), row(1)) == pytest.approx([0])


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=7))
def test_area_against_counted_squares(points):
    covered = {(x, y) for right, top in points for x in range(right) for y in range(top)}
    assert area(row(*(x for x, _ in points)), row(*(y for _, y in points))) == pytest.approx([len(covered)])


def test_recall_at_a_relevance_between_settings():
    relevance, recall = row(0.2, 0.4, 0.6), row(0.30, 0.20, 0.05)
    for wanted, expected in ((0.0, 0.30), (0.2, 0.30), (0.3, 0.25), (0.4, 0.20), (0.5, 0.125), (0.6, 0.05)):
        assert recall_at(relevance, recall, np.array([wanted])) == pytest.approx([expected]), wanted
    assert np.isnan(recall_at(relevance, recall, np.array([0.61])))


def test_recall_at_takes_the_best_setting_that_is_relevant_enough():
    """The middle setting is better in both than the first; the way back to it counts too."""
    assert recall_at(row(0.2, 0.5, 0.4), row(0.1, 0.3, 0.2), np.array([0.3])) == pytest.approx([0.3])
    assert recall_at(row(0.5), row(0.3), np.array([0.4])) == pytest.approx([0.3])


def test_last_setting_that_keeps_a_recall():
    weights, recall = np.array([0.0, 0.2, 0.4, 1.0]), row(0.20, 0.22, 0.18, 0.06)
    for wanted, expected in ((0.18, 0.4), (0.20, 0.3), (0.22, 0.2), (0.12, 0.7), (0.01, 1.0)):
        assert last_keeping(weights, recall, np.array([wanted])) == pytest.approx([expected]), wanted
    assert np.isnan(last_keeping(weights, recall, np.array([0.23])))


def test_each_draw_has_a_setting_of_its_own():
    weights, values = np.array([0.0, 0.5, 1.0]), np.array([[1.0, 2.0, 4.0]] * 4)
    found = at_setting(weights, values, np.array([0.0, 0.25, 1.0, np.nan]))
    assert found == pytest.approx([1.0, 1.5, 4.0, np.nan], nan_ok=True)
    assert at_setting(np.array([0.0]), values[:, :1], np.array([0, 0, np.nan, 0])) == pytest.approx(
        [1, 1, np.nan, 1], nan_ok=True
    )
