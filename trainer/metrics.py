"""Metrics of item-to-item retrieval, as functions of ranks and retrieved lists.

Names of metrics are constants of this module; tables, JSON and TensorBoard tags use them.
"""

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

_BLOCK_VALUES: Final = 16_000_000
"""Values held at a time, 64 MB, whatever K and the length of the vectors."""

METRICS: Final = (RECALL, NDCG, MRR, RECALL_COLD, RELEVANCE, TOPIC_MATCH, COVERAGE, TAIL_SHARE)


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
        hits = retrieved[row[part]] == target[part, np.newaxis]
        found = hits.any(axis=1)
        ranks[part][found] = hits.argmax(axis=1)[found]
    return ranks


def recall(ranks: NDArray[np.int32], k: int) -> float:
    """Share of (trigger, target) pairs whose target is among the K retrieved.

    >>> recall(np.array([0, 2, 3], np.int32), k=3)
    0.6666666666666666
    """
    return float((ranks < k).mean()) if len(ranks) else 0.0


def mrr(ranks: NDArray[np.int32], k: int) -> float:
    """Mean of 1 / (rank + 1) over pairs, 0 for a target that is not among the K retrieved.

    >>> mrr(np.array([0, 1, 3], np.int32), k=3)
    0.5
    """
    return float(np.where(ranks < k, 1.0 / (ranks + 1.0), 0.0).mean()) if len(ranks) else 0.0


def ndcg(ranks: NDArray[np.int32], occasion: NDArray[np.int64], k: int) -> float:
    """Mean over occasions of DCG@K / ideal DCG@K with binary gains.

    ``DCG = sum over targets 1 / log2(rank + 2)`` (Järvelin and Kekäläinen, TOIS 2002).

    Args:
      ranks: [P], rank from 0 of each pair's target.
      occasion: [P], which occurrence of a trigger the pair belongs to, non-decreasing.
      k: length of the lists.

    >>> round(ndcg(np.array([0, 3, 0], np.int32), np.array([0, 0, 1]), k=3), 4)
    0.8066
    """
    if not len(ranks):
        return 0.0
    gains = np.where(ranks < k, 1.0 / np.log2(ranks + 2.0), 0.0)
    _, group = np.unique(occasion, return_inverse=True)
    targets = np.minimum(np.bincount(group), k)
    ideal = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(k) + 2.0))])[targets]
    return float((np.bincount(group, weights=gains) / ideal).mean())


def relevance(
    trigger: NDArray[np.int64], retrieved: NDArray[np.int32], content: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Mean teacher cosine between each trigger and what was retrieved for it.

    Args:
      trigger: [T], item index.
      retrieved: [T, K], item indexes; negative pads.
      content: [N, D], L2-normalised rows; a zero row has cosine 0 to all.

    Returns:
      [T]; NaN where the teacher does not know the trigger or nothing was retrieved.
    """
    means = np.full(len(trigger), np.nan)
    block = max(1, _BLOCK_VALUES // (retrieved.shape[1] * content.shape[1]))
    for start in range(0, len(trigger), block):
        part = slice(start, start + block)
        lists = retrieved[part]
        cosine = np.einsum("td,tkd->tk", content[trigger[part]], content[np.maximum(lists, 0)])
        means[part] = _mean_of_real(cosine, lists)
    means[~content[trigger].any(axis=1)] = np.nan
    return means


def topic_match(
    trigger: NDArray[np.int64], retrieved: NDArray[np.int32], categories: scipy.sparse.csr_matrix
) -> NDArray[np.float64]:
    """Mean Jaccard overlap of category sets between each trigger and what was retrieved for it.

    Args:
      trigger: [T], item index.
      retrieved: [T, K], item indexes; negative pads.
      categories: [N, C], 1 where the item is in the category.

    Returns:
      [T]; NaN where the trigger has no category or nothing was retrieved.
    """
    sizes = np.asarray(categories.sum(axis=1)).ravel()
    means = np.full(len(trigger), np.nan)
    block = max(1, _BLOCK_VALUES // (retrieved.shape[1] * 64))  # a list's entry costs dozens of values here
    for start in range(0, len(trigger), block):
        part = slice(start, start + block)
        lists = retrieved[part]
        left = np.repeat(trigger[part], lists.shape[1])
        right = np.maximum(lists, 0).ravel()
        shared = np.asarray(categories[left].multiply(categories[right]).sum(axis=1)).ravel()
        union = sizes[left] + sizes[right] - shared
        jaccard = np.divide(shared, union, out=np.zeros(len(shared)), where=union > 0)
        means[part] = _mean_of_real(jaccard.reshape(lists.shape), lists)
    means[sizes[trigger] == 0] = np.nan
    return means


def tail_items(interaction_count: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """Marks the least engaged ``share`` of the catalogue, [N]; ties go by index.

    >>> tail_items(np.array([5, 0, 9, 1]), 0.5)
    array([False,  True, False,  True])
    """
    order = np.argsort(interaction_count, kind="stable")
    tail = np.zeros(len(order), dtype=np.bool_)
    tail[order[: int(len(order) * share)]] = True
    return tail


def _mean_of_real(values: NDArray[np.float64], lists: NDArray[np.int32]) -> NDArray[np.float64]:
    real = lists >= 0
    count = real.sum(axis=1)
    total = np.where(real, values, 0.0).sum(axis=1)
    return np.divide(total, count, out=np.full(len(lists), np.nan), where=count > 0)
