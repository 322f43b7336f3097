"""The K best of many scores, kept while the scores pass by in tiles that fit the processor's cache.

Scores of all items are never in memory at once: a tile is compared with the K-th best so far of each row, and only the
few that are above it are looked at again. What it costs beyond the products of matrices is one comparison a score.
"""

import concurrent.futures
import os
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

ROWS: Final = 256
"""Rows of a tile."""
_COLUMNS: Final = 4096
_FIRST_COLUMNS: Final = 512
_SIGN: Final = np.int32(0x7FFFFFFF)


class Best:
    """The K best columns of each row, by descending score and then by ascending column."""

    def __init__(self, rows: int, k: int) -> None:
        """Args are the number of rows and K."""
        self._k = k
        self._rows = rows
        # A key orders by score, then by column; keys of a row are distinct. The least of all stands for nothing yet.
        self._keys: NDArray[np.int64] = np.full((rows, k), np.iinfo(np.int64).min)
        self._least = np.full((rows, 1), -np.inf, np.float32)

    def offer(self, scores: NDArray[np.float32], first: int) -> None:
        """Takes scores float32 [rows, n] of the columns from ``first`` on; columns come in ascending order."""
        cells = np.flatnonzero(scores > self._least)
        if not len(cells):
            return
        row, column = np.divmod(cells, scores.shape[1])
        # Adding zero makes one of the two zeros.
        bits = (scores.reshape(-1)[cells] + np.float32(0.0)).view(np.int32)
        ordered = (bits ^ ((bits >> 31) & _SIGN)).astype(np.int64)
        numbers = np.bincount(row, minlength=self._rows)
        ends = np.cumsum(numbers)
        keys = np.full((self._rows, self._k + int(numbers.max())), np.iinfo(np.int64).min)
        keys[:, : self._k] = self._keys
        keys[row, self._k + np.arange(len(row)) - np.repeat(ends - numbers, numbers)] = (ordered << 32) | (
            0xFFFFFFFF - (first + column)
        )
        self._keys = np.partition(keys, -self._k, axis=1)[:, -self._k :]
        self._least = _scores(self._keys.min(axis=1))[:, np.newaxis]

    def columns(self) -> NDArray[np.int32]:
        """The best columns, int32 [rows, K], the best first; -1 where there are no more."""
        keys = np.sort(self._keys, axis=1)[:, ::-1]
        columns = 0xFFFFFFFF - (keys & 0xFFFFFFFF)
        return np.where(keys == np.iinfo(np.int64).min, -1, columns).astype(np.int32)


def _scores(keys: NDArray[np.int64]) -> NDArray[np.float32]:
    bits = (keys >> 32).astype(np.int32)
    scores: NDArray[np.float32] = (bits ^ ((bits >> 31) & _SIGN)).view(np.float32)
    return np.where(keys == np.iinfo(np.int64).min, np.float32(-np.inf), scores)


def column_tiles(columns: int, k: int) -> Iterator[slice]:
    """Ranges that the columns are walked through in: small ones first, so that the K-th best is soon a good one."""
    begin, size = 0, max(_FIRST_COLUMNS, 2 * k)
    while begin < columns:
        yield slice(begin, min(begin + size, columns))
        begin += size
        size = max(size, min(2 * size, _COLUMNS))


def in_parallel(work: Callable[[slice], None], rows: int) -> None:
    """Does ``work`` for blocks of `ROWS` rows, a thread a processor, each with its own products of matrices."""
    parts = [slice(start, min(start + ROWS, rows)) for start in range(0, rows, ROWS)]
    with threadpool_limits(1, user_api="blas"), concurrent.futures.ThreadPoolExecutor(_threads()) as pool:
        for done in [pool.submit(work, part) for part in parts]:
            done.result()


def _threads() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
