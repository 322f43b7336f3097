"""The retrieval graph: ids in, answers out, over vectors, index and id table of one catalogue."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from preprocessing.backend import tf
from serving import merge
from serving.index import IndexPlan, ScannIndex
from serving.signatures import (
    MAX_EXCLUSIONS,
    MAX_TRIGGERS,
    SOURCE_BOTH,
    SOURCE_ENGAGEMENT,
    SOURCE_POPULAR,
    SOURCE_RELEVANCE,
)
from trainer.model import ItemVectors

_ROUNDING: Final = 1e-6
"""Largest difference between two float32 dot products of the same unit vectors."""
_OVERSAMPLING: Final = 4
"""Candidates that the tree asks of each head for one wanted: the blend's best are not each head's own best."""


@dataclasses.dataclass(frozen=True)
class RetrievalDefaults:
    """What a request gets that does not say otherwise: k answers at the dial's setting, never above ``max_k``."""

    k: int
    relevance_weight: float
    max_k: int
    trigger_decay: float


class _Found(NamedTuple):
    """The blend's best candidates of a batch, [B, K] each, and both heads' scores of them."""

    candidates: Any
    score: Any
    engagement: Any
    relevance: Any
    engagement_threshold: Any
    relevance_threshold: Any


@dataclasses.dataclass(frozen=True)
class _Query:
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


