"""Merges what both heads find into one answer: the blend, its exclusions and where each item came from.

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


def contains(sets: Any, values: Any) -> Any:
    """Whether each value is in its row's set: bool [B, m], for int32 ``sets`` [B, n] in any order and values [B, m]."""
    ordered = tf.sort(sets, axis=1)
    place = tf.searchsorted(ordered, values, side="left")
    inside = place < tf.shape(ordered)[1]
    found = tf.gather(ordered, tf.minimum(place, tf.shape(ordered)[1] - 1), batch_dims=1)
    return inside & (found == values)


def count_distinct(values: Any) -> Any:
    """Number of distinct non-negative values of each row: int32 [B, n] to int32 [B]."""
    ordered = tf.sort(values, axis=1)
    first = tf.concat([tf.ones_like(ordered[:, :1], tf.bool), ordered[:, 1:] != ordered[:, :-1]], axis=1)
    return tf.reduce_sum(tf.cast(first & (ordered >= 0), tf.int32), axis=1)


def without_repeats(first: Any, second: Any) -> Any:
    """Joins two candidate lists [B, m] and [B, n]; what the second repeats of the first becomes -1."""
    repeated = contains(first, second)
    return tf.concat([first, tf.where(repeated, -1, second)], axis=1)


def best(scores: Any, candidates: Any, allowed: Any, size: Any) -> tuple[Any, Any]:
    """The allowed candidates of largest score, in order, in exactly ``size`` slots.

    Args:
      scores: float32 [B, m].
      candidates: int32 [B, m].
      allowed: bool [B, m].
      size: int32 scalar K.

    Returns:
      Scores float32 [B, K] and candidates int32 [B, K]; -inf and -1 in slots that are not filled.
    """
    masked = tf.where(allowed, scores, -math.inf)
    values, place = tf.math.top_k(masked, k=tf.minimum(size, tf.shape(masked)[1]), sorted=True)
    chosen = tf.gather(candidates, place, batch_dims=1)
    chosen = tf.where(values > -math.inf, chosen, -1)
    missing = [[0, 0], [0, size - tf.shape(values)[1]]]
    return tf.pad(values, missing, constant_values=-math.inf), tf.pad(chosen, missing, constant_values=-1)


def threshold(ordered_scores: Any, k: Any) -> Any:
    """The k-th score of each row, float32 [B, 1]: what an item needs to be in the row's own top-k.

    Args:
      ordered_scores: float32 [B, K], falling, -inf where a slot is empty.
      k: int32 [B]; for 0, +inf.
    """
    padded = tf.concat([tf.fill([tf.shape(ordered_scores)[0], 1], math.inf), ordered_scores], axis=1)
    place = tf.clip_by_value(k, 0, tf.shape(ordered_scores)[1])
    return tf.gather(padded, place[:, tf.newaxis], batch_dims=1)
