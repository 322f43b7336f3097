"""Id embeddings to start from: a factorisation of the co-engagement counts.

Training by steps has to find out what counting knows already. The factors of the positive pointwise mutual information
of items (Levy and Goldberg, "Neural word embedding as implicit matrix factorization", NeurIPS 2014) put items that are
engaged with together next to each other before the first step.
"""

from typing import Final

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from trainer.data import PairSummary

MOST_ITEMS: Final = 1_000_000
"""Catalogues up to this size are factorised; a larger one starts at random."""
_SMOOTHING: Final = 0.75
"""Power of the counts of the context, which keeps rare items from looking related to everything."""
_POWER_ITERATIONS: Final = 3


def mutual_information(pairs: PairSummary) -> scipy.sparse.csr_matrix:
    """Positive pointwise mutual information of items that are engaged with together, either first: sparse [N, N].

    With counts c of both directions, their row sums r and total t, ``max(0, log(c_ij t / (r_i s_j)))`` where s is r to
    the power 0.75, scaled to the same total.
    """
    number = len(pairs.target_count)
    rows = np.repeat(np.arange(number), np.diff(pairs.known_row_splits))
    directed = scipy.sparse.csr_matrix(
        (pairs.known_counts.astype(np.float64), (rows, pairs.known_values)), shape=(number, number)
    )
    counts = (directed + directed.T).tocoo()
    row_sum = np.asarray(counts.sum(axis=1)).ravel()
    total = row_sum.sum()
    smooth = row_sum**_SMOOTHING
    smooth *= total / max(smooth.sum(), 1.0)
    information = np.log(counts.data * total / (row_sum[counts.row] * smooth[counts.col]))
    positive = information > 0
    return scipy.sparse.csr_matrix(
        (information[positive], (counts.row[positive], counts.col[positive])), shape=(number, number)
    )


def spectral_embeddings(pairs: PairSummary, dimension: int, seed: int) -> NDArray[np.float32]:
    """Left factors ``U sqrt(S)`` of the mutual information, float32 [N, dimension], with a mean norm of 1.

    Zero rows where nothing is known of an item, zero columns beyond the rank; the same for the same pairs and seed.
    """
    from sklearn.utils.extmath import randomized_svd

    matrix = mutual_information(pairs)
    rank = min(dimension, matrix.shape[0])
    with threadpool_limits(1):  # one order of summing, whatever the machine's load
        left, values, _ = randomized_svd(matrix, rank, n_iter=_POWER_ITERATIONS, random_state=seed)
    factors = np.pad(left * np.sqrt(values), ((0, 0), (0, dimension - rank)))
    norms = np.linalg.norm(factors, axis=1)
    known = norms > 1e-6
    factors[~known] = 0.0
    return np.asarray(factors / (norms[known].mean() if known.any() else 1.0), np.float32)
