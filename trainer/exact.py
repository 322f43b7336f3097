"""Exact, blocked retrieval with the vectors of two heads."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trainer.best import Best, column_tiles, in_parallel
from trainer.model import ItemVectors


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
    settings = [np.float32(weight) for weight in weights]

    def search(part: slice) -> None:
        rows = trigger[part]
        by_engagement, by_relevance = vectors.engagement_trigger[rows], vectors.relevance[rows]
        best = [Best(len(rows), take) for _ in settings]
        for tile in column_tiles(len(vectors.relevance), take):
            engagement = by_engagement @ vectors.engagement_candidate[tile].T
            relevance = by_relevance @ vectors.relevance[tile].T
            blended, share = np.empty_like(engagement), np.empty_like(engagement)
            for weight, chosen in zip(settings, best, strict=True):
                np.multiply(engagement, np.float32(1.0) - weight, out=blended)
                np.multiply(relevance, weight, out=share)
                blended += share
                _hide(blended, rows, tile)
                chosen.offer(blended, tile.start)
        for setting, chosen in enumerate(best):
            found[setting, part, :take] = chosen.columns()

    in_parallel(search, len(trigger))
    return found


def nearest(
    queries: NDArray[np.float32], candidates: NDArray[np.float32], *, k: int, exclude: NDArray[np.int64]
) -> NDArray[np.int32]:
    """The K candidates of largest dot product, int32 [T, K]: [T, d] against [N, d], never candidate ``exclude[t]``.

    A negative ``exclude[t]`` excludes none; lists are shorter where there are fewer candidates, padded by -1.
    """
    found = np.full((len(queries), k), -1, dtype=np.int32)
    take = min(k, len(candidates))
    if take <= 0 or not len(queries):
        return found

    def search(part: slice) -> None:
        own, excluded = queries[part], exclude[part]
        best = Best(len(own), take)
        for tile in column_tiles(len(candidates), take):
            scores = own @ candidates[tile].T
            _hide(scores, excluded, tile)
            best.offer(scores, tile.start)
        found[part, :take] = best.columns()

    in_parallel(search, len(queries))
    return found


def _hide(scores: NDArray[np.float32], excluded: NDArray[np.int64], tile: slice) -> None:
    """Puts the score of each row's excluded column, where it is in the tile, below all others."""
    row = np.flatnonzero((excluded >= tile.start) & (excluded < tile.stop))
    scores[row, excluded[row] - tile.start] = -np.inf
