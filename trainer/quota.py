"""Quota: of K answers at weight w, so many are the relevance head's and the others the engagement head's.

The blend asks for the items of largest mixed score; what is good for one head alone has to outscore what is middling
for both. The quota takes each head at its word: round(w K) answers, halves up, are the relevance head's best that the
engagement head's part does not hold, and that part is its best of the other K - round(w K). No item is in both parts. A
head without a vector for the trigger leaves all to the other. The list is in the order of the blend's score at w, as a
blended one is, so that a score means the same in both.

`serving.merge` does the same in the graph.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trainer.exact import nearest
from trainer.model import ItemVectors

HALF_UP: Final = 0.5005
"""Added before the floor: a half goes up, also one such as .29 x 50 that float32 brings a little below."""
_BLOCK_VALUES: Final = 4_000_000
"""Values of answers' vectors that are scored at a time: 16 MB for each head."""


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
    best = nearest(vectors.engagement_trigger[trigger], vectors.engagement_candidate, k=take, exclude=trigger)
    other = nearest(vectors.relevance[trigger], vectors.relevance, k=take, exclude=trigger)
    block = max(1, _BLOCK_VALUES // (2 * take * vectors.relevance.shape[1]))
    for start in range(0, len(trigger), block):
        part = slice(start, start + block)
        asked, rows = trigger[part], np.concatenate([best[part], other[part]], axis=1)
        engagement = _scores(vectors.engagement_trigger[asked], vectors.engagement_candidate[rows])
        relevance = _scores(vectors.relevance[asked], vectors.relevance[rows])
        place = _places(other[part], best[part])
        for setting, weight in enumerate(weights):
            chosen = _parts(place, slots_by_trigger(vectors, asked, weight, k)[:, np.newaxis], k)
            blended = np.float32(1.0 - weight) * engagement + np.float32(weight) * relevance
            order = np.argsort(np.where(chosen, -blended, np.inf), axis=1, kind="stable")[:, :take]
            found[setting, part, :take] = np.take_along_axis(rows, order, axis=1)
    return found


def _scores(queries: NDArray[np.float32], candidates: NDArray[np.float32]) -> NDArray[np.float32]:
    """Dot products [b, m] of queries [b, d] with candidates of their own, [b, m, d]."""
    scores: NDArray[np.float32] = np.einsum("bd,bmd->bm", queries, candidates)
    return scores


def _places(items: NDArray[np.int32], best: NDArray[np.int32]) -> NDArray[np.int64]:
    """Where items [b, n] stand among the best [b, n] of their row; n for nowhere."""
    first = np.arange(len(best))[:, np.newaxis] * (np.int64(1) + max(items.max(), best.max()))
    keys, wanted = (first + best).ravel(), first + items
    order = np.argsort(keys)
    place = order[np.minimum(np.searchsorted(keys, wanted, sorter=order), len(order) - 1)]
    return np.where(keys[place] == wanted, place % best.shape[1], best.shape[1])


def _parts(place: NDArray[np.int64], slots: NDArray[np.int64], k: int) -> NDArray[np.bool_]:
    """Which of each head's n best, [b, n] and [b, n] side by side, are answers.

    Args:
      place: [b, n], where the relevance head's best stand among the engagement head's; n for nowhere.
      slots: [b, 1], answers of the relevance head.
      k: K.
    """
    rest = place >= k - slots
    return np.concatenate([np.arange(place.shape[1]) < k - slots, rest & (np.cumsum(rest, axis=1) <= slots)], axis=1)
