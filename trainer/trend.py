"""How popularity has moved: what an item is engaged with lately, over what all its history says.

Pairs of all times say what goes with what; what is in season, new, or no longer on offer, the last rows say better. Few
of them name a single item, so that their ratio is shrunk, the more the less ratios differ among items (Gamma-Poisson,
as DuMouchel, "Bayesian Data Mining in Large Frequency Tables", The American Statistician 53(3), 1999, shrinks ratios of
observed to expected counts).
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import gammaln

_SHAPES: Final = (0.05, 10_000.0)
"""Bounds of the prior's shape: from ratios of any size to ratios that are all 1."""


def popularity_trend(recent: NDArray[np.int64], counted: NDArray[np.int64]) -> NDArray[np.float64]:
    """Each item's share of the recent rows over its share of what is counted, as far as that is not chance.

    With E_i, what an item would have of the recent rows if nothing had changed, and R_i, what it has::

        R_i ~ Poisson(E_i r_i),   r_i ~ Gamma(shape a, mean 1),   trend_i = (R_i + a) / (E_i + a)

    where a maximises the likelihood of all R_i.

    Args:
      recent: int64 [N], R.
      counted: int64 [N], rows over all the time that is learnt from.

    Returns:
      float64 [N], positive; 1 for all where there is nothing recent, or nothing to compare it with.

    >>> popularity_trend(np.array([90, 1, 10]), np.array([100, 100, 100])).round(1).tolist()
    [2.6, 0.1, 0.3]
    >>> popularity_trend(np.array([10, 11, 9]), np.array([100, 100, 100])).round(2).tolist()
    [1.0, 1.0, 1.0]
    """
    expected = counted * (recent.sum() / max(1, counted.sum()))
    told = expected > 0.0
    if not told.any():
        return np.ones(len(recent))
    shape = _prior_shape(recent[told].astype(np.float64), expected[told])
    return np.asarray((recent + shape) / (expected + shape), np.float64)


def _prior_shape(recent: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    """a, by maximum likelihood."""

    def surprise(log_shape: Any) -> float:
        shape = np.exp(log_shape)
        likelihood = (
            gammaln(shape + recent)
            - gammaln(shape)
            + shape * np.log(shape / (shape + expected))
            + recent * np.log(expected / (shape + expected))
        )
        return -float(likelihood.sum())

    return float(np.exp(minimize_scalar(surprise, bounds=np.log(_SHAPES), method="bounded").x))
