"""Slices of a catalogue small enough to add up by hand."""

import doctest

import numpy as np
from hypothesis import given, strategies as st

from trainer import slices
from trainer.slices import COLD, HEAD, SLICES, TAIL, TORSO, item_slices


def named(counts):
    return [SLICES[number] for number in item_slices(np.array(counts, np.int64))]


def test_docstrings():
    result = doctest.testmod(slices)
    assert (result.attempted, result.failed) == (1, 0)


def test_hand_counted():
    """Of 100: 40 and 15 cross the half (before the second stand 40), 25 crosses 80, the rest is tail."""
    assert named([5, 40, 0, 25, 15, 15]) == [TAIL, HEAD, COLD, HEAD, TORSO, TAIL]


def test_shares_that_end_on_the_border():
    assert named([50, 30, 20]) == [HEAD, TORSO, TAIL]


def test_ties_go_by_index():
    assert named([1] * 10) == [HEAD] * 5 + [TORSO] * 3 + [TAIL] * 2


def test_one_item_makes_all_interactions():
    assert named([0, 7, 0]) == [COLD, HEAD, COLD]


def test_no_interactions_at_all():
    assert named([0, 0]) == [COLD, COLD]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30))
def test_order_and_shares(counts):
    found = item_slices(np.array(counts, np.int64))
    order = np.argsort(-np.array(counts), kind="stable")
    assert (np.diff(found[order]) >= 0).all()
    total = sum(counts)
    assert {SLICES[f] == COLD for f, c in zip(found, counts, strict=True) if not c} <= {True}
    if total:
        head = sum(c for f, c in zip(found, counts, strict=True) if SLICES[f] == HEAD)
        both = head + sum(c for f, c in zip(found, counts, strict=True) if SLICES[f] == TORSO)
        assert head >= 0.5 * total
        assert both >= 0.8 * total or both == head
        least = min(c for f, c in zip(found, counts, strict=True) if SLICES[f] == HEAD)
        assert head - least < 0.5 * total
