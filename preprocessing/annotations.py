"""Validates graded annotations and averages the raters of a pair of items."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from preprocessing.faults import Faults
from preprocessing.mixing import pick
from preprocessing.parse import Validated, check_grade, check_item
from preprocessing.read import Annotations
from preprocessing.rows import RawBatch


@dataclasses.dataclass(frozen=True)
class AnnotationRows:
    """Valid rows of annotations as columns.

    Attributes:
      trigger, item: int32 [n], item indices, different ones.
      grade: float64 [n], from 0 to 1.
    """

    trigger: npt.NDArray[np.int32]
    item: npt.NDArray[np.int32]
    grade: npt.NDArray[np.float64]

    def __len__(self) -> int:
        """Number of rows n."""
        return len(self.trigger)


class AnnotationParser:
    """Validates batches of annotations against the catalogue."""

    def __init__(self, item_index: Mapping[str, int]):
        """Takes each known item's index."""
        self._item_index = item_index

    def parse(self, batch: RawBatch, file_index: int) -> Validated[AnnotationRows]:
        """Validates one batch; where it stands in the input does not matter."""
        del file_index
        dropped = {"blank_line": batch.blank_lines}
        if not len(batch.lines):
            return Validated(empty_annotations(), batch.bad, dropped, batch.rows_in)
        faults = Faults(len(batch.lines))
        triggers, trigger = self._items(faults, batch, "trigger_id")
        items, item = self._items(faults, batch, "item_id")
        grades, grade = faults.apply(batch.columns.get("grade"), check_grade)
        rows = AnnotationRows(
            np.array(triggers, np.int32)[trigger], np.array(items, np.int32)[item], np.array(grades, np.float64)[grade]
        )
        faults.mark(rows.trigger == rows.item, "trigger_is_item", "an item is not graded for itself")
        keep = faults.good()
        bad = sorted([*batch.bad, *faults.rows(batch)], key=lambda row: row.line)
        return Validated(_take(rows, keep), bad, dropped, batch.rows_in)

    def _items(self, faults: Faults, batch: RawBatch, role: str) -> tuple[list[int], npt.NDArray[np.int32]]:
        return faults.apply(batch.columns.get(role), functools.partial(check_item, role, self._item_index))


def empty_annotations() -> AnnotationRows:
    """No rows at all."""
    return AnnotationRows(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float64))


def concat_annotations(parts: Sequence[AnnotationRows]) -> AnnotationRows:
    """All rows of the parts, one part after the other."""
    if not parts:
        return empty_annotations()
    return AnnotationRows(
        trigger=np.concatenate([part.trigger for part in parts]),
        item=np.concatenate([part.item for part in parts]),
        grade=np.concatenate([part.grade for part in parts]),
    )


def split_by_trigger(rows: AnnotationRows, bounds: Sequence[int]) -> list[tuple[int, AnnotationRows]]:
    """The rows by shard: shard s has the triggers from ``bounds[s]`` up to ``bounds[s + 1]``."""
    shard = np.searchsorted(np.array(bounds), rows.trigger, side="right") - 1
    return [(int(number), _take(rows, shard == number)) for number in np.unique(shard)]


def grade_pairs(rows: AnnotationRows, ids: Sequence[str], share: float, seed: int) -> Annotations:
    """Averages the rows of each (trigger, item): raters disagree, and all of them are heard.

    Args:
      rows: valid rows in any order, which the result does not depend on.
      ids: the catalogue's ids, by index; the hash is of the id, so that it outlives a change of the catalogue.
      share: of the triggers, those to hold out.
      seed: of their choice.
    """
    order = np.lexsort((rows.grade, rows.item, rows.trigger))
    trigger, item, grade = (column[order] for column in (rows.trigger, rows.item, rows.grade))
    first = np.ones(len(order), np.bool_)
    first[1:] = (np.diff(trigger) != 0) | (np.diff(item) != 0)
    starts = np.flatnonzero(first)
    lengths = np.diff(np.append(starts, len(order)))
    triggers, place = np.unique(trigger[starts], return_inverse=True)
    held_out = pick([ids[index].encode("utf-8") for index in triggers], share, seed)
    return Annotations(
        trigger=trigger[starts].astype(np.int64),
        item=item[starts].astype(np.int64),
        grade=(np.add.reduceat(grade, starts) / lengths).astype(np.float32),
        held_out=held_out[place],
    )


def _take(rows: AnnotationRows, chosen: npt.NDArray[np.bool_]) -> AnnotationRows:
    return AnnotationRows(rows.trigger[chosen], rows.item[chosen], rows.grade[chosen])
