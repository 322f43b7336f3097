"""Metrics of item-to-item retrieval, as functions of ranks and retrieved lists.

Names of metrics are constants of this module; tables, JSON and TensorBoard tags use them. What is summed over trigger
occasions to get each of them is in `trainer.statistics`.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

RECALL: Final = "recall"
NDCG: Final = "ndcg"
MRR: Final = "mrr"
RECALL_COLD: Final = "recall_cold"
RELEVANCE: Final = "relevance"
TOPIC_MATCH: Final = "topic_match"
COVERAGE: Final = "coverage"
TAIL_SHARE: Final = "tail_share"
POPULAR_SHARE: Final = "popular_share"
NOVELTY: Final = "novelty"
DIVERSITY: Final = "diversity"
ANNOTATION_NDCG: Final = "annotation_ndcg"
"""Of graded pairs, not of retrieved lists: none of `METRICS`."""

METRICS: Final = (
    RECALL, NDCG, MRR, RECALL_COLD, RELEVANCE, TOPIC_MATCH, COVERAGE, TAIL_SHARE, POPULAR_SHARE, NOVELTY, DIVERSITY,
)  # fmt: skip

_BLOCK_VALUES: Final = 16_000_000
"""Values held at a time, 64 MB, whatever K and the length of the vectors."""
_TABLE_GAIN: Final = 16
"""Comparing a trigger with this many items of a whole catalogue takes no longer than with one item picked from it."""


def target_ranks(retrieved: NDArray[np.int32], row: NDArray[np.int64], target: NDArray[np.int64]) -> NDArray[np.int32]:
    """Rank from 0 of each target in the list retrieved for its trigger; K where it is not in it.

    Args:
      retrieved: [T, K], item indexes in order; negative where a list is shorter.
      row: [P], which list each (trigger, target) pair looks at.
      target: [P], item index.

    >>> target_ranks(np.array([[4, 7, 9]], np.int32), np.array([0, 0]), np.array([7, 5]))
    array([1, 3], dtype=int32)
    """
    k = retrieved.shape[1]
    ranks = np.full(len(row), k, dtype=np.int32)
    block = max(1, _BLOCK_VALUES // k)
    for start in range(0, len(row), block):
        part = slice(start, start + block)
        equal = retrieved[row[part]] == target[part, np.newaxis]
        found = equal.any(axis=1)
        ranks[part][found] = equal.argmax(axis=1)[found]
    return ranks


def hits(ranks: NDArray[np.int32], k: int) -> NDArray[np.float64]:
    """1 where a pair's target is among the K retrieved, else 0; recall@K is the mean over pairs.

    >>> hits(np.array([0, 2, 3], np.int32), k=3)
    array([1., 1., 0.])
    """
    return (ranks < k).astype(np.float64)


def reciprocal_ranks(ranks: NDArray[np.int32], k: int) -> NDArray[np.float64]:
    """1 / (rank + 1), 0 where the target is not among the K retrieved; MRR@K is the mean over pairs.

    >>> reciprocal_ranks(np.array([0, 1, 3], np.int32), k=3)
    array([1. , 0.5, 0. ])
    """
    return np.where(ranks < k, 1.0 / (ranks + 1.0), 0.0)


def discounted_gains(ranks: NDArray[np.int32], k: int) -> NDArray[np.float64]:
    """1 / log2(rank + 2), 0 where the target is not among the K retrieved.

    NDCG@K is the mean over occasions of DCG, the sum of these over the occasion's targets, over `ideal_gains`
    (Järvelin and Kekäläinen, TOIS 2002, with binary gains).

    >>> discounted_gains(np.array([0, 2, 3], np.int32), k=3)
    array([1. , 0.5, 0. ])
    """
    return np.where(ranks < k, 1.0 / np.log2(ranks + 2.0), 0.0)


def ideal_gains(targets: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """The largest DCG@K that an occasion with so many targets admits.

    >>> ideal_gains(np.array([0, 1, 2, 9]), k=2).round(4)
    array([0.    , 1.    , 1.6309, 1.6309])
    """
    best: NDArray[np.float64] = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(k) + 2.0))])
    return np.take(best, np.minimum(targets, k))


def annotation_ndcg(
    trigger: NDArray[np.int64], grade: NDArray[np.float32], score: NDArray[np.float32]
) -> NDArray[np.float64]:
    """NDCG of each trigger's graded items in the order of their scores; the metric is the mean over triggers.

    DCG = sum of grade / log2(rank + 2), ranks from 0, over the DCG of the items in the order of their grades (Järvelin
    and Kekäläinen, TOIS 2002). Items of equal score share their grades, which is the mean over the orders that they
    can be in (McSherry and Najork, ECIR 2008).

    Args:
      trigger: [P], item index of each graded pair.
      grade: [P], from 0.
      score: [P], larger is better.

    Returns:
      [G], triggers in ascending order; those whose items are all graded alike can be ranked no better or worse, and
      are left out.

    >>> annotation_ndcg(np.array([7, 7, 7]), np.array([0.5, 0.0, 1.0]), np.array([0.9, 0.8, 0.1])).round(4)
    array([0.7602])
    """
    triggers, row = np.unique(trigger, return_inverse=True)
    length = np.bincount(row, minlength=len(triggers))
    rank = np.arange(len(row)) - np.repeat(np.cumsum(length) - length, length)

    def gained(order: NDArray[np.int64], gain: NDArray[np.float64]) -> NDArray[np.float64]:
        sums: NDArray[np.float64] = np.zeros(len(triggers))
        np.add.at(sums, row[order], gain / np.log2(rank + 2.0))
        return sums

    by_score, by_grade = np.lexsort((-score, row)), np.lexsort((-grade, row))
    _, tied = np.unique(np.stack([row, score]), axis=1, return_inverse=True)
    tied = tied.ravel()
    shared = np.bincount(tied, weights=grade) / np.maximum(np.bincount(tied), 1)
    ideal = gained(by_grade, grade[by_grade].astype(np.float64))
    last = np.cumsum(length) - 1
    differs = grade[by_grade][last - length + 1] > grade[by_grade][last]
    share: NDArray[np.float64] = gained(by_score, shared[tied][by_score])[differs] / ideal[differs]
    return share


def relevance(
    trigger: NDArray[np.int64], retrieved: NDArray[np.int32], content: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Mean teacher cosine between each trigger and what was retrieved for it.

    Args:
      trigger: [T], item index.
      retrieved: [..., T, K], item indexes; negative pads.
      content: [N, D], L2-normalised rows; a zero row has cosine 0 to all.

    Returns:
      [..., T]; NaN where the teacher does not know the trigger or nothing was retrieved.
    """

    def cosine(left: NDArray[np.int64], slots: NDArray[np.int32]) -> NDArray[np.float32]:
        if len(content) <= _TABLE_GAIN * slots.shape[1]:
            return np.take_along_axis(content[left] @ content.T, slots, axis=1)
        return np.asarray(np.einsum("td,tsd->ts", content[left], content[slots]))

    means = _mean_over_slots(trigger, retrieved, cosine, content.shape)
    means[..., ~content[trigger].any(axis=1)] = np.nan
    return means


