"""What the first stage of a training finds on the validation slice."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from trainer import frontier, metrics
from trainer.evaluate import Scores


@dataclasses.dataclass(frozen=True)
class Choice:
    """How long to train, and what the dial brings then.

    Attributes:
      epochs: after so many the criterion was best.
      scores: of the weights of that epoch, at each setting of the dial in ascending order.
      quota_scores: likewise, where two heads answer by quota: the same setting means something else there.
    """

    epochs: int
    scores: tuple[Scores, ...]
    quota_scores: tuple[Scores, ...] = ()

    @property
    def frontier_area(self) -> float | None:
        """Area under the frontier of recall and relevance; None where the teacher knows nothing of the triggers."""
        return frontier_area(self.scores)


def frontier_area(scores: Sequence[Scores]) -> float | None:
    """`trainer.frontier.area` of one model's scores along the dial; None without recall or relevance."""
    points = [(point.values[metrics.RELEVANCE], point.values[metrics.RECALL]) for point in scores]
    if any(value is None for point in points for value in point):
        return None
    relevance, recall = np.array(points, dtype=np.float64).T
    return float(frontier.area(relevance[np.newaxis], recall[np.newaxis])[0])
