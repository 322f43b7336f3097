"""Swing: two items are related where pairs of people who share little else engaged with both."""

from typing import Any, ClassVar, Final

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from trainer.counted import CountedRecommender
from trainer.histories import Histories
from trainer.itemknn import neighbours_kept

_MOST_USERS: Final = 300
"""Users considered of an item."""


class Swing:
    """The swing score over the user-item graph.

    Yang et al., "Large Scale Product Graph Construction for Recommendation in E-commerce" (arXiv:2010.05525, 2020).
    With U_i the users of item i and I_u the items of user u::

        score(i, j) = sum over u < v in U_i and U_j of w_u w_v / (alpha + |I_u and I_v|),   w_u = |I_u| ** -beta

    The paper's β is 0.5. Of an item with very many users, those with the fewest items count: they weigh most, and they
    bound the work. A "user" may be a part of a history, as in `trainer.itemknn`.
    """

    grid: ClassVar[tuple[dict[str, Any], ...]] = tuple(
        {"part_rows": rows, "alpha": alpha, "beta": beta}
        for rows in (None, 100)
        for alpha in (1.0, 10.0)
        for beta in (0.2, 0.5)
    )
    default: ClassVar[dict[str, Any]] = {"part_rows": None, "alpha": 1.0, "beta": 0.5}

    def __init__(self, histories: Histories, num_items: int, only: NDArray[np.int64] | None = None) -> None:
        """Takes what to count: histories, N, and the triggers that will be asked for where they are not all items."""
        self._histories, self._num_items = histories, num_items
        self._only = np.arange(num_items) if only is None else np.unique(only)
        self._popularity = histories.popularity(num_items)

    def fit(self, *, part_rows: int | None, alpha: float, beta: float) -> CountedRecommender:
        """Scores with histories cut into parts of so many rows (None: whole), α and β."""
        engagements = self._histories.engagements(self._num_items, part_rows)
        return CountedRecommender(swing_scores(engagements, self._only, alpha=alpha, beta=beta), self._popularity)


def swing_scores(
    engagements: scipy.sparse.csr_matrix, items: NDArray[np.int64], *, alpha: float, beta: float
) -> scipy.sparse.csr_matrix:
    """Swing scores of the rows ``items``, float32 [N, N], of each the best `neighbours_kept`; see `Swing`.

    Args:
      engagements: [U, N], not 0 where the user engaged with the item.
      items: item indexes; other rows are left empty.
      alpha: α.
      beta: β.
    """
    num_items = engagements.shape[1]
    most = neighbours_kept(num_items)
    baskets = engagements.astype(np.float32).tocsr()
    baskets.data[:] = 1.0
    buyers = baskets.T.tocsr()
    size = np.diff(baskets.indptr).astype(np.float64)
    lengths = np.zeros(num_items, np.int64)
    columns: list[NDArray[np.int32]] = []
    scores: list[NDArray[np.float32]] = []
    for item in items:
        users = buyers.indices[buyers.indptr[item] : buyers.indptr[item + 1]]
        users = users[np.argsort(size[users], kind="stable")[:_MOST_USERS]]
        if len(users) < 2:
            continue
        column, score = _swing_of(baskets[users], size[users] ** -beta, alpha)
        best = np.sort(np.argsort(-score, kind="stable")[:most])
        lengths[item] = len(best)
        columns.append(column[best])
        scores.append(score[best])
    return scipy.sparse.csr_matrix(
        (
            np.concatenate([np.zeros(0, np.float32), *scores]),
            np.concatenate([np.zeros(0, np.int32), *columns]),
            np.concatenate([[0], np.cumsum(lengths)]),
        ),
        shape=(num_items, num_items),
    )


def _swing_of(
    baskets: scipy.sparse.csr_matrix, weight: NDArray[np.float64], alpha: float
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Items and their scores, given the baskets [m, N] and the weights [m] of the trigger's users."""
    items, column = np.unique(baskets.indices, return_inverse=True)
    inside = scipy.sparse.csr_matrix((baskets.data, column, baskets.indptr), shape=(len(weight), len(items)))
    shared = (inside @ inside.T).toarray()
    pair = np.outer(weight, weight) / (alpha + shared)
    np.fill_diagonal(pair, 0.0)
    # Of item j and user u: what u gives to j together with all other users of j.
    given = inside.T.tocsr() @ pair.astype(np.float32)
    user = np.repeat(np.arange(len(weight)), np.diff(inside.indptr))
    score = 0.5 * np.bincount(column, weights=given[column, user], minlength=len(items))
    return items.astype(np.int32), score.astype(np.float32)
