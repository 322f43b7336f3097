"""Rows that stand for all the others where something is fitted to a catalogue."""

import numpy as np
from numpy.typing import NDArray


def evenly_spread(count: int, most: int) -> NDArray[np.int64]:
    """At most ``most`` of ``count`` rows, as far from one another as can be; all of them where they are fewer.

    >>> evenly_spread(3, 5).tolist(), evenly_spread(10, 4).tolist(), evenly_spread(0, 4).tolist()
    ([0, 1, 2], [0, 2, 5, 7], [])
    """
    size = min(count, most)
    return np.arange(size, dtype=np.int64) * count // max(size, 1)
