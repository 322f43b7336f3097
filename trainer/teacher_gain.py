"""How much the teacher knows of engagement: what its cosine adds to how popular a target is."""

from typing import Final

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from trainer.data import PairSummary

_MOST_BATCHES, _SIZE = 32, 512
_DRAWS: Final = 4 * _MOST_BATCHES * _SIZE
"""More than are needed, for some may be of items that the teacher knows nothing of."""
_HIDDEN: Final = np.float32(-1e9)


def teacher_gain(content: NDArray[np.float32], pairs: PairSummary, temperature: float, seed: int) -> float:
    """Nats that the teacher saves of finding a pair's target among those of 511 other pairs.

    Targets of other pairs are as popular as the pair's own, so what is popular is worth nothing. What the teacher is
    worth is the mean of log softmax(β cosine) at the right target over log(1 / 512), for the best β from 0 to 1 / τ: a
    bound of the mutual information, as of van den Oord et al., "Representation Learning with Contrastive Predictive
    Coding" (2018). Half a nat over the number of pairs, which β finds in noise, is taken off.

    Args:
      content: float32 [N, D], L2-normalised; zero rows, of which the teacher knows nothing, are left out.
      pairs: co-engagement; draws are by the weights of its distinct pairs.
      temperature: τ.
      seed: of the draws.

    Returns:
      From 0, for a teacher that may as well guess or that knows hardly an item, to log 512.
    """
    ends = np.cumsum(pairs.known_weights)
    if not len(ends) or ends[-1] <= 0.0:
        return 0.0
    drawn = np.searchsorted(ends, np.random.default_rng(seed).random(_DRAWS) * ends[-1], side="right")
    drawn = np.minimum(drawn, len(ends) - 1)
    trigger = np.searchsorted(pairs.known_row_splits, drawn, side="right") - 1
    target = pairs.known_values[drawn]
    present = content.any(axis=1)
    usable = np.flatnonzero(present[trigger] & present[target] & (trigger != target))[: _MOST_BATCHES * _SIZE]
    batches = len(usable) // _SIZE
    if not batches:
        return 0.0
    cosine = np.empty((batches, _SIZE, _SIZE), np.float32)
    for batch, rows in enumerate(usable[: batches * _SIZE].reshape(batches, _SIZE)):
        cosine[batch] = content[trigger[rows]] @ content[target[rows]].T
        cosine[batch][trigger[rows, np.newaxis] == target[rows]] = _HIDDEN  # an item is never retrieved for itself
    right = float(np.diagonal(cosine, axis1=1, axis2=2).mean(dtype=np.float64))

    def loss(slope: float) -> float:
        of_batches = [np.log(np.exp(np.float32(slope) * (part - 1.0)).sum(axis=1)).mean() for part in cosine]
        return float(np.mean(of_batches, dtype=np.float64)) + slope * (1.0 - right)

    # A cosine that is hidden counts as one candidate less; a slope of nothing would bring it back.
    least = 1e-6
    best = scipy.optimize.minimize_scalar(loss, bounds=(least, 1.0 / temperature), method="bounded")
    return max(0.0, float(loss(least) - best.fun) - 0.5 / len(ends))
