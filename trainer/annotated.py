"""Graded annotations: which are learnt from, and how well a model ranks those that were kept from training."""

import logging

import numpy as np
from numpy.typing import NDArray

from preprocessing.read import Annotations
from trainer import metrics
from trainer.dot_products import DotProductRecommender
from trainer.names import BLEND
from trainer.recommender import Recommender, VectorRecommender

logger = logging.getLogger("mtmh.trainer")


def learnable(annotations: Annotations, num_items: int) -> Annotations:
    """The pairs to learn from: those that are not held out, in either order.

    The relevance head is symmetric: it would learn a held-out pair from the same two items graded the other way round.

    Args:
      annotations: all of them.
      num_items: N.
    """
    low, high = np.minimum(annotations.trigger, annotations.item), np.maximum(annotations.trigger, annotations.item)
    pair = low * num_items + high
    found = annotations.select(~np.isin(pair, pair[annotations.held_out]))
    if len(annotations):
        held_out = int(annotations.held_out.sum())
        logger.info(
            "annotations: %d pairs to learn from, %d held out, %d more left out as held out the other way round",
            len(found),
            held_out,
            len(annotations) - held_out - len(found),
        )
    return found


def ndcg_by_trigger(
    recommender: Recommender, annotations: Annotations | None, relevance_weight: float
) -> NDArray[np.float64]:
    """`metrics.annotation_ndcg` of the held-out annotations by the exact score that answers follow from: [G].

    Args:
      recommender: what is judged.
      annotations: all of them, or None; those that were trained on are left out.
      relevance_weight: the dial.

    Returns:
      Empty where nothing can be told: no annotations are held out, or the answers do not follow from a score.
    """
    by_quota = isinstance(recommender, VectorRecommender) and recommender.merge != BLEND
    if annotations is None or by_quota or not isinstance(recommender, VectorRecommender | DotProductRecommender):
        return np.zeros(0)
    held_out = annotations.select(annotations.held_out)
    score = recommender.score_pairs(held_out.trigger, held_out.item, relevance_weight)
    return metrics.annotation_ndcg(held_out.trigger, held_out.grade, score)


def mean_ndcg(by_trigger: NDArray[np.float64]) -> float | None:
    """The metric from its values by trigger; None without any."""
    return float(by_trigger.mean()) if len(by_trigger) else None


def count_triggers(annotations: Annotations | None) -> int:
    """G, triggers that `ndcg_by_trigger` scores."""
    if annotations is None:
        return 0
    held_out = annotations.select(annotations.held_out)
    return len(metrics.annotation_ndcg(held_out.trigger, held_out.grade, held_out.grade))
