"""The teacher's near neighbours of each item, for the distillation's candidates."""

import numpy as np
from numpy.typing import NDArray

from trainer.exact import nearest

_EXACT_PRODUCTS = 2e12
"""Multiplications that are worth an exact search; a larger catalogue is compared with a sample of itself."""


def teacher_neighbours(content: NDArray[np.float32], count: int, seed: int) -> NDArray[np.int32]:
    """Near neighbours by teacher cosine.

    Args:
      content: float32 [N, D], L2-normalised or zero rows.
      count: m, neighbours of each item.
      seed: of the sample that stands for a catalogue too large to search exactly.

    Returns:
      int32 [N, m], itself excluded; filled with uniform items where the catalogue has too few.
    """
    number, dimension = content.shape
    rng = np.random.default_rng(seed)
    if number * number * dimension <= _EXACT_PRODUCTS:
        found = nearest(content, content, k=count, exclude=np.arange(number))
    else:
        sample = np.sort(rng.choice(number, int(_EXACT_PRODUCTS / (number * dimension)), replace=False))
        place = np.full(number, -1, dtype=np.int64)
        place[sample] = np.arange(len(sample))
        found = nearest(content, content[sample], k=count, exclude=place)
        found = np.where(found >= 0, sample[found], -1).astype(np.int32)
    return np.where(found >= 0, found, rng.integers(0, number, found.shape)).astype(np.int32)
