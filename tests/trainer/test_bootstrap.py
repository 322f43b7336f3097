"""Intervals of toys whose resamples can be counted out."""

import doctest
import tracemalloc

import numpy as np
import pytest
import scipy.sparse

from trainer import bootstrap as bootstrap_module
from trainer.bootstrap import Bootstrap, Estimate, estimate, gain_percent
from trainer.statistics import UserSums


def sums(numerator, denominator):
    return UserSums(np.array(numerator, np.float64)[:, None], np.array(denominator, np.float64)[:, None])


def test_docstrings():
    assert doctest.testmod(bootstrap_module).failed == 0


def test_first_draw_is_the_evaluation_itself():
    draws = Bootstrap(3, 50, seed=0).metrics(sums([1, 2, 3], [2, 4, 4]))
    assert draws.shape == (51, 1)
    assert draws[0, 0] == 0.6


def test_two_users_have_three_resamples():
    """Both the first, one of each, both the second: 1/1, 1/4, 0/3 by (hits, pairs)."""
    draws = Bootstrap(2, 4000, seed=1).metrics(sums([1, 0], [1, 3]))[1:, 0]
    values, counts = np.unique(draws, return_counts=True)
    assert values.tolist() == [0.0, 0.25, 1.0]
    assert counts / 4000 == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


def test_interval_is_that_of_the_normal_approximation():
    rng = np.random.default_rng(0)
    hits = rng.random(2000) < 0.3
    found = estimate(Bootstrap(2000, 1000, seed=0).metrics(sums(hits, np.ones(2000)))[:, 0])
    error = 1.96 * np.sqrt(0.3 * 0.7 / 2000)
    assert found.value == pytest.approx(hits.mean(), abs=1e-6)
    assert found.low == pytest.approx(hits.mean() - error, abs=0.2 * error)
    assert found.high == pytest.approx(hits.mean() + error, abs=0.2 * error)


def test_users_are_the_clusters():
    """Ten users whose hundred pairs agree: as uncertain as ten pairs, not as a thousand."""
    few = Bootstrap(10, 2000, seed=0).metrics(sums([100] * 5 + [0] * 5, [100] * 10))[1:, 0]
    assert few.std() == pytest.approx(np.sqrt(0.25 / 10), rel=0.1)


def test_equal_models_differ_by_exactly_nothing():
    rng = np.random.default_rng(2)
    numerator, denominator = rng.random(40), rng.integers(1, 9, 40)
    bootstrap = Bootstrap(40, 300, seed=3)
    one, other = (bootstrap.metrics(sums(numerator, denominator))[:, 0] for _ in range(2))
    assert estimate(one - other) == Estimate(0.0, 0.0, 0.0)
    assert estimate(gain_percent(one, other)) == Estimate(0.0, 0.0, 0.0)


def test_pairing_sees_what_unpaired_intervals_hide():
    """A model that finds one more pair for every user is better in each resample, though users differ widely."""
    rng = np.random.default_rng(4)
    hits = rng.integers(0, 50, 30)
    bootstrap = Bootstrap(30, 500, seed=0)
    base = bootstrap.metrics(sums(hits, [60] * 30))[:, 0]
    better = bootstrap.metrics(sums(hits + 1, [60] * 30))[:, 0]
    assert estimate(base).high > estimate(better).low
    difference = estimate(better - base)
    assert (difference.low, difference.high) == (pytest.approx(1 / 60, abs=1e-6), pytest.approx(1 / 60, abs=1e-6))


def test_seed_decides():
    table = sums([1, 0, 2, 5], [3, 2, 2, 9])
    assert np.array_equal(Bootstrap(4, 20, seed=5).metrics(table), Bootstrap(4, 20, seed=5).metrics(table))
    assert not np.array_equal(Bootstrap(4, 20, seed=5).metrics(table), Bootstrap(4, 20, seed=6).metrics(table))


def test_draws_are_those_of_one_generator():
    """Whatever is held of them at a time: figures of earlier comparisons stay what they were."""
    hits, pairs = np.array([1.0, 0, 2, 5]), np.array([3.0, 2, 2, 9])
    rng = np.random.default_rng([5, 0x626F6F74])
    users = [np.arange(4), *(rng.integers(4, size=4) for _ in range(20))]
    expected = [hits[drawn].sum() / pairs[drawn].sum() for drawn in users]
    assert Bootstrap(4, 20, seed=5).metrics(sums(hits, pairs))[:, 0].tolist() == expected


