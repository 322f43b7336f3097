"""Answers by dot product of vectors that not every item has, filled up with what is popular."""

import dataclasses
import functools
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from trainer.counted import fill_up, most_popular
from trainer.exact import nearest

_NEVER: Final = np.float32(-1e6)
"""Added to the score of an item without a vector."""


@dataclasses.dataclass(frozen=True)
class DotProductRecommender:
    """Exact retrieval among the items that have a vector.

    Attributes:
      query: float32 [N, d], of triggers.
      candidate: float32 [N, d].
      known: bool [N], items that have vectors; the others are no answers, and get popular ones.
      popularity: float64 [N], how popular each item is.
      fill: whether lists that are too short go on with popular items.
    """

    query: NDArray[np.float32]
    candidate: NDArray[np.float32]
    known: NDArray[np.bool_]
    popularity: NDArray[np.float64]
    fill: bool = True
    has_dial: ClassVar[bool] = False

    @functools.cached_property
    def popular(self) -> NDArray[np.int64]:
        """All items, the most popular first: int64 [N]."""
        return most_popular(self.popularity)

    def following(self, trend: NDArray[np.float64]) -> "DotProductRecommender":
        """With the logarithm of ``trend``, float64 [N], on top of the scores, and their popularity times ``trend``.

        Scores count in standard deviations of all of the query's scores, which vectors of any training share.
        """
        known = self.candidate[self.known].astype(np.float64)
        centred = known - known.mean(axis=0, keepdims=True) if len(known) else known
        covariance = centred.T @ centred / max(1, len(known))
        variance = np.sum((self.query @ covariance) * self.query, axis=1)
        deviation = np.sqrt(np.maximum(variance, 0.0))  # rounding may leave less than nothing
        return dataclasses.replace(
            self,
            query=np.column_stack([self.query, deviation]).astype(np.float32),
            candidate=np.column_stack([self.candidate, np.log(trend)]).astype(np.float32),
            popularity=self.popularity * trend,
        )

    def score_pairs(
        self, left: NDArray[np.int64], right: NDArray[np.int64], relevance_weight: float = 0.0
    ) -> NDArray[np.float32]:
        """The score of triggers and items, float32 [P], from item indexes [P] each.

        Pairs of which an item has no vector have one score, below all others.
        """
        score = np.einsum("pd,pd->p", self.query[left], self.candidate[right])
        return np.where(self.known[left] & self.known[right], score, _NEVER).astype(np.float32)

    def retrieve(self, trigger: NDArray[np.int64], *, k: int, relevance_weight: float = 0.0) -> NDArray[np.int32]:
        """See `trainer.recommender.Recommender`; there is no dial."""
        unique, row = np.unique(trigger, return_inverse=True)
        queries = np.pad(self.query[unique], ((0, 0), (0, 1)), constant_values=1.0)
        unknown = np.where(self.known, np.float32(0.0), _NEVER)
        found = nearest(queries, np.column_stack([self.candidate, unknown]), k=k, exclude=unique)
        real = (found >= 0) & self.known[np.maximum(found, 0)] & self.known[unique][:, np.newaxis]
        found = np.where(real, found, np.int32(-1))
        return (fill_up(found, unique, self.popular) if self.fill else found)[row]
