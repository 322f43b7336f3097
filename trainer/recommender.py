"""Anything that answers a trigger item with a list of items."""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trainer.evaluate import retrieve_along_dial, retrieve_exact
from trainer.model import ItemVectors


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
    """Exact retrieval with the vectors of one or two heads."""

    vectors: ItemVectors
    has_dial: bool

    def retrieve(self, trigger: NDArray[np.int64], *, k: int, relevance_weight: float) -> NDArray[np.int32]:
        """The K best items by the blend's exact score, see `Recommender`."""
        weight = relevance_weight if self.has_dial else 0.0
        return retrieve_exact(self.vectors, trigger, k=k, relevance_weight=weight)

    def retrieve_along_dial(self, trigger: NDArray[np.int64], *, k: int, weights: Sequence[float]) -> NDArray[np.int32]:
        """`retrieve` at each of W settings of the dial, int32 [W, T, K], for little more than the price of one."""
        settings = weights if self.has_dial else [0.0] * len(weights)
        return retrieve_along_dial(self.vectors, trigger, k=k, weights=settings)


def lists_along_dial(
    recommender: Recommender, trigger: NDArray[np.int64], *, k: int, weights: Sequence[float]
) -> NDArray[np.int32]:
    """Lists of any recommender at each of W settings of the dial, int32 [W, T, K]."""
    if isinstance(recommender, VectorRecommender):
        return recommender.retrieve_along_dial(trigger, k=k, weights=weights)
    return np.stack([recommender.retrieve(trigger, k=k, relevance_weight=weight) for weight in weights])
