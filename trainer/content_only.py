"""Content only: what the teacher finds nearest."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from trainer.dot_products import DotProductRecommender
from trainer.histories import Histories


class ContentOnly:
    """The nearest items by teacher cosine; nothing is counted but what is popular, and nothing is chosen."""

    grid: ClassVar[tuple[dict[str, Any], ...]] = ({},)
    default: ClassVar[dict[str, Any]] = {}

    def __init__(self, histories: Histories, content: NDArray[np.float32]) -> None:
        """Takes the teacher's vectors [N, D], and histories for what is popular where it has none."""
        self._content, self._popularity = content, histories.popularity(len(content))

    def fit(self) -> DotProductRecommender:
        """What answers."""
        known = self._content.any(axis=1)
        return DotProductRecommender(self._content, self._content, known, self._popularity)
