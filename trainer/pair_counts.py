"""How often each trigger leads to each target, counted in bounded memory."""

import bisect
import dataclasses
import logging
from typing import Final

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger("mtmh.trainer")

MOST_COUNTED_PAIRS: Final = 100_000_000
"""Distinct pairs that are counted exactly: 36 bytes each, or 57 where most come again and again, and 16 in the end."""
_MERGED_PAIRS = 4_000_000
"""Pairs counted at a time."""


@dataclasses.dataclass
class Counts:
    """Distinct pairs and how often they occur.

    Attributes:
      key: int64 [n], ascending: N times the trigger, and the target.
      count: int32 [n], occurrences.
      weight: float64 [n], what those of the training period weigh together.
      late: int32 [n], those of later periods, whose weight is `trainer.data.PairSummary.late_weight`.
    """

    key: NDArray[np.int64]
    count: NDArray[np.int32]
    weight: NDArray[np.float64]
    late: NDArray[np.int32]

    def __len__(self) -> int:
        """Number of pairs n."""
        return len(self.key)

    def add(self, other: "Counts") -> None:
        """Adds no more pairs than these, and uses them up: of the large columns one at a time is held twice."""
        place = np.searchsorted(self.key, other.key)
        known = self.key[np.minimum(place, len(self) - 1)] == other.key
        shared, new = place[known], ~known
        self.count[shared] += other.count[known]
        self.weight[shared] += other.weight[known]
        self.late[shared] += other.late[known]
        own = np.ones(len(self) + int(new.sum()), np.bool_)
        own[place[new] + np.arange(new.sum())] = False
        del place, shared, known
        for name in [field.name for field in dataclasses.fields(self)]:
            column = np.empty(len(own), getattr(self, name).dtype)
            column[own] = getattr(self, name)
            setattr(self, name, column)
            column[~own] = getattr(other, name)[new]
            setattr(other, name, np.empty(0, column.dtype))

    def keep_most_frequent(self, most: int, row_splits: NDArray[np.int64]) -> None:
        """Leaves of each trigger ``most`` pairs, the most frequent ones, of equal ones those of smaller targets."""
        kept = np.ones(len(self), np.bool_)
        for trigger in np.flatnonzero(np.diff(row_splits) > most):
            row = slice(row_splits[trigger], row_splits[trigger + 1])
            kept[row][np.argsort(-self.count[row], kind="stable")[most:]] = False
        if not kept.all():
            self.key, self.count = self.key[kept], self.count[kept]
            self.weight, self.late = self.weight[kept], self.late[kept]


def _count(key: NDArray[np.int64], weight: NDArray[np.float32], *, late: bool) -> Counts:
    """Counts pairs of one period."""
    key, pair = np.unique(key, return_inverse=True)
    count = np.bincount(pair, minlength=len(key)).astype(np.int32)
    if late:
        return Counts(key, count, np.zeros(len(key)), count.copy())
    weights = np.bincount(pair, weights=weight, minlength=len(key)).astype(np.float64)
    return Counts(key, count, weights, np.zeros_like(count))


class PairCounter:
    """Counts any number of pairs in bounded memory.

    Tables of like size are merged, so that none is merged again for every small one.

    Attributes:
      exact: see `trainer.data.PairSummary`.
    """

    def __init__(self, num_items: int, most_known: int) -> None:
        """Args are N, and how many pairs of one trigger to leave in the end."""
        self._num_items, self._most_known = num_items, most_known
        self._tables: list[Counts] = []
        self._keys: list[NDArray[np.int64]] = []
        self._weights: list[NDArray[np.float32]] = []
        self._size, self._late = 0, False
        self.exact = True

    def add(self, key: NDArray[np.int64], weight: NDArray[np.float32], *, late: bool) -> None:
        """Takes pairs by their keys, see `Counts`, with their weights."""
        if late != self._late or self._size >= _MERGED_PAIRS:
            self._count()
            self._merge()
        self._late = late
        self._keys.append(key)
        self._weights.append(weight)
        self._size += len(key)

    def finish(self) -> Counts:
        """What was counted; no more can be added."""
        self._count()
        self._merge(whole=True)
        counts = self._tables.pop()
        counts.keep_most_frequent(self._most_known, row_splits_of(counts.key, self._num_items))
        return counts

    def _count(self) -> None:
        """Makes a table of the pairs that are in none."""
        key = np.concatenate([np.zeros(0, np.int64), *self._keys])
        weight = np.concatenate([np.zeros(0, np.float32), *self._weights])
        self._keys, self._weights, self._size = [], [], 0
        self._tables.append(_count(key, weight, late=self._late))

    def _merge(self, *, whole: bool = False) -> None:
        """Merges the last tables as far as they are of like size, or all of them."""
        self._thin_out()
        while len(self._tables) > 1 and (whole or len(self._tables[-2]) <= 2 * len(self._tables[-1])):
            fewer, counts = sorted((self._tables.pop(), self._tables.pop()), key=len)
            counts.add(fewer)
            self._tables.append(counts)
            self._thin_out()

    def _thin_out(self) -> None:
        """Leaves half of a last table that is too large, so that the next pairs find room: the most frequent."""
        counts = self._tables[-1]
        if len(counts) <= MOST_COUNTED_PAIRS:
            return
        if self.exact:
            logger.info("more than %d distinct pairs: of those that are rare some are not counted", MOST_COUNTED_PAIRS)
        self.exact = False
        row_splits = row_splits_of(counts.key, self._num_items)
        numbers = np.diff(row_splits)

        def left(most: int) -> int:
            return int(np.minimum(numbers, most).sum())

        fitting = bisect.bisect_right(range(1, self._most_known + 1), MOST_COUNTED_PAIRS // 2, key=left)
        counts.keep_most_frequent(max(1, fitting), row_splits)


def row_splits_of(key: NDArray[np.int64], num_items: int) -> NDArray[np.int64]:
    """Where the pairs of each trigger begin and end among ascending keys, [N + 1], see `Counts`."""
    return np.searchsorted(key, np.arange(num_items + 1) * num_items).astype(np.int64)
