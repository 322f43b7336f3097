"""Parts that an answer is merged from: weights of triggers, sets, the best of a list.

All functions are TensorFlow graph code over a batch of B requests with K slots each. Candidates are rows of the
catalogue, int32; -1 marks an empty slot.
"""

import math
from typing import Any

from preprocessing.backend import tf


def position_weights(known: Any, decay: float) -> Any:
    """Weights of several triggers, the first known one counting most; float32 [B, T] of rows that sum to 1, or to 0.

    Args:
      known: bool [B, T]; the others have no weight and take no position, wherever they stand.
      decay: weight of the n-th known trigger is this to the power n - 1, before normalisation.
    """
    present = tf.cast(known, tf.float32)
    weights = present * tf.pow(decay, tf.cumsum(present, axis=1, exclusive=True))
    return tf.math.divide_no_nan(weights, tf.reduce_sum(weights, axis=1, keepdims=True))


def leading(rows: Any, size: int) -> Any:
    """The first ``size`` known entries of each row, in their order: int32 [B, n] to [B, min(n, size)], -1 last."""
    order = tf.argsort(tf.cast(rows < 0, tf.int32), axis=1, stable=True)
    return tf.gather(rows, order[:, :size], batch_dims=1)


def contains(sets: Any, values: Any) -> Any:
    """Whether each value is in its row's set: bool [B, m], for int32 ``sets`` [B, n] in any order and values [B, m].

    The sets may have no columns; no value may be the largest int32.
    """
    ordered = tf.pad(tf.sort(sets, axis=1), [[0, 0], [0, 1]], constant_values=tf.int32.max)
    return tf.gather(ordered, tf.searchsorted(ordered, values, side="left"), batch_dims=1) == values


def count_distinct(values: Any) -> Any:
    """Number of distinct non-negative values of each row: int32 [B, n] to int32 [B]; -1 stands for none."""
    ordered = tf.pad(tf.sort(values, axis=1), [[0, 0], [1, 0]], constant_values=-1)
    return tf.reduce_sum(tf.cast(ordered[:, 1:] > ordered[:, :-1], tf.int32), axis=1)


def without_repeats(first: Any, second: Any) -> Any:
    """Joins two candidate lists [B, m] and [B, n]; what the second repeats of the first becomes -1."""
    repeated = contains(first, second)
    return tf.concat([first, tf.where(repeated, -1, second)], axis=1)


def best(scores: Any, candidates: Any, allowed: Any, size: Any, *others: Any) -> tuple[Any, ...]:
    """The allowed candidates of largest score, in order, in exactly ``size`` slots.

    Args:
      scores: float32 [B, m].
      candidates: int32 [B, m].
      allowed: bool [B, m].
      size: int32 scalar K.
      *others: float32 [B, m], more of the candidates to carry along.

    Returns:
      Scores float32 [B, K], candidates int32 [B, K] and the others [B, K]; -inf, -1 and 0 in slots that are not filled.
    """
    masked = tf.where(allowed, scores, -math.inf)
    values, place = tf.math.top_k(masked, k=tf.minimum(size, tf.shape(masked)[1]), sorted=True)
    real = values > -math.inf
    missing = [[0, 0], [0, size - tf.shape(values)[1]]]

    def chosen(column: Any, empty: Any) -> Any:
        return tf.pad(tf.where(real, tf.gather(column, place, batch_dims=1), empty), missing, constant_values=empty)

    return (
        tf.pad(values, missing, constant_values=-math.inf),
        chosen(candidates, -1),
        *(chosen(column, 0.0) for column in others),
    )


def leading_slots(rows: Any, number: Any) -> Any:
    """Keeps the first ``number`` slots of each row and empties the others: int32 [B, K] and [B, 1] to int32 [B, K]."""
    return tf.where(tf.range(tf.shape(rows)[1])[tf.newaxis, :] < number, rows, -1)


def threshold(ordered_scores: Any, k: Any) -> Any:
    """The k-th score of each row, float32 [B, 1]: what an item needs to be in the row's own top-k.

    Args:
      ordered_scores: float32 [B, K], falling, -inf where a slot is empty.
      k: int32 [B]; for 0, +inf.
    """
    padded = tf.concat([tf.fill([tf.shape(ordered_scores)[0], 1], math.inf), ordered_scores], axis=1)
    place = tf.clip_by_value(k, 0, tf.shape(ordered_scores)[1])
    return tf.gather(padded, place[:, tf.newaxis], batch_dims=1)
