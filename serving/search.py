"""The search of one catalogue: by its indexes where these suffice, by a scan of all items where they may not."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from preprocessing.backend import tf
from serving import merge, ranking
from serving.blocks import all_or_in_blocks, apart, in_blocks
from serving.filters import CategoryFilters, Filter
from serving.flavours import STOCK
from serving.index import IndexPlan, build_index
from serving.ranking import Answers, Finds, Query
from trainer.model import ItemVectors
from trainer.names import BLEND, QUOTA

_OVERSAMPLING: Final = 4
"""Candidates that the blend asks of each head's tree for one wanted."""
_SPARE: Final = 1.25
"""A filter may admit fewer of an index's candidates than of the catalogue."""
_MOST_FILTERED: Final = 4
"""A filtered list of an index is at most so many times as long as one without a filter."""
_CELLS: Final = 1 << 22
"""Scores of one kind that a scan holds at a time."""
_FLOATS: Final = 1 << 23
"""Numbers of candidates' vectors that a search by an index holds at a time, 32 MB."""
_LISTED: Final = 16
"""Up to one item in so many is scored one by one; beyond that all are, at the pace of a matrix product."""
_FIELDS: Final = (tf.int32, *[tf.float32] * 5)
"""Dtypes of `Answers`."""


@dataclasses.dataclass(frozen=True)
class _Untracked:
    """Layers and functions that saving must not see: it would trace each layer in four ways."""

    items: list[Any]


