"""Popularity: the same answer to every trigger."""

from typing import Any, ClassVar

import numpy as np
import scipy.sparse

from trainer.counted import CountedRecommender
from trainer.histories import Histories


class Popularity:
    """What most rows, or most users, engage with."""

    grid: ClassVar[tuple[dict[str, Any], ...]] = ({"count": "rows"}, {"count": "users"})
    default: ClassVar[dict[str, Any]] = {"count": "rows"}

    def __init__(self, histories: Histories, num_items: int) -> None:
        """Takes what to count: histories, N."""
        self._histories, self._num_items = histories, num_items

    def fit(self, *, count: str) -> CountedRecommender:
        """Counts an item's ``rows``, or its ``users``."""
        if count == "rows":
            popularity = self._histories.popularity(self._num_items)
        else:
            popularity = np.asarray(self._histories.engagements(self._num_items).sum(axis=0), np.float64).ravel()
        nothing = scipy.sparse.csr_matrix((self._num_items, self._num_items), dtype=np.float32)
        return CountedRecommender(nothing, popularity)
