"""Quota: of K answers at weight w, so many are the relevance head's and the others the engagement head's.

The blend asks for the items of largest mixed score; what is good for one head alone has to outscore what is middling
for both. The quota takes each head at its word: round(w K) answers, halves up, are the relevance head's best that the
engagement head's part does not hold, and that part is its best of the other K - round(w K). No item is in both parts. A
head without a vector for the trigger leaves all to the other. The list is in the order of the blend's score at w, as a
blended one is, so that a score means the same in both.

`serving.merge` does the same in the graph.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from preprocessing.backend import tf
from trainer.exact import scores_by_head
from trainer.model import ItemVectors

HALF_UP: Final = 0.5005
"""Added before the floor: a half goes up, also one such as .29 x 50 that float32 brings a little below."""


def relevance_slots(weight: float, k: int) -> int:
    """round(w K): answers of the relevance head, 0 to K. In float32, as the graph computes it."""
    return min(k, int(np.floor(np.float32(weight) * np.float32(k) + np.float32(HALF_UP))))


def slots_by_trigger(vectors: ItemVectors, trigger: NDArray[np.int64], weight: float, k: int) -> NDArray[np.int64]:
    """Answers of the relevance head to each trigger, [T]: `relevance_slots`, unless a head has no vector for it."""
    slots = np.full(len(trigger), relevance_slots(weight, k), dtype=np.int64)
    slots[~vectors.engagement_trigger[trigger].any(axis=1)] = k
    slots[~vectors.relevance[trigger].any(axis=1)] = 0
    return slots


def retrieve_quota(
    vectors: ItemVectors, trigger: NDArray[np.int64], *, k: int, weights: Sequence[float]
) -> NDArray[np.int32]:
    """The quota's answers to each trigger, itself excluded, at each of W settings of the dial.

    Each head ranks once for all settings: the K best of either hold both parts at any of them.

    Args:
      vectors: of all N items.
      trigger: [T], item indexes.
      k: K; lists are shorter where the catalogue is, padded by -1.
      weights: W settings of ``relevance_weight``.

    Returns:
      int32 [W, T, K].
    """
    found = np.full((len(weights), len(trigger), k), -1, dtype=np.int32)
    take = min(k, len(vectors.relevance) - 1)
    if take <= 0:
        return found
    for part, engagement, relevance in scores_by_head(vectors, trigger):
        rows, engagement_scores, relevance_scores, place = (
            each.numpy() for each in _ranked(engagement, relevance, tf.constant(take))
        )
        for setting, weight in enumerate(weights):
            chosen = _parts(place, slots_by_trigger(vectors, trigger[part], weight, k)[:, np.newaxis], k)
            blended = (np.float32(1.0 - weight)) * engagement_scores + np.float32(weight) * relevance_scores
            order = np.argsort(np.where(chosen, -blended, np.inf), axis=1, kind="stable")[:, :take]
            found[setting, part, :take] = np.take_along_axis(rows, order, axis=1)
    return found


def _parts(place: NDArray[np.int32], slots: NDArray[np.int64], k: int) -> NDArray[np.bool_]:
    """Which of each head's n best, [b, n] and [b, n] side by side, are answers.

    Args:
      place: int32 [b, n], where the relevance head's best stand among the engagement head's; n for nowhere.
      slots: [b, 1], answers of the relevance head.
      k: K.
    """
    rest = place >= k - slots
    return np.concatenate([np.arange(place.shape[1]) < k - slots, rest & (np.cumsum(rest, axis=1) <= slots)], axis=1)


@tf.function(reduce_retracing=True, autograph=False)
def _ranked(engagement: Any, relevance: Any, take: Any) -> Any:
    """Both heads' best n, [b, 2n] side by side, both scores of them, and the place of the second among the first."""
    best = tf.math.top_k(engagement, k=take).indices
    other = tf.math.top_k(relevance, k=take).indices
    rows = tf.concat([best, other], axis=1)
    shape = tf.shape(engagement)
    cells = tf.stack([tf.broadcast_to(tf.range(shape[0])[:, tf.newaxis], tf.shape(best)), best], axis=2)
    places = tf.broadcast_to(tf.range(take)[tf.newaxis, :], tf.shape(best))
    table = tf.tensor_scatter_nd_update(tf.fill(shape, take), cells, places)
    return (
        rows,
        tf.gather(engagement, rows, batch_dims=1),
        tf.gather(relevance, rows, batch_dims=1),
        tf.gather(table, other, batch_dims=1),
    )
