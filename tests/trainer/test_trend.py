"""How popularity has moved: against ratios that are known."""

import numpy as np
import pytest

from trainer.trend import popularity_trend


def simulated(shape, *, number=3000, recent=9000, seed=0):
    """Occurrences over all time, recent ones, and the ratio that each item's rate has changed by."""
    rng = np.random.default_rng(seed)
    counted = rng.poisson(rng.pareto(1.5, number) * 20 + 1) + 1
    ratio = rng.gamma(shape, 1 / shape, number) if shape else np.ones(number)
    rate = counted * ratio
    return rng.poisson(rate / rate.sum() * recent), counted, ratio


@pytest.mark.parametrize("shape", [0.5, 2.0, 8.0])
def test_ratios_are_told_from_chance(shape):
    """Nearer to the truth than what is counted alone, and than ratios that are taken as they are."""
    recent, counted, ratio = simulated(shape)
    found = popularity_trend(recent, counted)
    plain = recent / (counted * recent.sum() / counted.sum())

    def error(guess):
        return np.mean((guess - ratio) ** 2)

    assert error(found) < 0.8 * min(error(plain), error(np.ones(len(ratio))))


def test_where_nothing_has_changed_nothing_is_seen():
    recent, counted, _ = simulated(0)
    assert np.abs(popularity_trend(recent, counted) - 1.0).max() < 0.1


def test_without_anything_recent_or_counted_there_is_no_trend():
    nothing, some = np.zeros(4, np.int64), np.arange(4)
    for recent, counted in ((nothing, some), (some, nothing), (nothing, nothing)):
        assert popularity_trend(recent, counted).tolist() == [1.0] * 4


def test_an_item_that_is_only_recent_gains():
    found = popularity_trend(np.array([50, 3, 0, 7]), np.array([100, 100, 100, 0]))
    assert found[3] > 1.0
    assert (found > 0.0).all()
