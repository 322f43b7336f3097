"""Slices of the eval triggers by how much is known of the trigger: head, torso, tail, cold.

One definition for tables, TensorBoard and report. Items are ordered by their interactions of the training period, the
most engaged first and ties by index. *Head* are the first items that together make half of all interactions, *torso*
those that make the next 30 %, *tail* the other items with an interaction. An item across a border belongs to its more
popular side. *Cold* are items without an interaction in training. A (trigger, target) pair is in the slice of its
trigger, and in *cold* as soon as either of both is cold; a trigger occasion is in the slice of its trigger.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

ALL: Final = "all"
HEAD: Final = "head"
TORSO: Final = "torso"
TAIL: Final = "tail"
COLD: Final = "cold"

SLICES: Final = (HEAD, TORSO, TAIL, COLD)

_BORDERS: Final = (0.5, 0.8)
"""Shares of all interactions before which head and torso end."""


def item_slices(interaction_count: NDArray[np.int64]) -> NDArray[np.int8]:
    """The slice of each item, [N], as its place in `SLICES`.

    >>> item_slices(np.array([1, 0, 5, 1, 2, 1])).tolist()
    [1, 3, 0, 2, 1, 2]
    """
    order = np.argsort(-interaction_count, kind="stable")
    counts = interaction_count[order]
    more_popular = np.cumsum(counts) - counts
    found = np.empty(len(order), dtype=np.int8)
    borders = np.array(_BORDERS) * counts.sum()
    found[order] = np.searchsorted(borders, more_popular, side="right")
    found[interaction_count == 0] = SLICES.index(COLD)
    return found
