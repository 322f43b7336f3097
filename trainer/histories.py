"""Users' histories in their order, put together again from the preprocessed pairs."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.sparse
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True)
class Events:
    """Trigger events of users with the nearest target of each, in the users' order.

    Attributes:
      trigger, user, target: int64 [m], item index, number of the user, item index.
      weight: float32 [m], of trigger and target as a pair.
    """

    trigger: NDArray[np.int64]
    user: NDArray[np.int64]
    target: NDArray[np.int64]
    weight: NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Histories:
    """Rows of engagement, user after user, each user's by time.

    Attributes:
      item: int64 [n], item indexes.
      user: int64 [n], ascending.
      sequence: int64 [n], ascending; a user's history may be cut into several sequences.
      weight: float32 [n], what a row counts as a trigger: 1, or less the older it is where the pairs age.
    """

    item: NDArray[np.int64]
    user: NDArray[np.int64]
    sequence: NDArray[np.int64]
    weight: NDArray[np.float32]

    def __len__(self) -> int:
        """Number of rows n."""
        return len(self.item)

    def popularity(self, num_items: int) -> NDArray[np.float64]:
        """Sum of the weights of each item's rows, [N]."""
        sums: NDArray[np.float64] = np.bincount(self.item, weights=self.weight, minlength=num_items).astype(np.float64)
        return sums

    def parts(self, rows: int | None) -> NDArray[np.int64]:
        """Number of the part of a history that each row is in, [n], ascending from 0.

        Args:
          rows: histories are cut into equal parts of about this many rows; None leaves them whole.
        """
        starts = np.flatnonzero(_changes(self.user))
        lengths = np.diff(np.append(starts, len(self)))
        pieces = np.ones_like(lengths) if rows is None else np.maximum(1, np.round(lengths / rows).astype(np.int64))
        place = np.arange(len(self)) - np.repeat(starts, lengths)
        piece = place * np.repeat(pieces, lengths) // np.repeat(lengths, lengths)
        part: NDArray[np.int64] = np.repeat(np.cumsum(pieces) - pieces, lengths) + piece
        return part

    def engagements(self, num_items: int, part_rows: int | None = None) -> scipy.sparse.csr_matrix:
        """Who engaged with what: float32 [U, N], the largest weight of the user's rows of the item.

        Args:
          num_items: N.
          part_rows: a "user" is a part of a history, see `parts`.
        """
        part = self.parts(part_rows)
        keys = part * num_items + self.item
        order = np.argsort(keys, kind="stable")
        starts = np.flatnonzero(_changes(keys[order]))
        largest = np.maximum.reduceat(self.weight[order], starts) if len(starts) else self.weight[:0]
        users, items = np.divmod(keys[order][starts], num_items)
        shape = (int(part[-1]) + 1 if len(part) else 0, num_items)
        return scipy.sparse.csr_matrix((largest, (users, items)), shape=shape)


def nearest_events(
    trigger: NDArray[np.int64],
    user: NDArray[np.int64],
    lengths: NDArray[np.int64],
    target: NDArray[np.int64],
    weight: NDArray[np.float32],
) -> Events:
    """Trigger events of which all targets are given: what a history is put together from is the nearest of them.

    Args:
      trigger: [m].
      user: [m].
      lengths: [m], number of targets, 1 or more.
      target: [sum of ``lengths``], nearest first.
      weight: of the shape of ``target``.
    """
    nearest = np.cumsum(lengths) - lengths
    return Events(trigger, user, target[nearest], weight[nearest])


def histories_of(events: Sequence[Events]) -> Histories:
    """Chains each user's trigger events: the nearest target of one is the trigger of the next.

    Where it is not, a sequence has ended with that target. That gives the preprocessing's sequences back, save that
    two are joined where one ends with the item that the user's next begins with.

    Args:
      events: in parts, those of one period after the other, the earliest first.
    """
    user = np.concatenate([part.user for part in events])
    order = np.argsort(user, kind="stable")
    user = user[order]
    trigger = np.concatenate([part.trigger for part in events])[order]
    following = np.concatenate([part.target for part in events])[order]
    weight = np.concatenate([part.weight for part in events])[order]

    begins = _changes(user)
    begins[1:] |= trigger[1:] != following[:-1]
    sequence = np.cumsum(begins) - 1
    place = np.arange(len(trigger)) + sequence
    ends = np.append(begins[1:], True)[: len(begins)]

    def rows(of_triggers: NDArray[np.generic], of_ends: NDArray[np.generic]) -> NDArray[np.generic]:
        column = np.empty(len(trigger) + int(ends.sum()), of_triggers.dtype)
        column[place] = of_triggers
        column[place[ends] + 1] = of_ends[ends]
        return column

    return Histories(
        item=rows(trigger, following).astype(np.int64),
        user=rows(user, user).astype(np.int64),
        sequence=rows(sequence, sequence).astype(np.int64),
        weight=rows(weight, weight).astype(np.float32),
    )


class RowCounter:
    """Counts the rows of each item in the histories that `histories_of` would put together, a part at a time.

    Attributes:
      rows: int64 [N].
    """

    def __init__(self, num_items: int) -> None:
        """Takes N."""
        self.rows = np.zeros(num_items, np.int64)
        # The item of each user's last row so far, -1 before the first.
        self._last = np.zeros(0, np.int32)

    def add(self, user: NDArray[np.int64], trigger: NDArray[np.int64], following: NDArray[np.int64]) -> None:
        """Counts trigger events with their nearest targets, int64 [m] each; those of one user come in their order."""
        order = np.argsort(user, kind="stable")
        user, trigger, following = user[order], trigger[order], following[order]
        if len(user) and user[-1] >= len(self._last):
            more = max(int(user[-1]) + 1, 2 * len(self._last)) - len(self._last)
            self._last = np.concatenate([self._last, np.full(more, -1, np.int32)])
        first = _changes(user)
        before = np.empty_like(trigger)
        before[1:] = following[:-1]
        before[first] = self._last[user[first]]
        last = np.append(first[1:], True)[: len(first)]
        self._last[user[last]] = following[last]
        np.add.at(self.rows, following, 1)
        np.add.at(self.rows, trigger[trigger != before], 1)


def _changes(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Marks each value that differs from the one before it, and the first."""
    changed = np.ones(len(values), np.bool_)
    changed[1:] = values[1:] != values[:-1]
    return changed
