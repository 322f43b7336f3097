"""Evaluation of what is retrieved exactly against the triggers of the evaluation period."""

import dataclasses
from collections.abc import Sequence
from typing import Final

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from preprocessing.config import FeaturesConfig
from preprocessing.read import Annotations, EvalTriggers, ItemTable
from preprocessing.schema import Manifest
from trainer import metrics, slices
from trainer.annotated import mean_ndcg, ndcg_by_trigger
from trainer.config import EvaluateConfig
from trainer.model import ItemVectors
from trainer.names import BLEND
from trainer.recommender import VectorRecommender
from trainer.statistics import COLUMNS, SLICED, Tally, coverage, ratios

DIAL: Final = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0)
"""Settings of ``relevance_weight`` that the frontier is drawn through."""


@dataclasses.dataclass(frozen=True)
class Judge:
    """What answers are judged by: the eval triggers and what is known of the items.

    Attributes:
      triggers: occasions and their targets.
      content: float32 [N, D], the teacher's vectors.
      categories: [N, C] sparse, 1 where the item is in the category.
      interaction_count: int64 [N], of the training period.
      topic_match_independent: False where the model or the teacher sees the categories that judge it.
      annotations: graded pairs, of which those held out are scored; None where there is nothing to score by them.
    """

    triggers: EvalTriggers
    content: NDArray[np.float32]
    categories: scipy.sparse.csr_matrix
    interaction_count: NDArray[np.int64]
    topic_match_independent: bool
    annotations: Annotations | None = None


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
      annotation_ndcg: `trainer.metrics.annotation_ndcg` of the held-out annotations; None without any.
    """

    k: int
    relevance_weight: float
    values: dict[str, float | None]
    num_triggers: int
    num_pairs: int
    num_cold_pairs: int
    topic_match_independent: bool
    slices: dict[str, dict[str, float | None]] = dataclasses.field(default_factory=dict)
    annotation_ndcg: float | None = None


def sees_categories(features: FeaturesConfig, examples: Manifest) -> bool:
    """Whether a model with these features, or the teacher of the examples, sees the categories.

    The examples may have been made with other features: what their teacher read stays in its vectors.
    """
    made = examples.config
    reads_text = made.get("teacher", {}).get("kind") != "column"
    return features.categories or (reads_text and bool(made.get("features", {}).get("categories")))


def make_judge(
    items: ItemTable, triggers: EvalTriggers, *, categories_seen: bool, annotations: Annotations | None = None
) -> Judge:
    """Collects what answers are judged by; ``categories_seen``: see `sees_categories`."""
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
    return Judge(triggers, items.content_vectors, table, items.interaction_count, not categories_seen, annotations)


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


def evaluate(
    vectors: ItemVectors, judge: Judge, config: EvaluateConfig, weights: Sequence[float] = (0.0,), merge: str = BLEND
) -> list[Scores]:
    """Scores exact retrieval at each setting of the dial.

    Args:
      vectors: of all items.
      judge: what answers are judged by.
      config: K and the tail.
      weights: settings of ``relevance_weight``.
      merge: how two heads answer, see `trainer.names.MERGES`.

    Raises:
      UserError: there is nothing to evaluate on.
    """
    tally = Tally(judge, config)
    recommender = VectorRecommender(vectors, has_dial=True, merge=merge)
    lists = recommender.retrieve_along_dial(tally.trigger, k=config.k, weights=weights)
    return [
        dataclasses.replace(
            scores,
            annotation_ndcg=mean_ndcg(ndcg_by_trigger(recommender, judge.annotations, scores.relevance_weight)),
        )
        for scores in score_lists(lists, tally, weights)
    ]


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