class Retriever(tf.Module):
    """Answers requests over one catalogue of N items."""

    def __init__(
        self,
        ids: Sequence[str],
        vectors: ItemVectors,
        interaction_count: NDArray[np.int64],
        plan: IndexPlan,
        defaults: RetrievalDefaults,
        id_file: Path,
    ) -> None:
        """Builds the index.

        Args:
          ids: N item ids.
          vectors: of the N items.
          interaction_count: int64 [N], what is popular.
          plan: parameters of the index.
          defaults: what requests may leave open.
          id_file: written with the ids, a line each; the SavedModel copies it as an asset.

        Raises:
          ValueError: there is no item, or an id is empty or holds a line break, which the file could not keep apart.
        """
        super().__init__(name="retriever")
        unfit = next((item_id for item_id in ids if not item_id or "\n" in item_id), None)
        if unfit is not None or not ids:
            raise ValueError(f"item id {unfit!r} cannot be looked up" if ids else "a catalogue needs at least one item")
        self._defaults = defaults
        self._plan = plan
        self.num_items = len(ids)
        self._dimension = vectors.relevance.shape[1]
        id_file.write_bytes("".join(f"{item_id}\n" for item_id in ids).encode())
        self._rows = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                str(id_file),
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
            ),
            default_value=-1,
        )
        self._ids = tf.Variable(list(ids), trainable=False, name="item_ids")
        self._trigger = tf.Variable(vectors.engagement_trigger, trainable=False, name="engagement_trigger")
        both = np.concatenate([vectors.engagement_candidate, vectors.relevance], axis=1)
        self._candidates = tf.Variable(both, trainable=False, name="candidates")
        order = np.argsort(-interaction_count, kind="stable")
        share = interaction_count[order] / max(1, int(interaction_count.sum()))
        self._popular = tf.Variable(order.astype(np.int32), trainable=False, name="popular")
        self._popular_share = tf.Variable(share.astype(np.float32), trainable=False, name="popular_share")
        if plan.kind == "exact":
            self._index = ScannIndex(plan, name="blend_index").index(both)
        else:
            self._engagement_index = ScannIndex(plan, name="engagement_index").index(vectors.engagement_candidate)
            self._relevance_index = ScannIndex(plan, name="relevance_index").index(vectors.relevance)

    def search_with(self, plan: IndexPlan) -> None:
        """Searches the same index as ``plan`` says from now on; its kind and leaves have to be those of the index."""
        if plan.kind == "tree":
            self._engagement_index.search_with(plan)
            self._relevance_index.search_with(plan)
        self._plan = plan

    # --- what the signatures call -------------------------------------------------------------------------------

    def retrieve(self, item_id: Any, relevance_weight: Any, k: Any, exclude_id: Any) -> dict[str, Any]:
        """Answers the ``retrieve`` signature; see `serving.signatures` for shapes."""
        tf.debugging.assert_less_equal(
            tf.shape(exclude_id)[1], MAX_EXCLUSIONS, message=f"exclude_id holds more than {MAX_EXCLUSIONS} ids a row"
        )
        rows = self.rows_of(item_id)
        banned = tf.concat([rows, self.rows_of(exclude_id)], axis=1)
        merged = merge.leading(rows, MAX_TRIGGERS)
        weights = merge.position_weights(merged >= 0, self._defaults.trigger_decay)[:, :, tf.newaxis]
        safe = tf.maximum(merged, 0)
        engagement = tf.reduce_sum(weights * tf.gather(self._trigger, safe), axis=1)
        relevance = tf.reduce_sum(weights * tf.gather(self._candidates, safe)[:, :, self._dimension :], axis=1)
        return self.answer(engagement, relevance, relevance_weight, k, banned, tf.reduce_any(rows >= 0, axis=1))

    def retrieve_default(self, item_id: Any) -> dict[str, Any]:
        """Answers the ``serving_default`` signature: string [B] at the exported k and weight."""
        size = tf.shape(item_id)
        return self.retrieve(
            item_id[:, tf.newaxis], tf.fill(size, np.nan), tf.fill(size, -1), tf.fill([size[0], 1], "")
        )

    def embed(self, item_id: Any) -> dict[str, Any]:
        """Answers the ``embed`` signature: string [B] to vectors [B, d], zero for unknown ids."""
        rows = self.rows_of(item_id)
        known = tf.cast(rows >= 0, tf.float32)[:, tf.newaxis]
        candidates = known * tf.gather(self._candidates, tf.maximum(rows, 0))
        return {
            "engagement_trigger": known * tf.gather(self._trigger, tf.maximum(rows, 0)),
            "engagement_candidate": candidates[:, : self._dimension],
            "relevance": candidates[:, self._dimension :],
        }

    def rows_of(self, item_id: Any) -> Any:
        """Catalogue rows of ids of any shape, int32; -1 for unknown and empty ids."""
        return tf.cast(self._rows.lookup(item_id), tf.int32)

    def answer(
        self, engagement: Any, relevance: Any, relevance_weight: Any, k: Any, banned: Any, askable: Any
    ) -> dict[str, Any]:
        """Retrieves with query vectors.

        Args:
          engagement: float32 [B, d], trigger vectors of the engagement head.
          relevance: float32 [B, d], of the relevance head.
          relevance_weight: float32 [B]; NaN means the default, others are clipped to [0, 1].
          k: int32 [B]; negative means the default, others are bounded by ``max_k``.
          banned: int32 [B, n], rows that no answer may hold; -1 pads.
          askable: bool [B]; where False the answer is what is popular.
        """
        query = self._query(engagement, relevance, relevance_weight, k, banned)
        weight, k, size = query.weight, query.k, query.size
        found = self._blend(query)
        popular_score, popular = self._most_popular(query)

        asked = askable[:, tf.newaxis]
        candidates = tf.where(asked, found.candidates, popular)
        real = (candidates >= 0) & (tf.range(size)[tf.newaxis, :] < k[:, tf.newaxis])
        return {
            "item_id": tf.where(real, tf.gather(self._ids, tf.maximum(candidates, 0)), ""),
            "score": tf.where(real, tf.where(asked, found.score, popular_score), 0.0),
            "engagement_score": tf.where(real & asked, found.engagement, 0.0),
            "relevance_score": tf.where(real & asked, found.relevance, 0.0),
            "source": tf.where(real, tf.where(asked, _source(found, weight), SOURCE_POPULAR), ""),
            "count": tf.reduce_sum(tf.cast(real, tf.int32), axis=1),
        }

    # --- search -------------------------------------------------------------------------------------------------

    def search(self, engagement: Any, relevance: Any, relevance_weight: Any, k: Any, banned: Any) -> Any:
        """The catalogue rows that `answer` names: int32 [B, K]; -1 where a row has fewer than K."""
        return self._blend(self._query(engagement, relevance, relevance_weight, k, banned)).candidates

    def _query(self, engagement: Any, relevance: Any, relevance_weight: Any, k: Any, banned: Any) -> _Query:
        weight = tf.where(tf.math.is_nan(relevance_weight), self._defaults.relevance_weight, relevance_weight)
        k = tf.minimum(tf.where(k < 0, self._defaults.k, k), self._defaults.max_k)
        size = tf.reduce_max(tf.concat([k, [0]], axis=0))
        distinct = merge.count_distinct(banned)
        wanted = size + tf.reduce_max(tf.concat([distinct, [0]], axis=0))
        return _Query(
            engagement=engagement,
            relevance=relevance,
            weight=tf.clip_by_value(weight, 0.0, 1.0)[:, tf.newaxis],
            k=k,
            size=size,
            banned=banned,
            wanted=tf.clip_by_value(wanted, 1, self.num_items),
            possible=tf.minimum(k, self.num_items - distinct),
        )

    def _blend(self, query: _Query) -> _Found:
        """The blend's best: by the index, and by a scan of all where the tree may not or did not find enough."""
        wanted = query.wanted
        if self._plan.kind == "exact":
            return self._ranked(query, *self._stacked(query, lambda queries: self._index(queries, k=wanted)[1]))

        def by_tree() -> _Found:
            enough = tf.minimum(tf.maximum(_OVERSAMPLING * wanted, self._plan.reorder), self.num_items)
            _, by_engagement = self._engagement_index(query.engagement, k=enough)
            _, by_relevance = self._relevance_index(query.relevance, k=enough)
            union = merge.without_repeats(by_engagement, by_relevance)
            return self._ranked(query, union, by_engagement, by_relevance)

        def by_scan() -> _Found:
            def nearest(queries: Any) -> Any:
                return tf.math.top_k(tf.matmul(queries, self._candidates, transpose_b=True), k=wanted).indices

            return self._ranked(query, *self._stacked(query, nearest))

        searched = self.num_items * self._plan.leaves_to_search // self._plan.leaves
        found = tf.cond(_OVERSAMPLING * wanted <= searched // 2, by_tree, by_scan)
        filled = tf.reduce_sum(tf.cast(found.candidates >= 0, tf.int32), axis=1)
        answer: _Found = tf.cond(tf.reduce_all(filled >= query.possible), lambda: found, by_scan)
        return answer

    def _stacked(self, query: _Query, nearest: Callable[[Any], Any]) -> list[Any]:
        """Candidates of the blend and of each head, int32 [B, m] each, by one search of the concatenated vectors.

        Args:
          query: the batch.
          nearest: from queries float32 [3 B, 2 d] to the rows of their nearest candidates, int32 [3 B, m].
        """
        engagement, relevance, weight = query.engagement, query.relevance, query.weight
        rows = nearest(
            tf.concat(
                [
                    tf.concat([(1.0 - weight) * engagement, weight * relevance], axis=1),
                    tf.concat([engagement, tf.zeros_like(relevance)], axis=1),
                    tf.concat([tf.zeros_like(engagement), relevance], axis=1),
                ],
                axis=0,
            )
        )
        return list(tf.split(rows, 3, axis=0))

    def _ranked(self, query: _Query, candidates: Any, by_engagement: Any, by_relevance: Any) -> _Found:
        """Exact scores of the candidates, the best of them, and what each head's own top-k asks for.

        Args:
          query: the batch.
          candidates: int32 [B, m], of the blend, without repeats; -1 pads.
          by_engagement: int32 [B, n], the engagement head's own nearest; -1 pads.
          by_relevance: int32 [B, n], the relevance head's.
        """
        weight = query.weight
        engagement_scores, relevance_scores = self._head_scores(query, candidates)
        allowed = (candidates >= 0) & ~merge.contains(query.banned, candidates)
        blended = (1.0 - weight) * engagement_scores + weight * relevance_scores
        score, chosen, engagement, relevance = merge.best(
            blended, candidates, allowed, query.size, engagement_scores, relevance_scores
        )
        return _Found(
            candidates=chosen,
            score=score,
            engagement=engagement,
            relevance=relevance,
            engagement_threshold=self._own_threshold(query, query.engagement, by_engagement, 0),
            relevance_threshold=self._own_threshold(query, query.relevance, by_relevance, 1),
        )

    def _own_threshold(self, query: _Query, vectors: Any, rows: Any, head: int) -> Any:
        """The score that an item needs to be in a head's own top-k, [B, 1]; +inf for a head that has no vector."""
        scores = self._head_scores(query, rows)[head]
        fit = (rows >= 0) & ~merge.contains(query.banned, rows)
        least = merge.threshold(merge.best(scores, rows, fit, query.size)[0], query.k)
        return tf.where(tf.reduce_any(vectors != 0.0, axis=1, keepdims=True), least, math.inf)

    def _head_scores(self, query: _Query, rows: Any) -> tuple[Any, Any]:
        """Both heads' scores of catalogue rows, int32 [B, m], float32 [B, m] each; negative rows count as row 0."""
        vectors = tf.gather(self._candidates, tf.maximum(rows, 0))
        return (
            tf.linalg.matvec(vectors[:, :, : self._dimension], query.engagement),
            tf.linalg.matvec(vectors[:, :, self._dimension :], query.relevance),
        )

    def _most_popular(self, query: _Query) -> tuple[Any, Any]:
        """Popularity share and rows of the most engaged items that are not banned, [B, K]."""
        shape = tf.stack([tf.shape(query.banned)[0], query.wanted])
        rows = tf.broadcast_to(self._popular[: query.wanted][tf.newaxis, :], shape)
        shares = tf.broadcast_to(self._popular_share[: query.wanted][tf.newaxis, :], shape)
        shares, rows = merge.best(shares, rows, ~merge.contains(query.banned, rows), query.size)
        return shares, rows


def _source(found: _Found, weight: Any) -> Any:
    """Which head's own top-k would hold each item; for neither, the head with the larger weighted share."""
    by_engagement = found.engagement >= found.engagement_threshold - _ROUNDING
    by_relevance = found.relevance >= found.relevance_threshold - _ROUNDING
    larger = (1.0 - weight) * found.engagement >= weight * found.relevance
    single = tf.where(by_engagement == by_relevance, larger, by_engagement)
    name = tf.where(single, SOURCE_ENGAGEMENT, SOURCE_RELEVANCE)
    return tf.where(by_engagement & by_relevance, SOURCE_BOTH, name)
