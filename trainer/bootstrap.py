"""Paired bootstrap over users: how far metrics, and differences of models, depend on who happened to be evaluated.

Users are drawn with replacement, all their occasions together: a user's occasions resemble each other (Efron and
Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 and 13; clusters as in Sakai, SIGIR 2006). All models
are scored on the same draws, so a difference of two models varies only as far as users tell them apart. Every array of
*draws* has the evaluation itself at position 0 and the resamples after it: whatever is computed from it is computed
for the evaluation and for each resample alike.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from trainer.statistics import UserSums, ratios

_CONFIDENCE: Final = 0.95
_MOST_COVERAGE_RESAMPLES: Final = 200
"""Coverage is no ratio of sums: each of its resamples costs a pass over all lists."""
_BLOCK_VALUES: Final = 16_000_000
_BLOCK_WEIGHTS: Final = 2_000_000
"""How often a resample has a cluster, for so many of both at a time: 16 MB."""
_SUMS_AT_ONCE: Final = 8
"""Sets of sums that one pass over the resamples serves; of 20,000 clusters they take 56 MB."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % percentile interval; all None where the data can not tell.

    The bounds alone are None where it rests on one user, who says nothing of how far users differ.
    """

    value: float | None
    low: float | None
    high: float | None


class Bootstrap:
    """One set of resamples of users, shared by all that is to be compared.

    They are drawn anew, and come out the same, for each pass over them: in memory is a block of them at a time.

    Attributes:
      clusters: U.
    """

    def __init__(self, clusters: int, resamples: int, seed: int) -> None:
        """Args are U, R, of which each draws U ``clusters`` with replacement, and the seed; of one cluster R is 0."""
        self.clusters, self._resamples, self._seed = clusters, resamples if clusters > 1 else 0, seed

    def metrics(self, sums: UserSums) -> NDArray[np.float64]:
        """Draws of each metric, [1 + R, M], from sums [U, M].

        NaN where a draw counts nothing, and in all resamples of what a single cluster counts for.
        """
        draws: NDArray[np.float64] = self.along_dial([sums])[0]
        return draws

    def along_dial(self, sums: Iterable[UserSums]) -> NDArray[np.float64]:
        """`metrics` of W sets of sums, 1 or more: [W, 1 + R, M]."""
        remaining, draws = iter(sums), []
        while some := list(itertools.islice(remaining, _SUMS_AT_ONCE)):
            shape = (len(some), 1 + self._resamples, some[0].numerator.shape[1])
            above, below = np.empty(shape), np.empty(shape)
            for rows, weights in self._blocks(self._resamples):
                for place, each in enumerate(some):
                    np.matmul(weights, each.numerator, out=above[place, rows])
                    np.matmul(weights, each.denominator, out=below[place, rows])
            for place, each in enumerate(some):
                below[place, 1:][:, np.count_nonzero(each.denominator, axis=0) < 2] = 0.0
            draws.append(ratios(above, below))
        return np.concatenate(draws)

    def _blocks(self, resamples: int) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Places among the draws, and how often each of them has each cluster: float64 [b, U], good until the next."""
        rng = np.random.default_rng([self._seed, 0x626F6F74])
        weights = np.ones((min(1 + resamples, max(1, _BLOCK_WEIGHTS // self.clusters)), self.clusters))
        for start in range(0, 1 + resamples, len(weights)):
            block = weights[: 1 + resamples - start]
            for row in range(0 if start else 1, len(block)):
                block[row] = np.bincount(rng.integers(self.clusters, size=self.clusters), minlength=self.clusters)
            yield slice(start, start + len(block)), block

    @functools.cached_property
    def _drawn(self) -> NDArray[np.bool_]:
        """Which clusters the evaluation and the first resamples have, [1 + at most 200, U]."""
        few = min(self._resamples, _MOST_COVERAGE_RESAMPLES)
        return np.concatenate([weights > 0 for _, weights in self._blocks(few)])

    def coverage(
        self, retrieved: NDArray[np.int32], times: scipy.sparse.csr_matrix, num_items: int
    ) -> NDArray[np.float64]:
        """Draws of the share of the catalogue that is in any list, [1 + at most 200].

        A resample holds fewer distinct users than the evaluation, and so covers less. Its values are moved by the
        difference of their mean to the evaluation's value; their spread is what the bootstrap tells.

        Args:
          retrieved: [T, K], a list for each distinct trigger; negative pads.
          times: [U, T], how often each cluster asks for each trigger.
          num_items: N.
        """
        real = retrieved >= 0
        splits = np.concatenate([[0], np.cumsum(real.sum(axis=1))])
        shape = (len(retrieved), num_items)
        shown_by = scipy.sparse.csr_matrix((np.ones(splits[-1], np.float32), retrieved[real], splits), shape=shape).T
        shown_by = shown_by.tocsr()
        asked = np.asarray(times.T @ self._drawn.T > 0, dtype=np.float32)
        draws = np.empty(len(self._drawn))
        block = max(1, _BLOCK_VALUES // num_items)
        for start in range(0, len(draws), block):
            part = slice(start, start + block)
            draws[part] = np.count_nonzero(shown_by @ asked[:, part], axis=0) / num_items
        if len(draws) > 1:
            draws[1:] += draws[0] - draws[1:].mean()
        return np.clip(draws, 0.0, 1.0)


def estimate(draws: NDArray[np.float64]) -> Estimate:
    """The evaluation's value and the percentile interval of the resamples, from draws [1 + R].

    Resamples that can not tell are left out. None for what is not finite.
    """
    value, resampled = float(draws[0]), draws[1:][np.isfinite(draws[1:])]
    if not np.isfinite(value):
        return Estimate(None, None, None)
    if not len(resampled):
        return Estimate(value, None, None)
    tail = (1.0 - _CONFIDENCE) / 2.0
    low, high = np.quantile(resampled, [tail, 1.0 - tail])
    return Estimate(value, float(low), float(high))


def gain_percent(draws: NDArray[np.float64], over: NDArray[np.float64]) -> NDArray[np.float64]:
    """By how many percent one metric is above another, draw by draw; NaN where the other is not above 0.

    >>> gain_percent(np.array([3.0, 1.0]), np.array([2.0, 0.0]))
    array([50., nan])
    """
    ratio = np.divide(draws, over, out=np.full(np.shape(draws), np.nan), where=over > 0)
    return 100.0 * (ratio - 1.0)
