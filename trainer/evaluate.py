"""Exact, blocked evaluation of item vectors against the triggers of the evaluation period."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from preprocessing.backend import tf
from preprocessing.read import EvalTriggers, ItemTable
from trainer import metrics, slices
from trainer.config import EvaluateConfig
from trainer.model import ItemVectors
from trainer.statistics import COLUMNS, SLICED, Tally, coverage, ratios

DIAL: Final = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0)
"""Settings of ``relevance_weight`` that the frontier is drawn through."""

_BLOCK_SCORES = 32_000_000
"""Scores held at a time, 128 MB."""
_BLOCK_BLENDED = 4_000_000
"""Scores of one head held at a time while the dial turns: memory that the allocator hands out again and again."""
_NEVER = -1e9
"""Score of the trigger itself; finite, so that a weight of 0 takes it nowhere."""


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
      slices: metric by name in each slice of the triggers, by the slice's name, see `trainer.slices`.
    """

    k: int
    relevance_weight: float
    values: dict[str, float | None]
    num_triggers: int
    num_pairs: int
    num_cold_pairs: int
    topic_match_independent: bool
    slices: dict[str, dict[str, float | None]] = dataclasses.field(default_factory=dict)


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
        user=triggers.user[chosen],
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


def retrieve_along_dial(
    vectors: ItemVectors, trigger: NDArray[np.int64], *, k: int, weights: Sequence[float]
) -> NDArray[np.int32]:
    """What `retrieve_exact` gives at each of W settings of ``relevance_weight``: int32 [W, T, K].

    Each head scores once; only the blend is computed for each setting.
    """
    if len(weights) == 1:
        return retrieve_exact(vectors, trigger, k=k, relevance_weight=weights[0])[np.newaxis]
    found = np.full((len(weights), len(trigger), k), -1, dtype=np.int32)
    take = min(k, len(vectors.relevance) - 1)
    if take <= 0:
        return found
    for part, engagement, relevance in scores_by_head(vectors, trigger):
        for setting, weight in enumerate(weights):
            # Numbers as tensors: Python's would be traced anew for each of their values.
            best = _top_blended(engagement, relevance, tf.constant(weight, tf.float32), tf.constant(take))
            found[setting, part, :take] = best.numpy()
    return found


def scores_by_head(vectors: ItemVectors, trigger: NDArray[np.int64]) -> "Iterator[tuple[slice, tf.Tensor, tf.Tensor]]":
    """Both heads' scores of all N items for blocks of triggers, the trigger itself far below all others.

    Args:
      vectors: of all N items.
      trigger: [T], item indexes.

    Yields:
      The block's place among the triggers, engagement and relevance scores float32 [b, N].
    """
    candidates, relevance = tf.constant(vectors.engagement_candidate), tf.constant(vectors.relevance)
    block = max(1, _BLOCK_BLENDED // len(vectors.relevance))
    for start in range(0, len(trigger), block):
        part = slice(start, start + block)
        rows = trigger[part]
        excluded = tf.constant(np.stack([np.arange(len(rows)), rows], axis=1))
        yield (
            part,
            _scores(tf.constant(vectors.engagement_trigger[rows]), candidates, excluded),
            _scores(tf.constant(vectors.relevance[rows]), relevance, excluded),
        )


@tf.function(reduce_retracing=True, autograph=False)
def _scores(queries: "tf.Tensor", candidates: "tf.Tensor", excluded: "tf.Tensor") -> "tf.Tensor":
    scores = tf.matmul(queries, candidates, transpose_b=True)
    return tf.tensor_scatter_nd_update(scores, excluded, tf.fill([tf.shape(excluded)[0]], _NEVER))


@tf.function(reduce_retracing=True, autograph=False)
def _top_blended(engagement: "tf.Tensor", relevance: "tf.Tensor", weight: "tf.Tensor", k: "tf.Tensor") -> "tf.Tensor":
    return tf.math.top_k((1.0 - weight) * engagement + weight * relevance, k=k, sorted=True).indices


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
    return tf.math.top_k(_scores(queries, candidates, excluded), k=k, sorted=True).indices


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
    tally = Tally(judge, config)
    lists = retrieve_along_dial(vectors, tally.trigger, k=config.k, weights=weights)
    return score_lists(lists, tally, weights)


def score_lists(retrieved: NDArray[np.int32], tally: Tally, weights: Sequence[float]) -> list[Scores]:
    """Scores the lists that each setting of the dial gives.

    Args:
      retrieved: [W, T, K], a list for each of ``tally.trigger``: item indexes, negative pads.
      tally: of the judge and the configuration to score by.
      weights: W settings of ``relevance_weight``, recorded with the scores.
    """
    judge = tally.judge
    scores = []
    for weight, lists, sums in zip(weights, retrieved, tally.sums(retrieved), strict=True):
        totals = ratios(sums.numerator.sum(axis=0), sums.denominator.sum(axis=0))
        found = {
            column: None if np.isnan(value) else float(value) for column, value in zip(COLUMNS, totals, strict=True)
        }
        found[metrics.COVERAGE, slices.ALL] = coverage(lists, len(judge.interaction_count))
        scores.append(
            Scores(
                k=tally.config.k,
                relevance_weight=weight,
                values={name: found[name, slices.ALL] for name in metrics.METRICS},
                num_triggers=len(judge.triggers.trigger),
                num_pairs=tally.num_pairs,
                num_cold_pairs=tally.num_cold_pairs,
                topic_match_independent=judge.topic_match_independent,
                slices={part: {name: found[name, part] for name in SLICED} for part in slices.SLICES},
            )
        )
    return scores
