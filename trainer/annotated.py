"""How well a model ranks the graded annotations that were kept from training."""

import numpy as np
from numpy.typing import NDArray

from preprocessing.read import Annotations
from trainer import metrics
from trainer.bootstrap import Bootstrap, Estimate, estimate
from trainer.names import BLEND
from trainer.recommender import Recommender, VectorRecommender
from trainer.statistics import UserSums

_MOST_CLUSTERS = 20_000
"""Where there are more triggers, several are drawn together; bounds the memory."""


def ndcg_by_trigger(
    recommender: Recommender, annotations: Annotations | None, relevance_weight: float
) -> NDArray[np.float64]:
    """`metrics.annotation_ndcg` of the held-out annotations by the blend's exact score: [G].

    Args:
      recommender: what is judged.
      annotations: all of them, or None; those that were trained on are left out.
      relevance_weight: the dial.

    Returns:
      Empty where nothing can be told: no annotations are held out, or the answers do not follow from a score.
    """
    if annotations is None or not isinstance(recommender, VectorRecommender) or recommender.merge != BLEND:
        return np.zeros(0)
    held_out = annotations.select(annotations.held_out)
    score = recommender.score_pairs(held_out.trigger, held_out.item, relevance_weight)
    return metrics.annotation_ndcg(held_out.trigger, held_out.grade, score)


def mean_ndcg(by_trigger: NDArray[np.float64]) -> float | None:
    """The metric from its values by trigger; None without any."""
    return float(by_trigger.mean()) if len(by_trigger) else None


def estimate_ndcg(by_trigger: NDArray[np.float64], resamples: int, seed: int) -> Estimate | None:
    """The metric with the interval of a bootstrap over triggers, the same resamples for every model; None without."""
    if not len(by_trigger):
        return None
    clusters = min(len(by_trigger), _MOST_CLUSTERS)
    cluster = np.arange(len(by_trigger)) % clusters
    above = np.bincount(cluster, weights=by_trigger).astype(np.float64)
    sums = UserSums(above[:, np.newaxis], np.bincount(cluster).astype(np.float64)[:, np.newaxis])
    return estimate(Bootstrap(clusters, resamples, seed).metrics(sums)[:, 0])


def count_triggers(annotations: Annotations | None) -> int:
    """G, triggers that `ndcg_by_trigger` scores."""
    if annotations is None:
        return 0
    held_out = annotations.select(annotations.held_out)
    return len(metrics.annotation_ndcg(held_out.trigger, held_out.grade, held_out.grade))