class Search(tf.Module):
    """Finds the best of N items for a batch of queries."""

    def __init__(
        self,
        vectors: ItemVectors,
        categories: Sequence[Sequence[str]],
        plan: IndexPlan,
        merge_by: str,
    ) -> None:
        """Builds the indexes.

        Args:
          vectors: of the N items.
          categories: of the N items.
          plan: parameters of the index.
          merge_by: `trainer.names.BLEND` or `trainer.names.QUOTA`.
        """
        super().__init__(name="search")
        self.num_items = len(categories)
        self.merge = merge_by
        self._rank = ranking.quota if merge_by == QUOTA else ranking.blend
        self._plan = plan
        self._candidate = tf.Variable(vectors.engagement_candidate, trainable=False, name="engagement_candidate")
        self._relevance = tf.Variable(vectors.relevance, trainable=False, name="relevance")
        self.filters = CategoryFilters(categories)
        if self._scans:
            heads = []
        elif self._concatenates:
            heads = [np.concatenate([vectors.engagement_candidate, vectors.relevance], axis=1)]
        else:
            heads = [vectors.engagement_candidate, vectors.relevance]
        self._indexes = _Untracked([build_index(plan, each) for each in heads])
        self._index_states = [index.state for index in self._indexes.items]
        self._dimensions = (vectors.engagement_candidate.shape[1], vectors.relevance.shape[1])
        self._trace()

    @property
    def candidate(self) -> Any:
        """The engagement head's vectors of the items as candidates: float32 [N, d]."""
        return whole(self._candidate)

    @property
    def relevance(self) -> Any:
        """The relevance head's vectors of the items: float32 [N, d]."""
        return whole(self._relevance)

    @property
    def _scans(self) -> bool:
        """Whether there is no index: plain TensorFlow searches a small catalogue by scoring all of it."""
        return self._plan.flavour == STOCK and self._plan.kind == "exact"

    @property
    def _concatenates(self) -> bool:
        """Whether one index of concatenated vectors is searched: an exact one fits the blend at any weight."""
        return self._plan.kind == "exact" and self.merge == BLEND

    def search_with(self, plan: IndexPlan) -> None:
        """Searches the same index as ``plan`` says from now on; its kind and leaves have to be those of the index."""
        for index in self._indexes.items:
            index.search_with(plan)
        self._plan = plan
        self._trace()

    def _trace(self) -> None:
        engagement, relevance = (tf.TensorSpec([None, dimension], tf.float32) for dimension in self._dimensions)
        rows, number = tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.int32)
        query = Query(
            engagement=engagement,
            relevance=relevance,
            weight=tf.TensorSpec([None, 1], tf.float32),
            k=rows,
            size=number,
            banned=tf.TensorSpec([None, None], tf.int32),
            wanted=number,
            possible=rows,
        )
        function = tf.function(self._run, input_signature=[query], autograph=False)
        self._traced = _Untracked([function])

    # --- without a filter ---------------------------------------------------------------------------------------

    def run(self, query: Query) -> Answers:
        """The best by the index, and by a scan of all where a tree may not or did not find enough.

        One graph for all signatures: to trace it is most of an export's time.
        """
        (traced,) = self._traced.items
        answer: Answers = traced(query)
        return answer

    def _run(self, query: Query) -> Answers:
        if self._scans:
            return self._by_scan(query)
        if self._concatenates:
            return self._by_index(query, self._by_concatenated_index, query.wanted)
        if self._plan.kind == "exact":
            return self._by_index(query, self._by_both_indexes, query.wanted)
        asked = self._needed(query.wanted) <= self._longest_list
        found = tf.cond(
            asked,
            lambda: self._by_index(query, self._by_both_indexes, self._list_length(query.wanted)),
            lambda: _no_answers(query),
        )
        filled = tf.reduce_sum(tf.cast(found.candidates >= 0, tf.int32), axis=1)
        complete = asked & tf.reduce_all(filled >= query.possible)
        answer: Answers = tf.cond(complete, lambda: found, apart(lambda: self._by_scan(query)))
        return answer

    @property
    def _longest_list(self) -> int:
        """Candidates that a tree can be asked for: half of what it looks at."""
        return self.num_items * self._plan.leaves_to_search // self._plan.leaves // 2

    def _needed(self, wanted: Any) -> Any:
        """Candidates of each head among which are the ``wanted`` best; the blend's need not be any head's own best."""
        return _OVERSAMPLING * wanted if self.merge == BLEND else wanted

    def _list_length(self, wanted: Any) -> Any:
        """Candidates that each head's tree is asked for: for the blend, whatever it rescores."""
        if self.merge == QUOTA:
            return wanted
        return tf.minimum(tf.maximum(self._needed(wanted), self._plan.reorder), self.num_items)

    def _by_index(self, query: Query, find: Callable[[Query, Any], Finds], number: Any) -> Answers:
        """Answers of what ``find`` finds with lists of ``number``, a block of requests at a time."""

        def work(*part: Any) -> Answers:
            block = _with_rows(query, part)
            return self._rank(block, find(block, number))

        return Answers(*all_or_in_blocks(work, _of_rows(query), self._rows_at_once(number), _FIELDS))

    def _rows_at_once(self, number: Any) -> Any:
        """Requests for which ``number`` candidates' vectors of both heads are held at a time: int32 scalar."""
        return tf.maximum(_FLOATS // sum(self._dimensions) // tf.maximum(number, 1), 1)

    def _by_concatenated_index(self, query: Query, number: Any) -> Finds:
        """One search of the concatenated vectors answers the blend, and for each head what its own best is."""
        engagement, relevance, weight = query.engagement, query.relevance, query.weight
        queries = [
            tf.concat([(1.0 - weight) * engagement, weight * relevance], axis=1),
            tf.concat([engagement, tf.zeros_like(relevance)], axis=1),
            tf.concat([tf.zeros_like(engagement), relevance], axis=1),
        ]
        (index,) = self._indexes.items
        scores, rows = index(tf.concat(queries, axis=0), k=number)
        _, engagement_own, relevance_own = tf.split(scores, 3, axis=0)
        candidates, by_engagement, by_relevance = tf.split(rows, 3, axis=0)
        return Finds(
            candidates=candidates,
            engagement=_dot(self.candidate, engagement, candidates),
            relevance=_dot(self.relevance, relevance, candidates),
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
            engagement=tf.concat([engagement_own, _dot(self.candidate, query.engagement, by_relevance)], axis=1),
            relevance=tf.concat([_dot(self.relevance, query.relevance, by_engagement), relevance_own], axis=1),
            by_engagement=(engagement_own, by_engagement),
            by_relevance=(relevance_own, by_relevance),
        )

    # --- with a filter ------------------------------------------------------------------------------------------

    def run_filtered(self, query: Query, filters: Filter) -> Answers:
        """The best of what passes the filter, by the index for the requests that it serves, by exact search for others.

        A head's list of an index, cut to what passes, still begins with that head's best. So the index serves a request
        when enough of both lists is left. Whether that can be expected is told by the share of the catalogue that
        passes, before the index is asked; whether it came true, by counting.
        """
        if self._plan.kind == "exact":
            return self._by_filtered_scan(query, filters)
        needed = tf.where(query.k > 0, self._needed(query.k + query.wanted - query.size), 0)
        usual = self._list_length(query.wanted)
        longest = tf.minimum(_MOST_FILTERED * usual, self._longest_list)
        length = tf.math.divide_no_nan(_SPARE * tf.cast(needed, tf.float32), filters.share)
        length = tf.cast(tf.minimum(length, float(self.num_items)), tf.int32)
        hopeful = (needed > 0) & (filters.share > 0.0) & (length <= longest)
        number = tf.clip_by_value(tf.reduce_max(tf.where(hopeful, length, 0)), tf.minimum(usual, longest), longest)

        own = len(_of_rows(query))

        def work(*part: Any) -> tuple[Any, ...]:
            block, limits = _with_rows(query, part[:own]), Filter(*part[own:])
            finds = self._admitted(self._by_both_indexes(block, number), limits)
            left = [
                tf.reduce_sum(tf.cast((rows >= 0) & ~merge.contains(block.banned, rows), tf.int32), axis=1)
                for _, rows in (finds.by_engagement, finds.by_relevance)
            ]
            enough = tf.minimum(*left) >= self._needed(block.k)
            return *self._rank(block, finds), enough[:, tf.newaxis]

        def by_index() -> tuple[Answers, Any]:
            batch = (*_of_rows(query), *filters)
            *answers, enough = all_or_in_blocks(work, batch, self._rows_at_once(number), (*_FIELDS, tf.bool))
            return Answers(*answers), enough[:, 0]

        def by_nothing() -> tuple[Answers, Any]:
            return _no_answers(query), query.k <= 0

        found, served = tf.cond(tf.reduce_any(hopeful), by_index, by_nothing)

        def completed() -> Answers:
            places = tf.where(~served)
            rest = self._by_filtered_scan(_rows(query, places[:, 0]), Filter(*_gathered(filters, places[:, 0])))
            pairs = zip(found, rest, strict=True)
            return Answers(*(tf.tensor_scatter_nd_update(whole, places, part) for whole, part in pairs))

        answer: Answers = tf.cond(tf.reduce_all(served), lambda: found, apart(completed))
        return answer

    def most_popular(self, query: Query, filters: Filter, popular: Any, shares: Any) -> tuple[Any, Any]:
        """Popularity share and rows of the most engaged items that pass the filter and are not banned, [B, K].

        Args:
          query: says which are banned, and K.
          filters: of the requests.
          popular: int32 [N], all items, the most engaged first.
          shares: float32 [N], of these.
        """

        def work(banned: Any, *part: Any) -> tuple[Any, Any]:
            passes = tf.gather(self.filters.mask(Filter(*part)), popular, axis=1)
            places = tf.where(passes, -tf.range(self.num_items), tf.int32.min)
            best = tf.math.top_k(places, query.wanted)
            real = best.values > tf.int32.min
            rows = tf.where(real, tf.gather(popular, best.indices), -1)
            fit = real & ~merge.contains(banned, rows)
            return merge.best(tf.gather(shares, best.indices), rows, fit, query.size)

        rows_at_once = max(1, _CELLS // self.num_items)
        found, rows = in_blocks(work, (query.banned, *filters), rows_at_once, (tf.float32, tf.int32))
        return found, rows

    def _admitted(self, finds: Finds, filters: Filter) -> Finds:
        """Finds without what does not pass."""

        def passing(rows: Any) -> Any:
            return tf.where(self.filters.admits(filters, rows), rows, -1)

        (engagement, by_engagement), (relevance, by_relevance) = finds.by_engagement, finds.by_relevance
        by_engagement, by_relevance = passing(by_engagement), passing(by_relevance)
        return finds._replace(
            candidates=merge.without_repeats(by_engagement, by_relevance),
            by_engagement=(engagement, by_engagement),
            by_relevance=(relevance, by_relevance),
        )

    # --- exact --------------------------------------------------------------------------------------------------

    def _by_scan(self, query: Query) -> Answers:
        """Exact answers: all items are scored, a block of requests at a time."""

        def work(*part: Any) -> Answers:
            block = _with_rows(query, part)
            return self._rank(block, self._scores(block, None))

        return Answers(*in_blocks(work, _of_rows(query), max(1, _CELLS // self.num_items), _FIELDS))

    def _by_filtered_scan(self, query: Query, filters: Filter) -> Answers:
        """Exact answers: all that passes the filter is scored, a block of requests at a time."""
        own = len(_of_rows(query))

        def work(*part: Any) -> Answers:
            block, limits = _with_rows(query, part[:own]), Filter(*part[own:])
            few = tf.reduce_all(~limits.is_open & (limits.reach <= self.num_items // _LISTED))
            finds = tf.cond(
                few,
                lambda: self._listed(block, self.filters.members(limits)),
                lambda: self._scores(block, self.filters.mask(limits)),
            )
            return self._rank(block, finds)

        rows_at_once = max(1, _CELLS // self.num_items)
        return Answers(*in_blocks(work, (*_of_rows(query), *filters), rows_at_once, _FIELDS))

    def _scores(self, query: Query, passes: Any) -> Finds:
        """The best of the whole catalogue, or of what ``passes``, bool [B, N]."""
        engagement = tf.matmul(query.engagement, self.candidate, transpose_b=True)
        relevance = tf.matmul(query.relevance, self.relevance, transpose_b=True)
        if passes is not None:
            engagement, relevance = (tf.where(passes, scores, -math.inf) for scores in (engagement, relevance))
        by_engagement, by_relevance = _top(engagement, query.wanted), _top(relevance, query.wanted)
        if self.merge == QUOTA:
            candidates = merge.without_repeats(by_engagement[1], by_relevance[1])
        else:
            # Of two infinities a weight of 0 would make no number.
            blended = (1.0 - query.weight) * engagement + query.weight * relevance
            blended = blended if passes is None else tf.where(passes, blended, -math.inf)
            _, candidates = _top(blended, query.wanted)
        safe = tf.maximum(candidates, 0)
        return Finds(
            candidates=candidates,
            engagement=tf.gather(engagement, safe, batch_dims=1),
            relevance=tf.gather(relevance, safe, batch_dims=1),
            by_engagement=by_engagement,
            by_relevance=by_relevance,
        )

    def _listed(self, query: Query, rows: Any) -> Finds:
        """All of the items int32 [B, M], scored."""
        engagement = _dot(self.candidate, query.engagement, rows)
        relevance = _dot(self.relevance, query.relevance, rows)
        return Finds(rows, engagement, relevance, (engagement, rows), (relevance, rows))


def whole(variable: Any) -> Any:
    """The tensor of a variable, to gather from.

    After a gather from the variable itself TensorFlow copies all of it for whoever reads it whole: at 200,000 items
    that took 38 of a scan's 50 ms.
    """
    return tf.convert_to_tensor(variable)


def _top(scores: Any, number: Any) -> tuple[Any, Any]:
    """The ``number`` largest scores above -inf of each row, and where they are; -1 pads."""
    best = tf.math.top_k(scores, number)
    return best.values, tf.where(best.values > -math.inf, best.indices, -1)


def _of_rows(query: Query) -> tuple[Any, ...]:
    """The parts of a query that are of its rows; `size` and `wanted` are the batch's."""
    return (query.engagement, query.relevance, query.weight, query.k, query.banned, query.possible)


def _with_rows(query: Query, part: Sequence[Any]) -> Query:
    engagement, relevance, weight, k, banned, possible = part
    return query._replace(
        engagement=engagement, relevance=relevance, weight=weight, k=k, banned=banned, possible=possible
    )


def _rows(query: Query, places: Any) -> Query:
    return _with_rows(query, _gathered(_of_rows(query), places))


def _gathered(tensors: Sequence[Any], places: Any) -> list[Any]:
    return [tf.gather(tensor, places) for tensor in tensors]


def _no_answers(query: Query) -> Answers:
    shape = tf.stack([tf.shape(query.k)[0], query.size])
    nothing, least = tf.zeros(shape), tf.zeros_like(query.weight)
    return Answers(tf.fill(shape, -1), nothing, nothing, nothing, least, least)


def _dot(table: Any, queries: Any, rows: Any) -> Any:
    """Scores of catalogue rows: float32 [N, d], [B, d] and int32 [B, m] to [B, m]; negative rows count as row 0."""
    return tf.linalg.matvec(tf.gather(table, tf.maximum(rows, 0)), queries)
