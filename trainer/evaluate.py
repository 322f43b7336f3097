"""Exact, blocked evaluation of item vectors against the triggers of the evaluation period."""

import dataclasses
from collections.abc import Sequence
from typing import Final

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from preprocessing.backend import tf
from preprocessing.errors import UserError
from preprocessing.read import EvalTriggers, ItemTable
from trainer import metrics
from trainer.config import EvaluateConfig
from trainer.model import ItemVectors

DIAL: Final = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0)
"""Settings of ``relevance_weight`` that the frontier is drawn through."""

_BLOCK_SCORES = 32_000_000
"""Scores held at a time, 128 MB."""


@dataclasses.dataclass(frozen=True)
class Judge:
    """What answers are judged by: the eval triggers and what is known of the items.

    Attributes:
      triggers: occasions and their targets.
      content: float32 [N, D], the teacher's vectors.
      categories: [N, C] sparse, 1 where the item is in the category.
      interaction_count: int64 [N], of the training period.
      topic_match_independent: False where the model or the teacher sees the categories that judge it.
    """

    triggers: EvalTriggers
    content: NDArray[np.float32]
    categories: scipy.sparse.csr_matrix
    interaction_count: NDArray[np.int64]
    topic_match_independent: bool


@dataclasses.dataclass(frozen=True)
class Scores:
    """Metrics of one model at one setting of the dial; see `trainer.metrics` and the design for the formulas.

    Attributes:
      k: K of all metrics.
      relevance_weight: the dial, w.
      values: metric by name; None where the data can not tell, such as topic match without categories.
      num_triggers, num_pairs, num_cold_pairs: trigger occasions, their (trigger, target) pairs with both items seen
        in training, and the others.
      topic_match_independent: False where the model or the teacher sees the categories that judge it.
    """

    k: int
    relevance_weight: float
    values: dict[str, float | None]
    num_triggers: int
    num_pairs: int
    num_cold_pairs: int
    topic_match_independent: bool


def make_judge(items: ItemTable, triggers: EvalTriggers, *, categories_seen: bool) -> Judge:
    """Collects what answers are judged by; ``categories_seen``: whether model and teacher see categories."""
    names = {name: None for categories in items.categories for name in categories}
    number = {name: position for position, name in enumerate(names)}
    lengths = np.array([len(categories) for categories in items.categories], dtype=np.int64)
    columns = np.array([number[name] for categories in items.categories for name in categories], dtype=np.int64)
    table = scipy.sparse.csr_matrix(
        (np.ones(len(columns), np.float32), columns, np.concatenate([[0], np.cumsum(lengths)])),
        shape=(len(items.ids), max(len(names), 1)),
    )
    table.sum_duplicates()
    table.data[:] = 1.0
    return Judge(triggers, items.content_vectors, table, items.interaction_count, not categories_seen)


def sample_triggers(triggers: EvalTriggers, count: int, seed: int) -> EvalTriggers:
    """A seeded sample of ``count`` trigger occasions, in their order; all of them where there are fewer."""
    total = len(triggers.trigger)
    if count >= total:
        return triggers
    chosen = np.sort(np.random.default_rng(seed).choice(total, count, replace=False))
    lengths = np.diff(triggers.row_splits)
    keep = np.zeros(total, dtype=np.bool_)
    keep[chosen] = True
    return EvalTriggers(
        trigger=triggers.trigger[chosen],
        target=triggers.target[np.repeat(keep, lengths)],
        row_splits=np.concatenate([[0], np.cumsum(lengths[chosen])]).astype(np.int64),
    )


def retrieve_exact(
    vectors: ItemVectors, trigger: NDArray[np.int64], *, k: int, relevance_weight: float
) -> NDArray[np.int32]:
    """The K best candidates of each trigger by the blend's exact score, itself excluded.

    Args:
      vectors: of all N items.
      trigger: [T], item indexes.
      k: K; lists are shorter where the catalogue is, padded by -1.
      relevance_weight: w of ``(1 - w) q_eng . c_eng + w q_rel . c_rel``.

    Returns:
      int32 [T, K].
    """
    candidates = np.concatenate([vectors.engagement_candidate, vectors.relevance], axis=1)
    queries = np.concatenate(
        [(1.0 - relevance_weight) * vectors.engagement_trigger, relevance_weight * vectors.relevance], axis=1
    ).astype(np.float32)
    return nearest(queries[trigger], candidates, k=k, exclude=trigger)


