"""Answers from a sparse table of scores, filled up with what is popular."""

import dataclasses
import functools
from typing import ClassVar, Final

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from preprocessing.backend import tf

_BLOCK_SCORES: Final = 8_000_000
"""Scores held at a time, 32 MB."""


@dataclasses.dataclass(frozen=True)
class CountedRecommender:
    """The best scored items of each trigger; of equal score the one with the smaller index comes first.

    Attributes:
      scores: float32 [N, N], row i for trigger i; an entry that is missing or not positive is no answer.
      popularity: float64 [N], how popular each item is.
      fill: whether lists that are too short go on with popular items.
    """

    scores: scipy.sparse.csr_matrix
    popularity: NDArray[np.float64]
    fill: bool = True
    has_dial: ClassVar[bool] = False

    @functools.cached_property
    def popular(self) -> NDArray[np.int64]:
        """All items, the most popular first: int64 [N]."""
        return most_popular(self.popularity)

    def following(self, trend: NDArray[np.float64]) -> "CountedRecommender":
        """With the scores of answers times ``trend``, float64 [N], and their popularity."""
        scores = (self.scores @ scipy.sparse.diags(trend)).astype(np.float32).tocsr()
        return dataclasses.replace(self, scores=scores, popularity=self.popularity * trend)

    def retrieve(self, trigger: NDArray[np.int64], *, k: int, relevance_weight: float = 0.0) -> NDArray[np.int32]:
        """See `trainer.recommender.Recommender`; there is no dial."""
        unique, row = np.unique(trigger, return_inverse=True)
        found = best_scored(self.scores, unique, k)
        return (fill_up(found, unique, self.popular) if self.fill else found)[row]


def most_popular(popularity: NDArray[np.float64]) -> NDArray[np.int64]:
    """All items, the most popular first; of equal popularity the smaller index."""
    return np.argsort(-popularity, kind="stable")


def best_scored(scores: scipy.sparse.csr_matrix, rows: NDArray[np.int64], k: int) -> NDArray[np.int32]:
    """Columns of the K largest positive scores of each row, other than the row's own number.

    Args:
      scores: float32 [N, N], canonical (columns ascend, none twice).
      rows: [T].
      k: K.

    Returns:
      int32 [T, K], best first, of equal scores the smaller column; -1 pads.
    """
    found = np.full((len(rows), k), -1, np.int32)
    lengths = np.diff(scores.indptr)[rows]
    order = np.argsort(-lengths, kind="stable")  # rows of like length together, so that little is padded
    start = 0
    while start < len(order) and lengths[order[start]]:
        width = int(lengths[order[start]])
        part = order[start : start + max(1, _BLOCK_SCORES // width)]
        start += len(part)
        real = np.arange(width) < lengths[part][:, np.newaxis]
        place = np.where(real, scores.indptr[rows[part]][:, np.newaxis] + np.arange(width), 0)
        column = scores.indices[place]
        answers = real & (column != rows[part][:, np.newaxis])
        value = np.where(answers, scores.data[place], 0.0).astype(np.float32)
        take = min(k, width)
        # Of equal values, top_k takes the first.
        best, at = (tensor.numpy() for tensor in tf.math.top_k(value, k=take))
        found[part, :take] = np.where(best > 0.0, np.take_along_axis(column, at, axis=1), -1)
    return found


def fill_up(found: NDArray[np.int32], trigger: NDArray[np.int64], popular: NDArray[np.int64]) -> NDArray[np.int32]:
    """Puts popular items in place of the pads, never the trigger and none twice.

    Args:
      found: int32 [T, K], -1 pads at the end.
      trigger: [T].
      popular: [N], all items, the most popular first.
    """
    found = found.copy()
    k = found.shape[1]
    # K - 1 items found and the trigger can be among the first ones, so 2 K always leave enough.
    offered = popular[: 2 * k]
    rank = np.full(len(popular) + 1, len(offered), np.int64)  # of items that are not offered, and of pads
    rank[offered] = np.arange(len(offered))
    short = np.flatnonzero((found < 0).any(axis=1))
    block = max(1, _BLOCK_SCORES // max(1, len(offered)))
    for start in range(0, len(short), block):
        rows = short[start : start + block]
        free = np.ones((len(rows), len(offered) + 1), np.bool_)
        np.put_along_axis(free, rank[found[rows]], False, axis=1)
        np.put_along_axis(free, rank[trigger[rows]][:, np.newaxis], False, axis=1)
        free[:, -1] = False
        missing = (found[rows] < 0).sum(axis=1)
        free &= np.cumsum(free, axis=1) <= missing[:, np.newaxis]
        line, column = np.nonzero(free)
        place = (k - missing)[line] + np.cumsum(free, axis=1)[line, column] - 1
        found[rows[line], place] = offered[column]
    return found
