"""What stands for a content vector where there is none: a guess at the teacher's vector from the words.

A ridge regression from hashed words and letters within words to the teacher's principal axes. It is fitted once before
the training and then fixed, so that an item asked for by its title is, to both heads, an item with a content vector.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from preprocessing.backend import tf
from preprocessing.evenly import evenly_spread
from preprocessing.transform import GRAM_BUCKETS, GRAM_KINDS

RANK: Final = 128
"""Most principal axes of the teacher that are guessed at."""
_RIDGE: Final = 0.3
_ITERATIONS: Final = 15
_FIT_ITEMS: Final = 100_000
"""The regression sees at most this many items, evenly spread over the catalogue."""


@dataclasses.dataclass(frozen=True)
class Grams:
    """Hashed n-grams of n items, one item after another; see `preprocessing.transform.text_grams`.

    Attributes:
      values: uint16 [S].
      row_splits: int64 [n + 1].
    """

    values: NDArray[np.uint16]
    row_splits: NDArray[np.int64]

    @classmethod
    def joined(cls, parts: Sequence["Grams"]) -> "Grams":
        """The items of all parts, in order."""
        lengths = np.concatenate([np.diff(part.row_splits) for part in parts])
        splits = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        return cls(np.concatenate([part.values for part in parts]), splits)


class ContentStandIn(tf.keras.layers.Layer):
    """The guess: ragged n-grams of n items to float32 [n, D], L2-normalised, zero for items without words."""

    def __init__(self, content_dimension: int) -> None:
        """Guesses nothing, zero rows, until `assign`."""
        super().__init__(name="content_stand_in", trainable=False)
        rank = min(RANK, content_dimension)
        # trainer.artefact saves both with the encoder; nothing trains them.
        self._coefficients = self.add_weight(
            "coefficients", (GRAM_KINDS * GRAM_BUCKETS, rank), initializer="zeros", trainable=False
        )
        self._axes = self.add_weight("axes", (rank, content_dimension), initializer="zeros", trainable=False)

    def assign(self, weights: NDArray[np.float32], axes: NDArray[np.float32]) -> None:
        """Takes the result of `fit_stand_in`."""
        self._coefficients.assign(weights)
        self._axes.assign(axes)

    def call(self, grams: Any) -> Any:
        """Guesses from ragged int32 [n, (grams)]."""
        number = grams.nrows()
        ids, row = grams.flat_values, tf.cast(grams.value_rowids(), tf.int64)
        kind = ids // GRAM_BUCKETS
        cell = tf.cast(row, tf.int32) * GRAM_KINDS + kind
        count = tf.math.unsorted_segment_sum(
            tf.ones_like(ids, tf.float32), cell, tf.cast(number, tf.int32) * GRAM_KINDS
        )
        bags = tf.SparseTensor(
            indices=tf.stack([row, tf.cast(ids, tf.int64)], axis=1),
            values=tf.math.rsqrt(tf.gather(count, cell)),
            dense_shape=tf.stack([tf.cast(number, tf.int64), GRAM_KINDS * GRAM_BUCKETS]),
        )
        guess = tf.matmul(tf.sparse.sparse_dense_matmul(bags, self._coefficients), self._axes)
        return tf.math.l2_normalize(guess, axis=1, epsilon=1e-12)

    def fill(self, content: Any, grams: Any) -> Any:
        """Content vectors float32 [n, D], the zero rows among them replaced by what the n-grams let guess."""
        absent = tf.reshape(tf.where(tf.reduce_all(content == 0.0, axis=1)), [-1])
        return tf.tensor_scatter_nd_update(content, absent[:, tf.newaxis], self(tf.gather(grams, absent)))


def fit_stand_in(
    grams: Grams, content: NDArray[np.float32], *, ridge: float = _RIDGE
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fits the regression: min_W |X W - Y|^2 + ridge |W|^2, by conjugate gradients from zero.

    A row of X holds, for each kind of n-gram, the item's n-grams at weights whose squares add up to 1; Y is the content
    on its leading principal axes. Equal inputs give equal weights.

    Args:
      grams: of N items.
      content: float32 [N, D]; items with a zero row, or without n-grams, teach nothing.
      ridge: weight of the penalty.

    Returns:
      Weights float32 [buckets of all kinds, r] and axes float32 [r, D], r = min(`RANK`, D).
    """
    from threadpoolctl import threadpool_limits

    # With one thread the sums of BLAS have one order, and equal seeds give equal models.
    with threadpool_limits(1):
        return _fit(grams, content, ridge)


def _fit(grams: Grams, content: NDArray[np.float32], ridge: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    taught = np.flatnonzero(content.any(axis=1) & (np.diff(grams.row_splits) > 0))
    taught = taught[evenly_spread(len(taught), _FIT_ITEMS)]
    matrix = _bags(grams, taught)
    rank = min(RANK, content.shape[1])
    axes = _leading_axes(content[taught], rank)
    wanted = content[taught] @ axes.T
    transposed = matrix.T.tocsr()
    weights = np.zeros((matrix.shape[1], rank), np.float32)
    residual = transposed @ wanted
    direction, norm = residual.copy(), np.einsum("br,br->r", residual, residual)
    for _ in range(_ITERATIONS):
        step = transposed @ (matrix @ direction) + np.float32(ridge) * direction
        length = _ratio(norm, np.einsum("br,br->r", direction, step))
        weights += length * direction
        residual -= length * step
        last, norm = norm, np.einsum("br,br->r", residual, residual)
        direction = residual + _ratio(norm, last) * direction
    return weights, axes


def _bags(grams: Grams, rows: NDArray[np.int64]) -> Any:
    """Rows of X as a sparse matrix, float32 [len(rows), buckets]."""
    from scipy.sparse import csr_matrix

    lengths = np.diff(grams.row_splits)[rows]
    splits = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    places = np.repeat(grams.row_splits[rows] - splits[:-1], lengths) + np.arange(splits[-1])
    ids = grams.values[places].astype(np.int64)
    cell = np.repeat(np.arange(len(rows)), lengths) * GRAM_KINDS + ids // GRAM_BUCKETS
    count = np.bincount(cell, minlength=len(rows) * GRAM_KINDS)
    shape = (len(rows), GRAM_KINDS * GRAM_BUCKETS)
    return csr_matrix(((count[cell] ** -0.5).astype(np.float32), ids, splits), shape=shape)


def _leading_axes(content: NDArray[np.float32], rank: int) -> NDArray[np.float32]:
    _, axes = np.linalg.eigh(content.T.astype(np.float64) @ content)
    return np.ascontiguousarray(axes[:, ::-1][:, :rank].T, np.float32)


def _ratio(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """Quotients, 0 where a column has converged."""
    return np.divide(left, right, out=np.zeros_like(left), where=right > 1e-20)