def topic_match(
    trigger: NDArray[np.int64], retrieved: NDArray[np.int32], categories: scipy.sparse.csr_matrix
) -> NDArray[np.float64]:
    """Mean Jaccard overlap of category sets between each trigger and what was retrieved for it.

    Args:
      trigger: [T], item index.
      retrieved: [..., T, K], item indexes; negative pads.
      categories: [N, C], 1 where the item is in the category.

    Returns:
      [..., T]; NaN where the trigger has no category or nothing was retrieved.
    """
    sizes = np.asarray(categories.sum(axis=1)).ravel()

    def jaccard(left: NDArray[np.int64], slots: NDArray[np.int32]) -> NDArray[np.float32]:
        if len(sizes) <= _TABLE_GAIN * slots.shape[1]:
            shared = np.take_along_axis((categories[left] @ categories.T).toarray(), slots, axis=1)
        else:
            both = categories[np.repeat(left, slots.shape[1])].multiply(categories[slots.ravel()])
            shared = np.asarray(both.sum(axis=1)).reshape(slots.shape)
        union = sizes[left, np.newaxis] + sizes[slots] - shared
        overlap: NDArray[np.float32] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
        return overlap

    means = _mean_over_slots(trigger, retrieved, jaccard, (len(sizes), 64))  # an entry costs dozens of values here
    means[..., sizes[trigger] == 0] = np.nan
    return means


