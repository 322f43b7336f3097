"""What the deployed index finds of exact search: measured, widened where it is too little, refused below a floor."""

import logging
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from preprocessing.backend import tf
from preprocessing.errors import UserError
from preprocessing.read import read_triggers
from serving.config import ServingConfig
from serving.index import IndexPlan, wider_plan
from serving.retriever import Retriever
from trainer.exact import retrieve_along_dial
from trainer.model import ItemVectors
from trainer.names import BLEND
from trainer.quota import retrieve_quota, slots_by_trigger

logger = logging.getLogger("mtmh.serving")

GATE_DIAL: Final = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
"""Settings of the dial at which the index is measured; the least counts."""
GATE_K: Final = 50
_GATE_TRIGGERS: Final = 1000
_GATE_BATCH: Final = 50
_TUNING_SHARE: Final = 4
"""One in so many of the triggers is asked while the search is still being widened."""
_ROUNDING: Final = 1e-6
_TARGET_RECALL: Final = 0.98
"""The exporter widens a tree's search until index recall is this; `index.min_recall` is where it refuses."""


Floors = tuple[tuple[float, NDArray[np.float32]], ...]
"""What makes an item an answer at a setting of the dial: a score by any of these weights, at least float32 [T]."""


def exact_floors(retriever: Retriever, vectors: ItemVectors, triggers: NDArray[np.int64]) -> dict[float, Floors]:
    """The least scores of the exact answers, by setting of the dial.

    An item is one of the blend's K best when its blend score reaches that of the K-th; it is one of the quota's answers
    when its engagement score reaches that of the last of the engagement head's part, or its relevance score that of the
    last of the relevance head's. Part by part, so that a quota isn't judged by items that it doesn't ask for.

    Args:
      retriever: whose answers are judged.
      vectors: of all N items.
      triggers: [T], catalogue rows to ask for, which are no answers to themselves.
    """
    k = gate_k(retriever)
    if retriever.merge == BLEND:
        lists = retrieve_along_dial(vectors, triggers, k=k, weights=GATE_DIAL)
        return {
            weight: ((weight, _scores(vectors, triggers, found[:, -1:], weight)[:, 0]),)
            for weight, found in zip(GATE_DIAL, lists, strict=True)
        }
    lists = retrieve_quota(vectors, triggers, k=k, weights=GATE_DIAL)
    return {
        weight: _quota_floors(vectors, triggers, found, slots_by_trigger(vectors, triggers, weight, k))
        for weight, found in zip(GATE_DIAL, lists, strict=True)
    }


def _quota_floors(
    vectors: ItemVectors, triggers: NDArray[np.int64], found: NDArray[np.int32], slots: NDArray[np.int64]
) -> Floors:
    """Of exact answers [T, K], ``slots`` of each row by relevance: those that are not its best by engagement."""
    engagement = _scores(vectors, triggers, found, 0.0)
    order = np.argsort(-engagement, axis=1, kind="stable")
    engagement = np.take_along_axis(engagement, order, axis=1)
    relevance = np.take_along_axis(_scores(vectors, triggers, found, 1.0), order, axis=1)
    first = np.arange(found.shape[1]) < found.shape[1] - slots[:, np.newaxis]
    return (
        (0.0, engagement.min(axis=1, where=first, initial=np.inf)),
        (1.0, relevance.min(axis=1, where=~first, initial=np.inf)),
    )


