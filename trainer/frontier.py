"""The frontier of a model with a dial: what recall it gives at what relevance.

Arrays are [R, W]: draws of a bootstrap (or a single row), and settings of the dial in ascending order. Between two
neighbouring settings the frontier is the straight line: answering a share of the requests with one and the rest with
the other reaches each of its points.
"""

import numpy as np
from numpy.typing import NDArray

_Array = NDArray[np.float64]


def area(relevance: _Array, recall: _Array) -> _Array:
    """Area under the frontier as one number: the hypervolume that its settings dominate with respect to the origin.

    That is the area of the union of the rectangles between the origin and each (relevance, recall) point (Zitzler and
    Thiele, "Multiobjective evolutionary algorithms: a comparative case study and the strength Pareto approach", IEEE
    TEC 1999). A model without a dial is one point, and its area one rectangle. Values below 0 count as 0.

    Args:
      relevance: [R, W].
      recall: [R, W].

    Returns:
      [R].

    >>> area(np.array([[0.2, 0.5, 0.4]]), np.array([[0.3, 0.1, 0.1]]))
    array([0.09])
    """
    order = np.argsort(-relevance, axis=1, kind="stable")
    falling = np.maximum(np.take_along_axis(relevance, order, axis=1), 0.0)
    best = np.maximum.accumulate(np.maximum(np.take_along_axis(recall, order, axis=1), 0.0), axis=1)
    width = falling - np.concatenate([falling[:, 1:], np.zeros((len(falling), 1))], axis=1)
    covered: _Array = (width * best).sum(axis=1)
    return covered


def recall_at(relevance: _Array, recall: _Array, wanted: _Array) -> _Array:
    """The best recall of the frontier at no less than a wanted relevance; NaN where no setting is that relevant.

    Args:
      relevance: [R, W].
      recall: [R, W].
      wanted: [R].

    Returns:
      [R].

    >>> recall_at(np.array([[0.2, 0.4]]), np.array([[0.3, 0.1]]), np.array([0.35])).round(4)
    array([0.15])
    """
    wanted = wanted[:, np.newaxis]
    best = np.where(relevance >= wanted, recall, -np.inf).max(axis=1)
    rise = relevance[:, 1:] - relevance[:, :-1]
    crossed = (np.minimum(relevance[:, 1:], relevance[:, :-1]) < wanted) & (
        np.maximum(relevance[:, 1:], relevance[:, :-1]) >= wanted
    )
    share = np.divide(wanted - relevance[:, :-1], rise, out=np.zeros_like(rise), where=crossed)
    between = recall[:, :-1] + share * (recall[:, 1:] - recall[:, :-1])
    best = np.maximum(best, np.where(crossed, between, -np.inf).max(axis=1, initial=-np.inf))
    return np.where(np.isfinite(best), best, np.nan)


def last_keeping(weights: _Array, recall: _Array, wanted: _Array) -> _Array:
    """The largest setting of the dial whose recall is at least the wanted one, between settings by straight line.

    Args:
      weights: [W], settings in ascending order.
      recall: [R, W].
      wanted: [R].

    Returns:
      [R]; NaN where no setting keeps it.

    >>> last_keeping(np.array([0.0, 0.5, 1.0]), np.array([[0.3, 0.2, 0.1]]), np.array([0.25]))
    array([0.25])
    """
    kept = recall >= wanted[:, np.newaxis]
    rows = np.arange(len(recall))
    last = len(weights) - 1 - np.argmax(kept[:, ::-1], axis=1)
    after = np.minimum(last + 1, len(weights) - 1)
    fall = recall[rows, last] - recall[rows, after]
    spare = recall[rows, last] - wanted
    share = np.divide(spare, fall, out=np.zeros_like(fall), where=fall > 0)
    found = weights[last] + share * (weights[after] - weights[last])
    return np.where(kept.any(axis=1), found, np.nan)


def at_setting(weights: _Array, values: _Array, setting: _Array) -> _Array:
    """A metric at a setting of the dial of its own for each draw, between settings by straight line.

    Args:
      weights: [W], settings in ascending order.
      values: [R, W].
      setting: [R], within the weights; NaN gives NaN.

    Returns:
      [R].

    >>> at_setting(np.array([0.0, 1.0]), np.array([[2.0, 4.0], [2.0, 4.0]]), np.array([0.25, np.nan]))
    array([2.5, nan])
    """
    if len(weights) == 1:
        return np.where(np.isnan(setting), np.nan, values[:, 0])
    rows = np.arange(len(values))
    before = np.clip(np.searchsorted(weights, np.nan_to_num(setting), side="right") - 1, 0, len(weights) - 2)
    share = (setting - weights[before]) / (weights[before + 1] - weights[before])
    found: _Array = values[rows, before] + share * (values[rows, before + 1] - values[rows, before])
    return found
