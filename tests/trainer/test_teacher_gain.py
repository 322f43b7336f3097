"""How much a teacher knows of engagement."""

import math

import numpy as np
import pytest

from tests.trainer.toys import pair_summary
from trainer.teacher_gain import teacher_gain

GROUPS, SIZE = 16, 8
NUMBER = GROUPS * SIZE
GROUP = np.arange(NUMBER) // SIZE
BY_GROUP = np.eye(GROUPS, dtype=np.float32)[GROUP]
"""A teacher to which items of a group are the same, and of no other."""


def within_groups():
    """Each item leads to all others of its group."""
    return {(a, b): 1 for a in range(NUMBER) for b in range(NUMBER) if a != b and GROUP[a] == GROUP[b]}


def at_random(count, seed=0, popular=0):
    """So many pairs, most targets one of the ``popular`` first items."""
    rng = np.random.default_rng(seed)
    counts = {}
    while len(counts) < count:
        target = rng.integers(popular) if popular and rng.random() < 0.8 else rng.integers(NUMBER)
        counts[int(rng.integers(NUMBER)), int(target)] = 1
    return {pair: 1 for pair in counts if pair[0] != pair[1]}


def gain(content, counts, temperature=0.05, seed=0):
    return teacher_gain(content, pair_summary(len(content), counts), temperature, seed)


def test_a_teacher_who_knows_the_group_saves_the_search_among_the_others():
    others = NUMBER - 1  # an item is no candidate for itself
    assert gain(BY_GROUP, within_groups()) == pytest.approx(math.log(others / (SIZE - 1)), rel=0.02)


def test_a_teacher_who_may_as_well_guess_saves_nothing_however_popular_targets_are():
    assert gain(BY_GROUP, at_random(3000)) < 0.002
    assert gain(BY_GROUP, at_random(3000, popular=5)) < 0.002
    assert gain(BY_GROUP, at_random(40)) < 0.02  # few pairs say little
    contrary = {(a, b): 1 for a in range(NUMBER) for b in range(NUMBER) if GROUP[a] != GROUP[b]}
    assert gain(BY_GROUP, contrary) == pytest.approx(0.0, abs=1e-4)


def test_the_more_engagement_follows_the_teacher_the_more_it_saves():
    within = dict(sorted(within_groups().items())[::2])
    found = [gain(BY_GROUP, at_random(noise) | within) for noise in (4000, 1000, 200)]
    assert 0.01 < found[0] < found[1] < found[2] < math.log(GROUPS)


def test_only_pairs_that_the_teacher_knows_both_sides_of_count():
    assert gain(np.zeros_like(BY_GROUP), within_groups()) == 0.0
    assert gain(BY_GROUP, {}) == 0.0
    half = np.where(GROUP[:, np.newaxis] < GROUPS // 2, BY_GROUP, 0.0).astype(np.float32)
    assert gain(half, within_groups()) == pytest.approx(math.log((NUMBER / 2 - 1) / (SIZE - 1)), rel=0.02)


def test_an_item_that_follows_itself_says_nothing():
    itself = {(item, item): 50 for item in range(NUMBER)}
    assert gain(BY_GROUP, itself) == 0.0
    assert gain(BY_GROUP, within_groups() | itself) == pytest.approx(gain(BY_GROUP, within_groups()), rel=0.05)


def test_the_seed_decides_the_draws():
    counts = at_random(500)
    counts |= dict(sorted(within_groups().items())[::3])
    first, again, other = (gain(BY_GROUP, counts, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first == pytest.approx(other, rel=0.2)
    assert first != other
