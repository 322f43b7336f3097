"""Co-occurrence: what is engaged with shortly after, or before, the trigger."""

from typing import Any, ClassVar, Final

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from trainer.counted import CountedRecommender
from trainer.histories import Histories

_MOST_PAIRS: Final = 60_000_000
"""Pairs counted; windows are narrower where there would be more."""
_BLOCK_PAIRS: Final = 8_000_000


class Cooccurrence:
    """``score(i, j) = C_ij + alpha C_ji``: how often j comes in the window after i, and, for less, before it.

    What counts is not bound to the window that a model is trained with: on long histories a wider one, up to that of a
    whole basket, recalls more.
    """

    grid: ClassVar[tuple[dict[str, Any], ...]] = tuple(
        {"window": window, "alpha": alpha} for window in (5, 10, 20, 40) for alpha in (0.3, 1.0)
    )
    default: ClassVar[dict[str, Any]] = {"window": 10, "alpha": 1.0}

    def __init__(self, histories: Histories, num_items: int) -> None:
        """Takes what to count: histories, N."""
        self._counts = _Counts(histories, num_items)
        self._popularity = histories.popularity(num_items)

    def fit(self, *, window: int, alpha: float) -> CountedRecommender:
        """Scores with a window in rows and α."""
        counts = self._counts.of(window, 1.0)
        return CountedRecommender((counts + np.float32(alpha) * counts.T).tocsr(), self._popularity)

    def narrowed(self, *, window: int, alpha: float) -> dict[str, int]:
        """The ``window`` that is counted in place of a setting's; empty where it is the setting's own."""
        return self._counts.narrowed(window)


class DampedCooccurrence:
    """``score(i, j) = (C_ij + C_ji) / popularity_j ** beta``, where a distance of d rows counts exp(-(d - 1) / reach).

    Pairs that age do so here too: a row counts what the preprocessing weighs it.
    """

    grid: ClassVar[tuple[dict[str, Any], ...]] = tuple(
        {"reach": reach, "beta": beta} for reach in (10, 30) for beta in (0.05, 0.1, 0.2, 0.4)
    )
    default: ClassVar[dict[str, Any]] = {"reach": 10, "beta": 0.1}

    def __init__(self, histories: Histories, num_items: int) -> None:
        """Takes what to count: histories, N."""
        self._counts = _Counts(histories, num_items)
        self._popularity = histories.popularity(num_items)

    def fit(self, *, reach: int, beta: float) -> CountedRecommender:
        """Scores with a reach in rows and β."""
        counts = self._counts.of(2 * reach, float(np.exp(-1.0 / reach)))
        return CountedRecommender(damped(counts + counts.T, self._popularity, beta), self._popularity)

    def narrowed(self, *, reach: int, beta: float) -> dict[str, int]:
        """The ``window`` that is counted in place of twice a setting's reach; empty where it is that."""
        return self._counts.narrowed(2 * reach)


def damped(counts: scipy.sparse.csr_matrix, popularity: NDArray[np.float64], beta: float) -> scipy.sparse.csr_matrix:
    """``counts_ij / popularity_j ** beta``, float32 [N, N]."""
    factor = np.maximum(popularity, np.finfo(np.float32).tiny) ** -beta
    return (counts @ scipy.sparse.diags(factor)).astype(np.float32).tocsr()


def counted_window(histories: Histories, window: int) -> int:
    """A window in rows, or as much of it as makes no more than `_MOST_PAIRS`; at least 1."""
    return max(1, min(window, _MOST_PAIRS // max(1, len(histories))))


def window_counts(histories: Histories, num_items: int, window: int, decay: float = 1.0) -> scipy.sparse.csr_matrix:
    """C_ij, float32 [N, N]: how often item j comes at most ``window`` rows after item i in a sequence.

    Args:
      histories: a pair counts the weight of its earlier row.
      num_items: N.
      window: rows; `counted_window` of them count.
      decay: a pair at a distance of d rows counts ``decay ** (d - 1)``.
    """
    total = scipy.sparse.csr_matrix((num_items, num_items), dtype=np.float32)
    window = counted_window(histories, window)
    step = max(1, _BLOCK_PAIRS // max(1, len(histories)))
    item, sequence, weight = histories.item.astype(np.int32), histories.sequence, histories.weight
    for first in range(1, window + 1, step):
        earlier: list[NDArray[np.int32]] = []
        later: list[NDArray[np.int32]] = []
        counted: list[NDArray[np.float32]] = []
        for distance in range(first, min(first + step, window + 1)):
            row = np.flatnonzero(sequence[:-distance] == sequence[distance:])
            earlier.append(item[row])
            later.append(item[row + distance])
            counted.append(weight[row] * np.float32(decay ** (distance - 1)))
        columns = (np.concatenate(counted), (np.concatenate(earlier), np.concatenate(later)))
        total = total + scipy.sparse.csr_matrix(columns, shape=total.shape)
    return total


class _Counts:
    """`window_counts`, of which the last is kept: settings of a grid share it."""

    def __init__(self, histories: Histories, num_items: int) -> None:
        self._histories, self._num_items = histories, num_items
        self._key: tuple[int, float] | None = None
        self._counts = scipy.sparse.csr_matrix((num_items, num_items), dtype=np.float32)

    def narrowed(self, window: int) -> dict[str, int]:
        counted = counted_window(self._histories, window)
        return {"window": counted} if counted < window else {}

    def of(self, window: int, decay: float) -> scipy.sparse.csr_matrix:
        window = counted_window(self._histories, window)  # of a large log all windows may be one
        if self._key != (window, decay):
            self._counts = window_counts(self._histories, self._num_items, window, decay)
            self._key = (window, decay)
        return self._counts
