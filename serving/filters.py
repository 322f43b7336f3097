"""Filters by category: which items of the catalogue a request admits.

Each item's categories are kept twice, both ways sparse: by item, to test candidates of an index, and by category
(posting lists), to name all that a filter admits. Together 8 bytes for each category of an item.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from preprocessing.backend import tf


class Filter(NamedTuple):
    """The filters of a batch of B requests.

    Attributes:
      allow: int32 [B, C], categories of which an item needs one; -1 for empty and for unknown names.
      deny: int32 [B, C'], categories of which it may have none; -1 pads.
      is_open: bool [B], no category is asked for: every item that is not denied passes.
      reach: int32 [B], at least so many as the items that ``allow`` admits.
      share: float32 [B], about the share of the catalogue that passes.
    """

    allow: Any
    deny: Any
    is_open: Any
    reach: Any
    share: Any


class CategoryFilters(tf.Module):
    """Reads filters and applies them to the N items of a catalogue."""

    def __init__(self, categories: Sequence[Sequence[str]]) -> None:
        """``categories``: of each of the N items."""
        super().__init__(name="category_filters")
        self._num_items = len(categories)
        names = sorted({name for each in categories for name in each})
        number = {name: at for at, name in enumerate(names)}
        of_items = [sorted({number[name] for name in each}) for each in categories]
        flat = np.array([category for each in of_items for category in each], dtype=np.int32)
        row = np.repeat(np.arange(self._num_items, dtype=np.int32), [len(each) for each in of_items])
        keys = tf.constant(["", *names])
        values = tf.constant([-1, *range(len(names))], tf.int32)
        self._numbers = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), default_value=-1)
        # An empty list at the end of either, which is what a row or a category of -1 has.
        self._item_splits = _variable(_splits(row, self._num_items), "item_splits")
        self._item_categories = _variable(flat, "item_categories")
        self._posting_splits = _variable(_splits(flat, len(names)), "posting_splits")
        self._postings = _variable(row[np.argsort(flat, kind="stable")], "postings")

    def read(self, allow_category: Any, deny_category: Any) -> Filter:
        """Reads names, string [B, C] each; empty ones are ignored, unknown ones are of no item."""
        allow, deny = self._numbers.lookup(allow_category), self._numbers.lookup(deny_category)
        is_open = tf.reduce_all(allow_category == "", axis=1)
        reach = tf.where(is_open, self._num_items, tf.minimum(self._listed(allow), self._num_items))
        kept = 1.0 - tf.minimum(tf.cast(self._listed(deny), tf.float32) / self._num_items, 1.0)
        return Filter(allow, deny, is_open, reach, kept * tf.cast(reach, tf.float32) / self._num_items)

    def admits(self, filters: Filter, rows: Any) -> Any:
        """Whether catalogue rows, int32 [B, m], pass their request's filter; bool [B, m], False for -1."""
        width = tf.shape(rows)[1]
        flat = tf.reshape(rows, [-1])
        ends = tf.where(flat < 0, self._num_items, flat)
        places = tf.ragged.range(tf.gather(self._item_splits, ends), tf.gather(self._item_splits, ends + 1))
        of_item, owner = tf.gather(self._item_categories, places.flat_values), places.value_rowids()
        request = tf.cast(owner, tf.int32) // tf.maximum(width, 1)

        def has_one(categories: Any) -> Any:
            found = tf.reduce_any(tf.gather(categories, request) == of_item[:, tf.newaxis], axis=1)
            counted = tf.math.unsorted_segment_sum(tf.cast(found, tf.int32), owner, tf.size(flat))
            return tf.reshape(counted, tf.shape(rows)) > 0

        passes = has_one(filters.allow) | filters.is_open[:, tf.newaxis]
        return passes & ~has_one(filters.deny) & (rows >= 0)

    def mask(self, filters: Filter) -> Any:
        """Whether each item passes: bool [B, N]."""
        allowed = self._marked(filters.allow) | filters.is_open[:, tf.newaxis]
        return allowed & ~self._marked(filters.deny)

    def members(self, filters: Filter) -> Any:
        """The items that pass, none twice: int32 [B, M], -1 for none; of requests that ask for a category only."""
        listed, owner = self._members_of(filters.allow)
        rows = tf.RaggedTensor.from_value_rowids(listed, owner, nrows=_batch(filters.allow)).to_tensor(-1)
        rows = tf.sort(rows, axis=1)
        first = tf.pad(rows[:, 1:] != rows[:, :-1], [[0, 0], [1, 0]], constant_values=True)[:, : tf.shape(rows)[1]]
        rows = tf.where(first, rows, -1)
        return tf.where(self.admits(filters, rows), rows, -1)

    def _listed(self, categories: Any) -> Any:
        """Sum of the lengths of posting lists: int32 [B, C] to [B]."""
        starts, ends = self._bounds(categories)
        return tf.reduce_sum(ends - starts, axis=1)

    def _bounds(self, categories: Any) -> tuple[Any, Any]:
        last = tf.shape(self._posting_splits)[0] - 2
        known = tf.where(categories < 0, last, categories)
        return tf.gather(self._posting_splits, known), tf.gather(self._posting_splits, known + 1)

    def _members_of(self, categories: Any) -> tuple[Any, Any]:
        """All entries of the posting lists of [B, C], int32 [n], and the request that each is for, int64 [n]."""
        starts, ends = self._bounds(categories)
        places = tf.ragged.range(tf.reshape(starts, [-1]), tf.reshape(ends, [-1]))
        width = tf.cast(tf.maximum(tf.shape(categories)[1], 1), tf.int64)
        return tf.gather(self._postings, places.flat_values), places.value_rowids() // width

    def _marked(self, categories: Any) -> Any:
        """Bool [B, N]: items that are in one of the posting lists of int32 [B, C]."""
        rows, owner = self._members_of(categories)
        cells = owner * self._num_items + tf.cast(rows, tf.int64)
        batch = _batch(categories)
        blank = tf.zeros([batch * self._num_items], tf.bool)
        marked = tf.tensor_scatter_nd_update(blank, cells[:, tf.newaxis], tf.ones_like(rows, tf.bool))
        return tf.reshape(marked, [batch, self._num_items])


def _splits(owners: Any, number: int) -> Any:
    """Bounds of the lists of ``number`` owners in a flat array ordered by owner, and of one empty list more."""
    bounds = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=number))])
    return np.append(bounds, bounds[-1]).astype(np.int32)


def _variable(values: Any, name: str) -> Any:
    return tf.Variable(values, trainable=False, name=name)


def _batch(tensor: Any) -> Any:
    return tf.cast(tf.shape(tensor)[0], tf.int64)