def diversity(retrieved: NDArray[np.int32], content: NDArray[np.float32]) -> NDArray[np.float64]:
    """Intra-list diversity: mean of 1 - teacher cosine over the pairs of items in a list (Ziegler et al., WWW 2005).

    Of n unit vectors with sum s the mean cosine of two is ``(s . s - n) / (n (n - 1))``.

    Args:
      retrieved: [T, K], item indexes; negative pads.
      content: [N, D], L2-normalised rows; items with a zero row are left out.

    Returns:
      [T]; NaN where fewer than two of a list are known to the teacher.

    >>> diversity(np.array([[0, 1, 2], [0, 0, -1]], np.int32), np.array([[1, 0], [0, 1], [-1, 0]], np.float32)).round(3)
    array([1.333, 0.   ])
    """
    known = content.any(axis=1)
    values = np.full(len(retrieved), np.nan)
    block = max(1, _BLOCK_VALUES // content.shape[1])
    for start in range(0, len(retrieved), block):
        lists = retrieved[start : start + block]
        counted = (lists >= 0) & known[np.maximum(lists, 0)]
        number = counted.sum(axis=1)
        splits = np.concatenate([[0], np.cumsum(number)])
        picked = scipy.sparse.csr_matrix(
            (np.ones(splits[-1], np.float32), lists[counted], splits), shape=(len(lists), len(content))
        )
        total = np.asarray(picked @ content, dtype=np.float64)
        cosine = (np.einsum("td,td->t", total, total) - number) / np.maximum(number * (number - 1.0), 1.0)
        values[start : start + block] = np.where(number > 1, 1.0 - cosine, np.nan)
    return values


def self_information(interaction_count: NDArray[np.int64]) -> NDArray[np.float64]:
    """-log2 of the share of all interactions that an item has, with one added to each item's, in bits, [N].

    The mean over the retrieved is their novelty (Zhou et al., PNAS 2010; Vargas and Castells, RecSys 2011).

    >>> self_information(np.array([3, 0, 0, 1]))
    array([1., 3., 3., 2.])
    """
    smoothed = interaction_count + 1.0
    bits: NDArray[np.float64] = np.log2(smoothed.sum()) - np.log2(smoothed)
    return bits


def tail_items(interaction_count: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """Marks the least engaged ``share`` of the catalogue, [N]; ties go by index.

    >>> tail_items(np.array([5, 0, 9, 1]), 0.5)
    array([False,  True, False,  True])
    """
    order = np.argsort(interaction_count, kind="stable")
    tail = np.zeros(len(order), dtype=np.bool_)
    tail[order[: int(len(order) * share)]] = True
    return tail


def _mean_over_slots(
    trigger: NDArray[np.int64],
    retrieved: NDArray[np.int32],
    compare: Callable[[NDArray[np.int64], NDArray[np.int32]], NDArray[np.float32]],
    shape: tuple[int, ...],
) -> NDArray[np.float64]:
    """Mean of ``compare(trigger [t], items [t, S]) -> [t, S]`` over the real slots of each list, [..., T].

    The lists that several settings of the dial give for a trigger are compared at once. ``shape``: items, and values
    that comparing one picked item costs.
    """
    lists = retrieved.reshape(-1, *retrieved.shape[-2:])
    settings, _, k = lists.shape
    means = np.full(lists.shape[:2], np.nan)
    slots = settings * k
    values = shape[0] if shape[0] <= _TABLE_GAIN * slots else slots * shape[1]
    block = max(1, _BLOCK_VALUES // max(values, slots))
    for start in range(0, len(trigger), block):
        part = slice(start, start + block)
        by_trigger = lists[:, part].transpose(1, 0, 2)
        found = compare(trigger[part], np.maximum(by_trigger, 0).reshape(-1, slots)).reshape(by_trigger.shape)
        real = by_trigger >= 0
        count = real.sum(axis=2)
        total = np.where(real, found, 0.0).sum(axis=2)
        means[:, part] = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0).T
    return means.reshape(retrieved.shape[:-1])
