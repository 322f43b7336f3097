"""Turns what both heads found into the answers of a batch: blend or quota, and which head each item is of.

All functions are TensorFlow graph code over a batch of B requests with K slots each. Rows of the catalogue are int32;
-1 marks an empty slot.
"""

import math
from typing import Any, Final, NamedTuple

from preprocessing.backend import tf
from serving import merge
from serving.signatures import SOURCE_BOTH, SOURCE_ENGAGEMENT, SOURCE_RELEVANCE
from trainer.quota import HALF_UP

_ROUNDING: Final = 1e-6
"""Largest difference between two float32 dot products of the same unit vectors."""


class Query(NamedTuple):
    """A batch of B requests, settled.

    Attributes:
      engagement, relevance: float32 [B, d], query vectors of the heads.
      weight: float32 [B, 1], the dial, in [0, 1].
      k: int32 [B], answers to each, in [0, max_k].
      size: int32 scalar K, the largest k.
      banned: int32 [B, n], rows that no answer may hold; -1 pads.
      wanted: int32 scalar, so many candidates of any list leave K of each row once the banned are gone.
      possible: int32 [B], answers that there are.
    """

    engagement: Any
    relevance: Any
    weight: Any
    k: Any
    size: Any
    banned: Any
    wanted: Any
    possible: Any


class Finds(NamedTuple):
    """What a search gives.

    Attributes:
      candidates: int32 [B, m], none twice; -1 pads.
      engagement, relevance: float32 [B, m], both heads' scores of the candidates.
      by_engagement, by_relevance: each head's own best, scores float32 [B, n] and rows int32 [B, n]; -1 pads.
    """

    candidates: Any
    engagement: Any
    relevance: Any
    by_engagement: tuple[Any, Any]
    by_relevance: tuple[Any, Any]


class Answers(NamedTuple):
    """The answers of a batch, [B, K] each, in the order of ``score``, the blend's; and both heads' scores of them.

    The thresholds, float32 [B, 1], are what an item needs to be in a head's own top-k; +inf for a head that has no
    vector.
    """

    candidates: Any
    score: Any
    engagement: Any
    relevance: Any
    engagement_threshold: Any
    relevance_threshold: Any


def blend(query: Query, finds: Finds) -> Answers:
    """The candidates of largest blend score ``(1 - w) engagement + w relevance``."""
    return _ordered(query, finds, finds.candidates, finds.engagement, finds.relevance, _allowed(query, finds))


def quota(query: Query, finds: Finds) -> Answers:
    """The quota's answers, by the definition in `trainer.quota`, in the order of the blend's score.

    Where the engagement head found too few for its part, the relevance head's takes its slots; where both together have
    no more candidates, slots stay empty.
    """
    allowed = _allowed(query, finds)
    slots = relevance_slots(query.weight, query.k[:, tf.newaxis])
    slots = tf.where(_is_absent(query.engagement), query.k[:, tf.newaxis], slots)
    slots = tf.where(_is_absent(query.relevance), 0, slots)
    scores = (finds.engagement, finds.relevance)
    _, first, *of_first = merge.best(finds.engagement, finds.candidates, allowed, query.size, *scores)
    first = merge.leading_slots(first, query.k[:, tf.newaxis] - slots)
    rest = allowed & ~merge.contains(first, finds.candidates)
    _, second, *of_second = merge.best(finds.relevance, finds.candidates, rest, query.size, *scores)
    held = tf.reduce_sum(tf.cast(first >= 0, tf.int32), axis=1, keepdims=True)
    second = merge.leading_slots(second, query.k[:, tf.newaxis] - held)
    chosen = tf.concat([first, second], axis=1)
    engagement, relevance = (tf.concat(pair, axis=1) for pair in zip(of_first, of_second, strict=True))
    return _ordered(query, finds, chosen, engagement, relevance, chosen >= 0)


def relevance_slots(weight: Any, k: Any) -> Any:
    """`trainer.quota.relevance_slots` of float32 weights and int32 k, of the same shape."""
    return tf.minimum(tf.cast(tf.floor(weight * tf.cast(k, tf.float32) + HALF_UP), tf.int32), k)


def source(answers: Answers, weight: Any) -> Any:
    """Which head's own top-k would hold each item; for neither, the head with the larger weighted share."""
    by_engagement = answers.engagement >= answers.engagement_threshold - _ROUNDING
    by_relevance = answers.relevance >= answers.relevance_threshold - _ROUNDING
    larger = (1.0 - weight) * answers.engagement >= weight * answers.relevance
    single = tf.where(by_engagement == by_relevance, larger, by_engagement)
    name = tf.where(single, SOURCE_ENGAGEMENT, SOURCE_RELEVANCE)
    return tf.where(by_engagement & by_relevance, SOURCE_BOTH, name)


def _allowed(query: Query, finds: Finds) -> Any:
    return (finds.candidates >= 0) & ~merge.contains(query.banned, finds.candidates)


def _ordered(query: Query, finds: Finds, candidates: Any, engagement: Any, relevance: Any, allowed: Any) -> Answers:
    blended = (1.0 - query.weight) * engagement + query.weight * relevance
    score, rows, engagement, relevance = merge.best(blended, candidates, allowed, query.size, engagement, relevance)
    return Answers(
        candidates=rows,
        score=score,
        engagement=engagement,
        relevance=relevance,
        engagement_threshold=_own_threshold(query, query.engagement, *finds.by_engagement),
        relevance_threshold=_own_threshold(query, query.relevance, *finds.by_relevance),
    )


def _own_threshold(query: Query, vectors: Any, scores: Any, rows: Any) -> Any:
    """The score that an item needs to be in a head's own top-k, [B, 1]; +inf for a head that has no vector."""
    fit = (rows >= 0) & ~merge.contains(query.banned, rows)
    least = merge.threshold(merge.best(scores, rows, fit, query.size)[0], query.k)
    return tf.where(_is_absent(vectors), math.inf, least)


def _is_absent(vectors: Any) -> Any:
    """Whether a head has no vector, bool [B, 1]."""
    return tf.reduce_all(vectors == 0.0, axis=1, keepdims=True)
