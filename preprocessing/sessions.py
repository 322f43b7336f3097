"""Orders each user's rows, cuts them into sequences, removes repeats and caps heavy users.

The order of the rules: sequences are cut on all valid rows, then repeats go, then the cap counts what is left. So a
robot that reloads one page is a repeat first, and the cap keeps a user's latest distinct engagements.
"""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from preprocessing.mixing import checksums, splitmix
from preprocessing.parse import Rows, take_rows
from preprocessing.split import Part


@dataclasses.dataclass(frozen=True)
class Sequences:
    """Engagements in sequences: one sequence after the other, each by time.

    Attributes:
      item: int32 [n], item indices.
      timestamp: float64 [n], unix seconds.
      sequence: int64 [n], ascending number of the sequence; pairs never cross it.
      user: int64 [n], ascending number of the user, 0 to ``num_users - 1``.
      part: int8 [n], the row's ``split.Part``; ascending within a sequence.
      num_users: users with at least one row.
      repeats: rows removed because the row before them in the sequence has the same item.
      capped: rows removed because their user has too many.
    """

    item: npt.NDArray[np.int32]
    timestamp: npt.NDArray[np.float64]
    sequence: npt.NDArray[np.int64]
    user: npt.NDArray[np.int64]
    part: npt.NDArray[np.int8]
    num_users: int
    repeats: int
    capped: int


def build_sequences(
    rows: Rows,
    part: npt.NDArray[np.int8],
    gap_seconds: float | None,
    max_user_rows: int,
    *,
    ties_in_log_order: bool = False,
) -> Sequences:
    """Turns the rows of a group of users, in any order, into their sequences; ``part`` is that of each row.

    A sequence is what a user did under one session id, cut further where a pause exceeds ``gap_seconds``. Rows of the
    same time, a basket's lines, are in no order of their own: the log's would often be that of a database key, which
    pairs would then learn and the evaluation reward. They are mixed by a hash, unless ``ties_in_log_order``. The cap
    applies to both sides of the split apart, to the latest ``max_user_rows`` of each; where it leaves a hole
    between the sides, the sequence ends at the hole.
    """
    user = _ranks(rows.users)[rows.user]
    session = _ranks(rows.sessions)[rows.session]
    tie = rows.position if ties_in_log_order else mixed_order(rows)
    order = np.lexsort((rows.position, tie, rows.timestamp, session, user))
    user, session = user[order], session[order]
    item, timestamp, part = rows.item[order], rows.timestamp[order], part[order]

    starts = _changes(user) | _changes(session)
    if gap_seconds is not None:
        starts[1:] |= np.diff(timestamp) > gap_seconds
    session_number = np.cumsum(starts)

    keep = _changes(item) | starts
    repeats = len(item) - int(keep.sum())
    user, item, session_number = user[keep], item[keep], session_number[keep]
    timestamp, part = timestamp[keep], part[keep]

    late = part == Part.EVALUATION
    keep = _latest(user, late, timestamp, max_user_rows)
    holed = np.isin(user, np.unique(user[~keep & late]))
    ends = _changes(session_number) | (_changes(late) & holed)
    sequence: npt.NDArray[np.int64] = np.cumsum(ends)
    users, user_number = np.unique(user[keep], return_inverse=True)
    return Sequences(
        item=item[keep],
        timestamp=timestamp[keep],
        sequence=sequence[keep],
        user=user_number.astype(np.int64),
        part=part[keep],
        num_users=len(users),
        repeats=repeats,
        capped=int(len(keep) - keep.sum()),
    )


def mixed_order(rows: Rows) -> npt.NDArray[np.uint64]:
    """A number for each row, [n], that depends on user, item and time and on nothing else; it orders ties."""
    mixed = (checksums(rows.users)[rows.user] << np.uint64(32)) ^ rows.item.astype(np.uint64)
    mixed = splitmix(mixed) ^ rows.timestamp.view(np.uint64)
    return splitmix(mixed)


def split_by_user(rows: Rows, partition_of_user: npt.NDArray[np.int64]) -> list[tuple[int, Rows]]:
    """Rows by the partition of their user; ``partition_of_user`` goes with ``rows.users``."""
    partition = partition_of_user[rows.user]
    order = np.argsort(partition, kind="stable")
    numbers, begins = np.unique(partition[order], return_index=True)
    return [
        (int(number), take_rows(rows, chosen))
        for number, chosen in zip(numbers, np.split(order, begins[1:]), strict=True)
    ]


def _latest(
    user: npt.NDArray[Any],
    late: npt.NDArray[np.bool_],
    timestamp: npt.NDArray[np.float64],
    limit: int,
) -> npt.NDArray[np.bool_]:
    """Marks the latest ``limit`` rows of each user on each side of the split; of the same time the later ones."""
    order = np.lexsort((np.arange(len(user)), timestamp, late, user))
    group = np.cumsum(_changes(user[order]) | _changes(late[order]))
    group_ends = np.searchsorted(group, group, side="right")
    keep = np.empty(len(user), np.bool_)
    keep[order] = group_ends - np.arange(len(user)) <= limit
    return keep


def _changes(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Marks each value that differs from the one before it, and the first."""
    changed = np.ones(len(values), np.bool_)
    changed[1:] = values[1:] != values[:-1]
    return changed


def _ranks(names: list[bytes]) -> npt.NDArray[np.int64]:
    """Bytewise rank of each name, which no order of arrival changes."""
    ranks = np.empty(len(names), np.int64)
    ranks[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    return ranks
