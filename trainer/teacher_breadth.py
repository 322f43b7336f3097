"""How many items the teacher takes for alike."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

SAMPLE: Final = 1024
"""Items that the teacher divides its word among; what it does among fewer is scaled up to so many."""


def teacher_breadth(content: NDArray[np.float32], temperature: float, seed: int) -> float:
    """Among how many of 1,024 random items the teacher divides its word: mean perplexity of softmax(cosine / τ).

    Args:
      content: float32 [N, D], L2-normalised or zero rows, which are left out.
      temperature: τ.
      seed: of the sample of items.

    Returns:
      From 1 to 1,024; 1 where too few items have a vector.
    """
    (present,) = np.nonzero(content.any(axis=1))
    sample = np.random.default_rng(seed).permutation(present)[: 2 * SAMPLE]
    rows, others = content[sample[: len(sample) // 2]], content[sample[len(sample) // 2 :]]
    if not len(rows):
        return 1.0
    logits = (rows @ others.T / temperature).astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    share = np.exp(logits)
    share /= share.sum(axis=1, keepdims=True)
    perplexity = np.exp(-np.sum(share * np.log(np.maximum(share, 1e-300)), axis=1))
    return float(perplexity.mean()) * SAMPLE / len(others)
