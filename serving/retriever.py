"""The retrieval graph: ids in, answers out, over vectors, index and id table of one catalogue."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.backend import tf
from serving import merge, ranking
from serving.blocks import apart
from serving.filters import Filter
from serving.index import IndexPlan
from serving.ranking import Query
from serving.search import Search, whole
from serving.signatures import MAX_EXCLUSIONS, MAX_FILTERS, MAX_TRIGGERS, SOURCE_POPULAR
from trainer.model import ItemVectors
from trainer.names import BLEND


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
        categories: Sequence[Sequence[str]] | None = None,
    ) -> None:
        """Builds the index.

        Args:
          ids: N item ids.
          vectors: of the N items.
          interaction_count: int64 [N], what is popular.
          plan: parameters of the index.
          defaults: what requests may leave open.
          id_file: written with the ids, a line each; the SavedModel copies it as an asset.
          categories: of the N items, what filters go by; None: no item has one.

        Raises:
          ValueError: there is no item, or an id that the file could not keep: an empty one, or one with a line break.
        """
        super().__init__(name="retriever")
        unfit = next((item_id for item_id in ids if not item_id or "\n" in item_id or item_id[-1] == "\r"), None)
        if unfit is not None or not ids:
            raise ValueError(f"item id {unfit!r} cannot be looked up" if ids else "a catalogue needs at least one item")
        self._defaults = defaults
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
        order = np.argsort(-interaction_count, kind="stable")
        share = interaction_count[order] / max(1, int(interaction_count.sum()))
        self._popular = tf.Variable(order.astype(np.int32), trainable=False, name="popular")
        self._popular_share = tf.Variable(share.astype(np.float32), trainable=False, name="popular_share")
        self._search = Search(vectors, categories or [()] * len(ids), plan, defaults.merge)

    def search_with(self, plan: IndexPlan) -> None:
        """Searches the same index as ``plan`` says from now on; its kind and leaves have to be those of the index."""
        self._search.search_with(plan)

    # --- what the signatures call -------------------------------------------------------------------------------

    def retrieve(self, item_id: Any, relevance_weight: Any, k: Any, exclude_id: Any) -> dict[str, Any]:
        """Answers the ``retrieve`` signature; see `serving.signatures` for shapes."""
        item_id = same_rows(item_id=item_id, relevance_weight=relevance_weight, k=k, exclude_id=exclude_id)
        return self.answer(**self._asked(item_id, exclude_id), relevance_weight=relevance_weight, k=k)

    def retrieve_filtered(
        self,
        item_id: Any,
        relevance_weight: Any,
        k: Any,
        exclude_id: Any,
        allow_category: Any,
        deny_category: Any,
    ) -> dict[str, Any]:
        """Answers the ``retrieve_filtered`` signature.

        An item passes with any of the allowed categories, or any at all where none is named, and with none of the
        denied ones.
        """
        item_id = same_rows(
            item_id=item_id,
            relevance_weight=relevance_weight,
            k=k,
            exclude_id=exclude_id,
            allow_category=allow_category,
            deny_category=deny_category,
        )
        for name, names in (("allow_category", allow_category), ("deny_category", deny_category)):
            tf.debugging.assert_less_equal(
                tf.shape(names)[1], MAX_FILTERS, message=f"{name} holds more than {MAX_FILTERS} categories a row"
            )
        filters = self._search.filters.read(allow_category, deny_category)
        return self.answer(**self._asked(item_id, exclude_id), relevance_weight=relevance_weight, k=k, filters=filters)

    def _asked(self, item_id: Any, exclude_id: Any) -> dict[str, Any]:
        """Query vectors of triggers, string [B, T], what may not answer them, and whether one of them is known."""
        tf.debugging.assert_less_equal(
            tf.shape(exclude_id)[1], MAX_EXCLUSIONS, message=f"exclude_id holds more than {MAX_EXCLUSIONS} ids a row"
        )
        rows = self.rows_of(item_id)
        merged = merge.leading(rows, MAX_TRIGGERS)
        weights = merge.position_weights(merged >= 0, self._defaults.trigger_decay)[:, :, tf.newaxis]
        safe = tf.maximum(merged, 0)
        return {
            "engagement": tf.reduce_sum(weights * tf.gather(self._trigger, safe), axis=1),
            "relevance": tf.reduce_sum(weights * tf.gather(self._search.relevance, safe), axis=1),
            "banned": tf.concat([rows, self.rows_of(exclude_id)], axis=1),
            "askable": tf.reduce_any(rows >= 0, axis=1),
        }

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
            "engagement_candidate": known * tf.gather(self._search.candidate, safe),
            "relevance": known * tf.gather(self._search.relevance, safe),
        }

    def rows_of(self, item_id: Any) -> Any:
        """Catalogue rows of ids of any shape, int32; -1 for unknown and empty ids."""
        return tf.cast(self._rows.lookup(item_id), tf.int32)

    def answer(
        self,
        engagement: Any,
        relevance: Any,
        relevance_weight: Any,
        k: Any,
        banned: Any,
        askable: Any,
        filters: Filter | None = None,
    ) -> dict[str, Any]:
        """Retrieves with query vectors.

        Args:
          engagement: float32 [B, d], trigger vectors of the engagement head.
          relevance: float32 [B, d], of the relevance head.
          relevance_weight: float32 [B]; NaN means the default, others are clipped to [0, 1].
          k: int32 [B]; negative means the default, others are bounded by ``max_k``.
          banned: int32 [B, n], rows that no answer may hold; -1 pads.
          askable: bool [B]; where False the answer is what is popular.
          filters: what answers have to pass; None: nothing.
        """
        query = self._query(engagement, relevance, relevance_weight, k, banned)
        weight, k, size = query.weight, query.k, query.size
        if filters is None:
            found = self._search.run(query)
        else:
            searched = query._replace(k=tf.where(askable, k, 0))
            found = self._search.run_filtered(searched, filters)
        popular_score, popular = self._fallback(query, filters, askable)

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
        return self._search.run(self._query(engagement, relevance, relevance_weight, k, banned)).candidates

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

    def _most_popular(self, query: Query) -> tuple[Any, Any]:
        """Popularity share and rows of the most engaged items that are not banned, [B, K]."""
        shape = tf.stack([tf.shape(query.banned)[0], query.wanted])
        rows = tf.broadcast_to(self._popular[: query.wanted][tf.newaxis, :], shape)
        shares = tf.broadcast_to(self._popular_share[: query.wanted][tf.newaxis, :], shape)
        shares, rows = merge.best(shares, rows, ~merge.contains(query.banned, rows), query.size)
        return shares, rows

    def _fallback(self, query: Query, filters: Filter | None, askable: Any) -> tuple[Any, Any]:
        """What is popular, and passes the filters if there are any; empty where every request is askable."""

        def popular() -> tuple[Any, Any]:
            if filters is None:
                return self._most_popular(query)
            return self._search.most_popular(query, filters, whole(self._popular), whole(self._popular_share))

        shape = tf.stack([tf.shape(askable)[0], query.size])
        found: tuple[Any, Any] = tf.cond(
            tf.reduce_all(askable), lambda: (tf.zeros(shape), tf.fill(shape, -1)), apart(popular)
        )
        return found


def same_rows(**inputs: Any) -> Any:
    """The first of several inputs, given by name, once it is sure that all have as many rows as it has.

    Else TensorFlow would spread a single row over the batch.
    """
    rows = tf.stack([tf.shape(tensor)[0] for tensor in inputs.values()])
    message = f"{', '.join(inputs)} must all have a row for each request; their rows:"
    checked = tf.debugging.Assert(tf.reduce_all(rows == rows[0]), [message, rows], summarize=len(inputs))
    with tf.control_dependencies([checked]):
        return tf.identity(next(iter(inputs.values())))