def nearest(
    queries: NDArray[np.float32], candidates: NDArray[np.float32], *, k: int, exclude: NDArray[np.int64]
) -> NDArray[np.int32]:
    """The K candidates of largest dot product, int32 [T, K]: [T, d] against [N, d], never candidate ``exclude[t]``."""
    number = len(candidates)
    found = np.full((len(queries), k), -1, dtype=np.int32)
    take = min(k, number - 1)
    if take <= 0 or not len(queries):
        return found
    block = max(1, min(len(queries), _BLOCK_SCORES // number))
    table = tf.constant(candidates)
    for start in range(0, len(queries), block):
        part = slice(start, start + block)
        rows = np.arange(len(queries[part]))
        excluded = tf.constant(np.stack([rows, exclude[part]], axis=1))
        # K as a tensor: a Python number would be traced anew for each of its values.
        found[part, :take] = _top(tf.constant(queries[part]), table, excluded, tf.constant(take)).numpy()
    return found


@tf.function(reduce_retracing=True, autograph=False)
def _top(queries: "tf.Tensor", candidates: "tf.Tensor", excluded: "tf.Tensor", k: "tf.Tensor") -> "tf.Tensor":
    scores = tf.matmul(queries, candidates, transpose_b=True)
    scores = tf.tensor_scatter_nd_update(scores, excluded, tf.fill([tf.shape(excluded)[0]], -float("inf")))
    return tf.math.top_k(scores, k=k, sorted=True).indices


def evaluate(
    vectors: ItemVectors, judge: Judge, config: EvaluateConfig, weights: Sequence[float] = (0.0,)
) -> list[Scores]:
    """Scores exact retrieval at each setting of the dial.

    Args:
      vectors: of all items.
      judge: what answers are judged by.
      config: K and the tail.
      weights: settings of ``relevance_weight``.

    Raises:
      UserError: there is nothing to evaluate on.
    """
    if not len(judge.triggers.trigger):
        raise UserError("no trigger of the evaluation period to score; lower split.quantile so that rows come after it")
    unique = np.unique(judge.triggers.trigger)
    return [
        score_lists(unique, retrieve_exact(vectors, unique, k=config.k, relevance_weight=weight), judge, config, weight)
        for weight in weights
    ]


def score_lists(
    unique: NDArray[np.int64],
    retrieved: NDArray[np.int32],
    judge: Judge,
    config: EvaluateConfig,
    relevance_weight: float,
) -> Scores:
    """Scores one list for each distinct trigger.

    Args:
      unique: [T], the distinct triggers, ascending.
      retrieved: [T, K], item indexes, negative pads.
      judge: what answers are judged by.
      config: K and the tail.
      relevance_weight: recorded with the scores.
    """
    triggers = judge.triggers
    row_of_occasion = np.searchsorted(unique, triggers.trigger)
    occasion = np.repeat(np.arange(len(triggers.trigger)), np.diff(triggers.row_splits))
    ranks = metrics.target_ranks(retrieved, row_of_occasion[occasion], triggers.target)
    seen = judge.interaction_count > 0
    warm = seen[triggers.trigger[occasion]] & seen[triggers.target]

    frequency = np.bincount(row_of_occasion, minlength=len(unique)).astype(np.float64)
    slots = retrieved >= 0
    tail = metrics.tail_items(judge.interaction_count, config.tail_share)
    tail_slots = (tail[np.maximum(retrieved, 0)] & slots).sum(axis=1)
    values: dict[str, float | None] = {
        metrics.RECALL: metrics.recall(ranks[warm], config.k),
        metrics.NDCG: metrics.ndcg(ranks[warm], occasion[warm], config.k),
        metrics.MRR: metrics.mrr(ranks[warm], config.k),
        metrics.RECALL_COLD: metrics.recall(ranks[~warm], config.k) if not warm.all() else None,
        metrics.RELEVANCE: _weighted_mean(metrics.relevance(unique, retrieved, judge.content), frequency),
        metrics.TOPIC_MATCH: _weighted_mean(metrics.topic_match(unique, retrieved, judge.categories), frequency),
        metrics.COVERAGE: len(np.unique(retrieved[slots])) / len(seen),
        metrics.TAIL_SHARE: float((tail_slots * frequency).sum() / max((slots.sum(axis=1) * frequency).sum(), 1.0)),
    }
    return Scores(
        k=config.k,
        relevance_weight=relevance_weight,
        values=values,
        num_triggers=len(triggers.trigger),
        num_pairs=int(warm.sum()),
        num_cold_pairs=int((~warm).sum()),
        topic_match_independent=judge.topic_match_independent,
    )


def _weighted_mean(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float | None:
    known = ~np.isnan(values)
    return float(np.average(values[known], weights=weights[known])) if known.any() else None
