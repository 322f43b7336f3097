"""ItemKNN: items engaged with by the same people, with `implicit`'s item-item neighbours."""

from typing import Any, ClassVar, Final

import numpy as np
import scipy.sparse
from implicit.nearest_neighbours import ItemItemRecommender
from numpy.typing import NDArray

from trainer.counted import CountedRecommender
from trainer.histories import Histories

_NEIGHBOURS: Final = 1000
_MOST_NEIGHBOURS: Final = 30_000_000
_FEWEST_NEIGHBOURS: Final = 100


class ItemKNN:
    """Cosine with shrinkage, ``x_i . x_j / (|x_i| |x_j| + h)`` over the columns of the user-item matrix.

    Shrinkage as in Ferrari Dacrema et al., "Are We Really Making Much Progress?" (RecSys 2019): h > 0 ranks an overlap
    of many people above the same cosine of a few. `implicit` finds the overlaps; its own `CosineRecommender` would cut
    each item's neighbours by the cosine before shrinkage could lift the frequent ones, so the overlap is what they are
    cut by here. A "user" may be a part of a history: on long ones, what is close in time is closer.
    """

    grid: ClassVar[tuple[dict[str, Any], ...]] = tuple(
        {"part_rows": rows, "shrinkage": shrinkage} for rows in (None, 100) for shrinkage in (10, 50, 200, 1000)
    )
    default: ClassVar[dict[str, Any]] = {"part_rows": None, "shrinkage": 50}

    def __init__(self, histories: Histories, num_items: int) -> None:
        """Takes what to count: histories, N."""
        self._histories, self._num_items = histories, num_items
        self._popularity = histories.popularity(num_items)
        self._part_rows: int | None = -1
        self._overlap = scipy.sparse.csr_matrix((num_items, num_items))
        self._norm = np.zeros(num_items)

    def fit(self, *, part_rows: int | None, shrinkage: float) -> CountedRecommender:
        """Scores with histories cut into parts of so many rows (None: whole), and h."""
        if self._part_rows != part_rows:
            engagements = self._histories.engagements(self._num_items, part_rows)
            self._overlap, self._norm = overlaps(engagements)
            self._part_rows = part_rows
        return CountedRecommender(shrunk_cosine(self._overlap, self._norm, shrinkage), self._popularity)


def neighbours_kept(num_items: int) -> int:
    """Most neighbours kept of each of N items: of all together 30 million, unless these were fewer than 100 of each.

    >>> neighbours_kept(20_000), neighbours_kept(60_000), neighbours_kept(1_000_000)
    (1000, 500, 100)
    """
    return min(_NEIGHBOURS, max(_FEWEST_NEIGHBOURS, _MOST_NEIGHBOURS // max(1, num_items)))


def overlaps(engagements: scipy.sparse.csr_matrix) -> tuple[scipy.sparse.csr_matrix, NDArray[np.float64]]:
    """``x_i . x_j`` of each item's nearest others, [N, N], and ``|x_i|``, [N], of the columns of [U, N]."""
    num_items = engagements.shape[1]
    neighbours = min(num_items, neighbours_kept(num_items))  # before shrinkage orders them
    # One thread: of equal overlaps, the same ones are kept on every machine.
    model = ItemItemRecommender(K=neighbours, num_threads=1)
    model.fit(engagements.astype(np.float64), show_progress=False)
    overlap = model.similarity.tocsr()
    overlap.sort_indices()
    return overlap, np.sqrt(np.asarray(engagements.power(2).sum(axis=0), dtype=np.float64).ravel())


def shrunk_cosine(
    overlap: scipy.sparse.csr_matrix, norm: NDArray[np.float64], shrinkage: float
) -> scipy.sparse.csr_matrix:
    """``overlap_ij / (norm_i norm_j + shrinkage)``, float32 [N, N]."""
    row = np.repeat(np.arange(len(norm)), np.diff(overlap.indptr))
    score = overlap.data / (norm[row] * norm[overlap.indices] + shrinkage)
    return scipy.sparse.csr_matrix((score.astype(np.float32), overlap.indices, overlap.indptr), shape=overlap.shape)
