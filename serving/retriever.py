"""The retrieval graph: ids in, answers out, over vectors, index and id table of one catalogue."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from preprocessing.backend import tf
from serving import merge, ranking
from serving.index import IndexPlan, ScannIndex
from serving.ranking import Answers, Finds, Query
from serving.signatures import MAX_EXCLUSIONS, MAX_TRIGGERS, SOURCE_POPULAR
from trainer.model import ItemVectors
from trainer.names import BLEND, QUOTA

_OVERSAMPLING: Final = 4
"""Candidates that the blend asks of each head's tree for one wanted."""


@dataclasses.dataclass(frozen=True)
class RetrievalDefaults:
    """How requests are answered, and what a request gets that does not say otherwise.

    Attributes:
      k: answers.
      relevance_weight: the dial's setting.
      max_k: most answers; a request for more gets so many.
      trigger_decay: weight of the n-th of several triggers is this to the power n - 1.
      merge: `trainer.names.BLEND` or `trainer.names.QUOTA`; no request can say otherwise.
    """

    k: int
    relevance_weight: float
    max_k: int
    trigger_decay: float
    merge: str = BLEND


@dataclasses.dataclass(frozen=True)
class _Untracked:
    """Layers that saving must not see: it would trace each in four ways, most of an export's time."""

    items: list[ScannIndex]


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
          ValueError: there is no item, or an id that the file could not keep: an empty one, or one with a line break.
        """
        super().__init__(name="retriever")
        unfit = next((item_id for item_id in ids if not item_id or "\n" in item_id or item_id[-1] == "\r"), None)
        if unfit is not None or not ids:
            raise ValueError(f"item id {unfit!r} cannot be looked up" if ids else "a catalogue needs at least one item")
        self._defaults = defaults
        self._plan = plan
        self.num_items = len(ids)
        self.max_k = defaults.max_k
        self.merge = defaults.merge
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
        self._candidate = tf.Variable(vectors.engagement_candidate, trainable=False, name="engagement_candidate")
        self._relevance = tf.Variable(vectors.relevance, trainable=False, name="relevance")
        order = np.argsort(-interaction_count, kind="stable")
        share = interaction_count[order] / max(1, int(interaction_count.sum()))
        self._popular = tf.Variable(order.astype(np.int32), trainable=False, name="popular")
        self._popular_share = tf.Variable(share.astype(np.float32), trainable=False, name="popular_share")
        if self._concatenates:
            both = np.concatenate([vectors.engagement_candidate, vectors.relevance], axis=1)
            indexes = [ScannIndex(plan, name="blend_index").index(both)]
        else:
            indexes = [
                ScannIndex(plan, name="engagement_index").index(vectors.engagement_candidate),
                ScannIndex(plan, name="relevance_index").index(vectors.relevance),
            ]
        self._indexes = _Untracked(indexes)
        self._index_states = [index.state for index in indexes]

    @property
    def _concatenates(self) -> bool:
        """Whether one index of concatenated vectors is searched: an exact one fits the blend at any weight."""
        return self._plan.kind == "exact" and self.merge == BLEND

    def search_with(self, plan: IndexPlan) -> None:
        """Searches the same index as ``plan`` says from now on; its kind and leaves have to be those of the index."""
        for index in self._indexes.items:
            index.search_with(plan)
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
        relevance = tf.reduce_sum(weights * tf.gather(self._relevance, safe), axis=1)
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
        safe = tf.maximum(rows, 0)
        return {
            "engagement_trigger": known * tf.gather(self._trigger, safe),
            "engagement_candidate": known * tf.gather(self._candidate, safe),
            "relevance": known * tf.gather(self._relevance, safe),
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
        found = self._search(query)
        popular_score, popular = self._most_popular(query)

        asked = askable[:, tf.newaxis]
        candidates = tf.where(asked, found.candidates, popular)
        real = (candidates >= 0) & (tf.range(size)[tf.newaxis, :] < k[:, tf.newaxis])
        return {
            "item_id": tf.where(real, tf.gather(self._ids, tf.maximum(candidates, 0)), ""),
            "score": tf.where(real, tf.where(asked, found.score, popular_score), 0.0),
            "engagement_score": tf.where(real & asked, found.engagement, 0.0),
            "relevance_score": tf.where(real & asked, found.relevance, 0.0),
            "source": tf.where(real, tf.where(asked, ranking.source(found, weight), SOURCE_POPULAR), ""),
            "count": tf.reduce_sum(tf.cast(real, tf.int32), axis=1),
        }

    # --- search -------------------------------------------------------------------------------------------------

    def search(self, engagement: Any, relevance: Any, relevance_weight: Any, k: Any, banned: Any) -> Any:
        """The catalogue rows that `answer` names: int32 [B, K]; -1 where a row has fewer than K."""
        return self._search(self._query(engagement, relevance, relevance_weight, k, banned)).candidates

    def _query(self, engagement: Any, relevance: Any, relevance_weight: Any, k: Any, banned: Any) -> Query:
        weight = tf.where(tf.math.is_nan(relevance_weight), self._defaults.relevance_weight, relevance_weight)
        k = tf.minimum(tf.where(k < 0, self._defaults.k, k), self._defaults.max_k)
        size = tf.reduce_max(tf.concat([k, [0]], axis=0))
        distinct = merge.count_distinct(banned)
        wanted = size + tf.reduce_max(tf.concat([distinct, [0]], axis=0))
        return Query(
            engagement=engagement,
            relevance=relevance,
            weight=tf.clip_by_value(weight, 0.0, 1.0)[:, tf.newaxis],
            k=k,
            size=size,
            banned=banned,
            wanted=tf.clip_by_value(wanted, 1, self.num_items),
            possible=tf.minimum(k, self.num_items - distinct),
        )

    def _search(self, query: Query) -> Answers:
        """The best by the index, and by a scan of all where a tree may not or did not find enough."""
        rank = ranking.quota if self.merge == QUOTA else ranking.blend
        if self._concatenates:
            return rank(query, self._by_concatenated_index(query))
        if self._plan.kind == "exact":
            return rank(query, self._by_both_indexes(query, query.wanted))
        needed, number = query.wanted, query.wanted
        if self.merge == BLEND:
            # Its best need not be any head's own best: whatever the index rescores is a candidate.
            needed = _OVERSAMPLING * query.wanted
            number = tf.minimum(tf.maximum(needed, self._plan.reorder), self.num_items)
        searched = self.num_items * self._plan.leaves_to_search // self._plan.leaves
        found = tf.cond(
            needed <= searched // 2,
            lambda: rank(query, self._by_both_indexes(query, number)),
            lambda: rank(query, self._by_scan(query)),
        )
        filled = tf.reduce_sum(tf.cast(found.candidates >= 0, tf.int32), axis=1)
        complete = tf.reduce_all(filled >= query.possible)
        answer: Answers = tf.cond(complete, lambda: found, lambda: rank(query, self._by_scan(query)))
        return answer

    def _by_concatenated_index(self, query: Query) -> Finds:
        """One search of the concatenated vectors answers the blend, and for each head what its own best is."""
        engagement, relevance, weight = query.engagement, query.relevance, query.weight
        queries = [
            tf.concat([(1.0 - weight) * engagement, weight * relevance], axis=1),
            tf.concat([engagement, tf.zeros_like(relevance)], axis=1),
            tf.concat([tf.zeros_like(engagement), relevance], axis=1),
        ]
        (index,) = self._indexes.items
        scores, rows = index(tf.concat(queries, axis=0), k=query.wanted)
        _, engagement_own, relevance_own = tf.split(scores, 3, axis=0)
        candidates, by_engagement, by_relevance = tf.split(rows, 3, axis=0)
        return Finds(
            candidates=candidates,
            engagement=_dot(self._candidate, engagement, candidates),
            relevance=_dot(self._relevance, relevance, candidates),
            by_engagement=(engagement_own, by_engagement),
            by_relevance=(relevance_own, by_relevance),
        )

    def _by_both_indexes(self, query: Query, number: Any) -> Finds:
        """``number`` of each head's index, joined; either gives its own exact score, the other head's is looked up."""
        of_engagement, of_relevance = self._indexes.items
        engagement_own, by_engagement = of_engagement(query.engagement, k=number)
        relevance_own, by_relevance = of_relevance(query.relevance, k=number)
        return Finds(
            candidates=merge.without_repeats(by_engagement, by_relevance),
            engagement=tf.concat([engagement_own, _dot(self._candidate, query.engagement, by_relevance)], axis=1),
            relevance=tf.concat([_dot(self._relevance, query.relevance, by_engagement), relevance_own], axis=1),
            by_engagement=(engagement_own, by_engagement),
            by_relevance=(relevance_own, by_relevance),
        )

    def _by_scan(self, query: Query) -> Finds:
        """Scores of the whole catalogue."""
        engagement = tf.matmul(query.engagement, self._candidate, transpose_b=True)
        relevance = tf.matmul(query.relevance, self._relevance, transpose_b=True)
        of_engagement, of_relevance = tf.math.top_k(engagement, query.wanted), tf.math.top_k(relevance, query.wanted)
        if self.merge == QUOTA:
            candidates = merge.without_repeats(of_engagement.indices, of_relevance.indices)
        else:
            blended = (1.0 - query.weight) * engagement + query.weight * relevance
            candidates = tf.math.top_k(blended, query.wanted).indices
        safe = tf.maximum(candidates, 0)
        return Finds(
            candidates=candidates,
            engagement=tf.gather(engagement, safe, batch_dims=1),
            relevance=tf.gather(relevance, safe, batch_dims=1),
            by_engagement=(of_engagement.values, of_engagement.indices),
            by_relevance=(of_relevance.values, of_relevance.indices),
        )

    def _most_popular(self, query: Query) -> tuple[Any, Any]:
        """Popularity share and rows of the most engaged items that are not banned, [B, K]."""
        shape = tf.stack([tf.shape(query.banned)[0], query.wanted])
        rows = tf.broadcast_to(self._popular[: query.wanted][tf.newaxis, :], shape)
        shares = tf.broadcast_to(self._popular_share[: query.wanted][tf.newaxis, :], shape)
        shares, rows = merge.best(shares, rows, ~merge.contains(query.banned, rows), query.size)
        return shares, rows


def _dot(table: Any, queries: Any, rows: Any) -> Any:
    """Scores of catalogue rows: float32 [N, d], [B, d] and int32 [B, m] to [B, m]; negative rows count as row 0."""
    return tf.linalg.matvec(tf.gather(table, tf.maximum(rows, 0)), queries)