@pytest.mark.parametrize("weights_held", [1, 4, 9, 84, 1000])
@pytest.mark.parametrize("sums_at_once", [1, 2, 8])
def test_blocks_and_passes_change_nothing(weights_held, sums_at_once, monkeypatch):
    tables = [sums([1, 0, 2, first], [3, 2, 2, 9]) for first in range(5)]
    whole = [Bootstrap(4, 20, seed=5).metrics(table) for table in tables]
    monkeypatch.setattr(bootstrap_module, "_BLOCK_WEIGHTS", weights_held)
    monkeypatch.setattr(bootstrap_module, "_SUMS_AT_ONCE", sums_at_once)
    found = Bootstrap(4, 20, seed=5).along_dial(iter(tables))
    assert found.shape == (5, 21, 1)
    assert np.array_equal(found, whole)


def test_more_resamples_need_no_more_memory():
    """500 resamples of 5,000 clusters take 20 MB, 100 at a time 4 MB."""
    table = sums(np.ones(5000), np.ones(5000))
    tracemalloc.start()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(bootstrap_module, "_BLOCK_WEIGHTS", 500_000)
        bootstrap = Bootstrap(5000, 500, seed=0)
        bootstrap.metrics(table)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6_000_000


def test_resamples_that_cannot_tell_are_left_out():
    """Only the first two of three users have cold pairs."""
    draws = Bootstrap(3, 400, seed=0).metrics(sums([1, 1, 0], [2, 2, 0]))[:, 0]
    assert np.isnan(draws).any()
    assert estimate(draws) == Estimate(0.5, 0.5, 0.5)


def test_one_user_says_nothing_of_how_users_differ():
    """Neither where nobody else was evaluated nor where nobody else has such pairs; the other metrics are as before."""
    alone = Bootstrap(1, 400, seed=0)
    assert estimate(alone.metrics(sums([1], [4]))[:, 0]) == Estimate(0.25, None, None)
    lists = np.array([[1, 2]], np.int32)
    covered = alone.coverage(lists, scipy.sparse.identity(1, format="csr"), 10)
    assert estimate(covered) == Estimate(0.2, None, None)
    table = UserSums(np.array([[1.0, 1, 2], [0, 0, 1]]), np.array([[4.0, 2, 4], [0, 3, 4]]))
    draws = Bootstrap(2, 400, seed=0).along_dial([table, table])
    assert np.array_equal(draws[0], draws[1], equal_nan=True)
    one, *two = (estimate(column) for column in draws[0].T)
    assert one == Estimate(0.25, None, None)
    assert [(found.low < found.value < found.high) for found in two] == [True, True]


def test_what_is_unknown_is_none():
    assert estimate(np.array([np.nan, np.nan])) == Estimate(None, None, None)
    assert estimate(np.array([1.0, np.nan])) == Estimate(1.0, None, None)
    assert estimate(np.array([1.0])) == Estimate(1.0, None, None)


def test_gain_in_percent_over_nothing_is_unknown():
    assert gain_percent(np.array([0.3, 0.3, 0.3]), np.array([0.2, 0.0, -0.1])) == pytest.approx(
        [50.0, np.nan, np.nan], nan_ok=True
    )


@pytest.mark.parametrize("block", [1, 16_000_000])
def test_coverage_of_the_evaluation_and_around_it(block, monkeypatch):
    """Three users with a trigger each; of 10 items their lists show {0, 1}, {1}, {2, 3}."""
    monkeypatch.setattr(bootstrap_module, "_BLOCK_VALUES", block)
    lists = np.array([[0, 1], [1, -1], [2, 3]], np.int32)
    bootstrap = Bootstrap(3, 150, seed=0)
    draws = bootstrap.coverage(lists, scipy.sparse.identity(3, format="csr"), 10)
    shown = [{0, 1}, {1}, {2, 3}]
    plain = []
    for drawn in bootstrap._drawn:
        users = np.flatnonzero(drawn)
        plain.append(len(set().union(*(shown[user] for user in users))) / 10)
    assert draws[0] == plain[0] == 0.4
    assert draws[1:] == pytest.approx(np.array(plain[1:]) + 0.4 - np.mean(plain[1:]))
    assert len(Bootstrap(3, 999, 0).coverage(lists, scipy.sparse.identity(3, format="csr"), 10)) == 201
