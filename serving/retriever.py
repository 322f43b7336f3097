"""The retrieval graph: ids in, answers out, over vectors, index and id table of one catalogue."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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

_ROUNDING = 1e-6
"""Largest difference between two float32 dot products of the same unit vectors."""


@dataclasses.dataclass(frozen=True)
class RetrievalDefaults:
    """What a request gets that does not say otherwise: k answers at the dial's setting, never above ``max_k``."""

    k: int
    relevance_weight: float
    max_k: int
    trigger_decay: float


@dataclasses.dataclass(frozen=True)
class _Found:
    """The blend's best candidates of a batch, [B, K] each, and both heads' scores of them."""

    candidates: Any
    score: Any
    engagement: Any
    relevance: Any
    engagement_threshold: Any
    relevance_threshold: Any


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
        """
        super().__init__(name="retriever")
        self._defaults = defaults
        self._plan = plan
        self.num_items = len(ids)
        self._dimension = vectors.relevance.shape[1]
        id_file.write_text("".join(f"{item_id}\n" for item_id in ids), encoding="utf-8")
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

    # --- what the signatures call -------------------------------------------------------------------------------

    def retrieve(self, item_id: Any, relevance_weight: Any, k: Any, exclude_id: Any) -> dict[str, Any]:
        """Answers the ``retrieve`` signature; see `serving.signatures` for shapes."""
        tf.debugging.assert_less_equal(
            tf.shape(exclude_id)[1], MAX_EXCLUSIONS, message=f"exclude_id holds more than {MAX_EXCLUSIONS} ids a row"
        )
        rows = self.rows_of(item_id[:, :MAX_TRIGGERS])
        weights = merge.position_weights(rows >= 0, self._defaults.trigger_decay)[:, :, tf.newaxis]
        safe = tf.maximum(rows, 0)
        engagement = tf.reduce_sum(weights * tf.gather(self._trigger, safe), axis=1)
        relevance = tf.reduce_sum(weights * tf.gather(self._candidates, safe)[:, :, self._dimension :], axis=1)
        banned = tf.concat([rows, self.rows_of(exclude_id)], axis=1)
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
        weight = tf.where(tf.math.is_nan(relevance_weight), self._defaults.relevance_weight, relevance_weight)
        weight = tf.clip_by_value(weight, 0.0, 1.0)[:, tf.newaxis]
        k = tf.minimum(tf.where(k < 0, self._defaults.k, k), self._defaults.max_k)
        size = tf.reduce_max(tf.concat([k, [0]], axis=0))
        found = self._blend(engagement, relevance, weight, k, size, banned)
        popular_score, popular = self._most_popular(size, banned)

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

    def _blend(self, engagement: Any, relevance: Any, weight: Any, k: Any, size: Any, banned: Any) -> _Found:
        if self._plan.kind == "exact":
            return self._ranked(
                engagement,
                relevance,
                weight,
                k,
                size,
                banned,
                *self._search_exact(engagement, relevance, weight, size, banned),
            )
        return self._blend_tree(engagement, relevance, weight, k, size, banned)

    def _search_exact(
        self, engagement: Any, relevance: Any, weight: Any, size: Any, banned: Any
    ) -> tuple[Any, Any, Any]:
        """Candidates of the blend and of each head by one brute-force search of the concatenated vectors."""
        wanted = tf.minimum(size + tf.shape(banned)[1], self.num_items)
        queries = tf.concat(
            [
                tf.concat([(1.0 - weight) * engagement, weight * relevance], axis=1),
                tf.concat([engagement, tf.zeros_like(relevance)], axis=1),
                tf.concat([tf.zeros_like(engagement), relevance], axis=1),
            ],
            axis=0,
        )
        _, rows = self._index(queries, k=wanted)
        blend, by_engagement, by_relevance = tf.split(rows, 3, axis=0)
        return blend, by_engagement, by_relevance

    def _blend_tree(self, engagement: Any, relevance: Any, weight: Any, k: Any, size: Any, banned: Any) -> _Found:
        """Both heads' candidates, joined and rescored exactly; exact search of all where they do not suffice."""
        wanted = size + tf.shape(banned)[1]
        enough = tf.minimum(tf.maximum(wanted, self._plan.reorder), self.num_items)
        share_searched = self._plan.leaves_to_search / self._plan.leaves
        within_reach = wanted <= int(self.num_items * share_searched / 2)
        possible = tf.minimum(k, self.num_items - merge.count_distinct(banned))

        def by_tree() -> tuple[Any, ...]:
            _, by_engagement = self._engagement_index(engagement, k=enough)
            _, by_relevance = self._relevance_index(relevance, k=enough)
            union = merge.without_repeats(by_engagement, by_relevance)
            return dataclasses.astuple(
                self._ranked(engagement, relevance, weight, k, size, banned, union, by_engagement, by_relevance)
            )

        def by_scan() -> tuple[Any, ...]:
            wanted_rows = tf.minimum(wanted, self.num_items)

            def top(left: Any, right: Any) -> Any:
                queries = tf.concat([left, right], axis=1)
                scores = tf.matmul(queries, self._candidates, transpose_b=True)
                return tf.math.top_k(scores, k=wanted_rows).indices

            return dataclasses.astuple(
                self._ranked(
                    engagement,
                    relevance,
                    weight,
                    k,
                    size,
                    banned,
                    top((1.0 - weight) * engagement, weight * relevance),
                    top(engagement, tf.zeros_like(relevance)),
                    top(tf.zeros_like(engagement), relevance),
                )
            )

        found = tf.cond(within_reach, by_tree, by_scan)
        filled = tf.reduce_sum(tf.cast(found[0] >= 0, tf.int32), axis=1)
        return _Found(*tf.cond(tf.reduce_all(filled >= possible), lambda: found, by_scan))

    def _ranked(
        self,
        engagement: Any,
        relevance: Any,
        weight: Any,
        k: Any,
        size: Any,
        banned: Any,
        candidates: Any,
        by_engagement: Any,
        by_relevance: Any,
    ) -> _Found:
        """Exact scores of the candidates, the best of them, and what each head's own top-k asks for."""
        engagement_scores, relevance_scores = self._head_scores(engagement, relevance, candidates)
        allowed = (candidates >= 0) & ~merge.contains(banned, candidates)
        blended = (1.0 - weight) * engagement_scores + weight * relevance_scores
        score, chosen = merge.best(blended, candidates, allowed, size)
        chosen_engagement, chosen_relevance = self._head_scores(engagement, relevance, chosen)

        def own_threshold(rows: Any, head: int) -> Any:
            scores = self._head_scores(engagement, relevance, rows)[head]
            fit = (rows >= 0) & ~merge.contains(banned, rows)
            return merge.threshold(merge.best(scores, rows, fit, size)[0], k)

        return _Found(
            candidates=chosen,
            score=score,
            engagement=chosen_engagement,
            relevance=chosen_relevance,
            engagement_threshold=own_threshold(by_engagement, 0),
            relevance_threshold=own_threshold(by_relevance, 1),
        )

    def _head_scores(self, engagement: Any, relevance: Any, rows: Any) -> tuple[Any, Any]:
        vectors = tf.gather(self._candidates, tf.maximum(rows, 0))
        return (
            tf.einsum("bd,bmd->bm", engagement, vectors[:, :, : self._dimension]),
            tf.einsum("bd,bmd->bm", relevance, vectors[:, :, self._dimension :]),
        )

    def _most_popular(self, size: Any, banned: Any) -> tuple[Any, Any]:
        """Popularity share and rows of the most engaged items that are not banned, [B, K]."""
        wanted = tf.minimum(size + tf.shape(banned)[1], self.num_items)
        shape = tf.stack([tf.shape(banned)[0], wanted])
        rows = tf.broadcast_to(self._popular[:wanted][tf.newaxis, :], shape)
        shares = tf.broadcast_to(self._popular_share[:wanted][tf.newaxis, :], shape)
        return merge.best(shares, rows, ~merge.contains(banned, rows), size)


def _source(found: _Found, weight: Any) -> Any:
    """Which head's own top-k would hold each item; for neither, the head with the larger weighted share."""
    by_engagement = found.engagement >= found.engagement_threshold - _ROUNDING
    by_relevance = found.relevance >= found.relevance_threshold - _ROUNDING
    larger = (1.0 - weight) * found.engagement >= weight * found.relevance
    single = tf.where(by_engagement == by_relevance, larger, by_engagement)
    name = tf.where(single, SOURCE_ENGAGEMENT, SOURCE_RELEVANCE)
    return tf.where(by_engagement & by_relevance, SOURCE_BOTH, name)