def measure_index(
    retriever: Retriever,
    vectors: ItemVectors,
    triggers: NDArray[np.int64],
    floors: dict[float, Floors] | None = None,
) -> dict[float, float]:
    """Share of the 50 exact answers that the index finds, for each setting of the dial, by the deployed way to merge.

    Of fewer than 50 where the catalogue or ``retrieval.max_k`` is smaller. An answer counts when its exact scores make
    it one, so that among items with equal vectors any will do.

    Args:
      retriever: the deployed search.
      vectors: what exact search looks at.
      triggers: [T], catalogue rows to ask for.
      floors: `exact_floors` of these, where they are at hand.
    """
    k = gate_k(retriever)
    if k < 1 or not len(triggers):
        return dict.fromkeys(GATE_DIAL, 1.0)
    floors = floors or exact_floors(retriever, vectors, triggers)
    search = tf.function(retriever.search, reduce_retracing=True, autograph=False)
    found: dict[float, float] = {}
    for weight, least in floors.items():
        hits = 0
        for start in range(0, len(triggers), _GATE_BATCH):
            part = slice(start, start + _GATE_BATCH)
            rows = triggers[part]
            answered = search(
                tf.constant(vectors.engagement_trigger[rows]),
                tf.constant(vectors.relevance[rows]),
                tf.fill([len(rows)], tf.constant(weight, tf.float32)),
                tf.fill([len(rows)], k),
                tf.constant(rows[:, np.newaxis], tf.int32),
            ).numpy()
            reached = [
                _scores(vectors, rows, answered, by) >= floor[part, np.newaxis] - _ROUNDING for by, floor in least
            ]
            hits += int(np.sum(np.any(reached, axis=0) & (answered >= 0)))
        found[weight] = hits / (len(triggers) * k)
    return found


def gate_k(retriever: Retriever) -> int:
    """How many answers are compared."""
    return min(GATE_K, retriever.max_k, retriever.num_items - 1)


def _scores(
    vectors: ItemVectors, triggers: NDArray[np.int64], rows: NDArray[np.int32], weight: float
) -> NDArray[np.float32]:
    """Exact scores of catalogue rows [T, m] for the triggers [T]; float32 [T, m]."""
    engagement = np.einsum("td,tmd->tm", vectors.engagement_trigger[triggers], vectors.engagement_candidate[rows])
    relevance = np.einsum("td,tmd->tm", vectors.relevance[triggers], vectors.relevance[rows])
    scores: NDArray[np.float32] = ((1.0 - weight) * engagement + weight * relevance).astype(np.float32)
    return scores


def tune_index(
    retriever: Retriever, vectors: ItemVectors, triggers: NDArray[np.int64], plan: IndexPlan, config: ServingConfig
) -> tuple[IndexPlan, dict[float, float]]:
    """Measures the index, and widens its search as far as the configuration leaves open until it finds enough."""
    target = max(_TARGET_RECALL, config.index.min_recall)
    few = triggers[::_TUNING_SHARE]
    floors = exact_floors(retriever, vectors, few) if plan.kind == "tree" else {}
    while (wider := wider_plan(plan, retriever.num_items, config.index)) is not None:
        least = min(measure_index(retriever, vectors, few, floors).values())
        if least >= target:
            break
        logger.info("index recall@%d is %.3f with %s; searching wider", GATE_K, least, plan)
        plan = wider
        retriever.search_with(plan)
    return plan, measure_index(retriever, vectors, triggers)


def gate_triggers(
    examples: Path, num_items: int, seed: int, rows: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """What the index is measured with: a seeded sample of real triggers and of the catalogue, half and half.

    Args:
      examples: the preprocessing's output.
      num_items: N, of the catalogue.
      seed: of the sample.
      rows: where each of the examples' items stands in the catalogue, -1 where it doesn't; None: in the same place.
    """
    asked = np.unique(read_triggers(str(examples)).trigger)
    if rows is not None:
        asked = np.unique(rows[asked])
        asked = asked[asked >= 0]
    rng = np.random.default_rng(seed)
    half = _GATE_TRIGGERS // 2
    triggers: NDArray[np.int64] = np.unique(
        np.concatenate([rng.permutation(asked)[:half], rng.permutation(num_items)[:half]])
    )
    return triggers


def check_index_floor(index_recall: dict[float, float], plan: IndexPlan, config: ServingConfig) -> None:
    """Refuses an index that finds too little.

    Raises:
      UserError: it finds less than the configured floor.
    """
    weight, least = min(index_recall.items(), key=lambda entry: entry[1])
    if least < config.index.min_recall:
        raise UserError(
            f"export refused: the {plan.kind} index finds {least:.3f} of the exact best {GATE_K} at relevance weight "
            f"{weight}, below index.min_recall {config.index.min_recall}; raise index.leaves_to_search (now "
            f"{plan.leaves_to_search} of {plan.leaves}) or index.reorder (now {plan.reorder}), or use index.kind=exact"
        )
