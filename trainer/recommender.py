"""Anything that answers a trigger item with a list of items."""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trainer.exact import retrieve_along_dial
from trainer.model import ItemVectors
from trainer.names import BLEND, QUOTA
from trainer.quota import retrieve_quota


class Recommender(Protocol):
    """A model as evaluation sees it, trained or counted."""

    @property
    def has_dial(self) -> bool:
        """Whether ``relevance_weight`` moves the answers."""

    def retrieve(self, trigger: NDArray[np.int64], *, k: int, relevance_weight: float) -> NDArray[np.int32]:
        """The K best items for each trigger.

        Args:
          trigger: [T], item indexes.
          k: K.
          relevance_weight: the dial; ignored without one.

        Returns:
          int32 [T, K], item indexes, best first, none twice, the trigger left out; -1 pads.
        """


@dataclasses.dataclass(frozen=True)
class VectorRecommender:
    """Exact retrieval with the vectors of one or two heads.

    Attributes:
      vectors: of all items.
      has_dial: whether there are two heads.
      merge: how they answer at a weight: `trainer.names.BLEND`, the K best by the blend's exact score, or
        `trainer.names.QUOTA`, see `trainer.quota`.
    """

    vectors: ItemVectors
    has_dial: bool
    merge: str = BLEND

    def retrieve(self, trigger: NDArray[np.int64], *, k: int, relevance_weight: float) -> NDArray[np.int32]:
        """The K best items, see `Recommender`."""
        found: NDArray[np.int32] = self.retrieve_along_dial(trigger, k=k, weights=[relevance_weight])[0]
        return found

    def retrieve_along_dial(self, trigger: NDArray[np.int64], *, k: int, weights: Sequence[float]) -> NDArray[np.int32]:
        """`retrieve` at each of W settings of the dial, int32 [W, T, K], for little more than the price of one."""
        settings = weights if self.has_dial else [0.0] * len(weights)
        along_dial = retrieve_quota if self.merge == QUOTA else retrieve_along_dial
        return along_dial(self.vectors, trigger, k=k, weights=settings)

    def score_pairs(
        self, left: NDArray[np.int64], right: NDArray[np.int64], relevance_weight: float
    ) -> NDArray[np.float32]:
        """The blend's exact score of triggers and items, float32 [P], from item indexes [P] each."""
        weight = relevance_weight if self.has_dial else 0.0
        vectors = self.vectors
        engagement = np.einsum("pd,pd->p", vectors.engagement_trigger[left], vectors.engagement_candidate[right])
        relevance = np.einsum("pd,pd->p", vectors.relevance[left], vectors.relevance[right])
        return np.asarray((1.0 - weight) * engagement + weight * relevance, np.float32)


def lists_along_dial(
    recommender: Recommender, trigger: NDArray[np.int64], *, k: int, weights: Sequence[float]
) -> NDArray[np.int32]:
    """Lists of any recommender at each of W settings of the dial, int32 [W, T, K]."""
    if isinstance(recommender, VectorRecommender):
        return recommender.retrieve_along_dial(trigger, k=k, weights=weights)
    return np.stack([recommender.retrieve(trigger, k=k, relevance_weight=weight) for weight in weights])
