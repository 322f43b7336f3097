"""A partitioned search in plain TensorFlow ops: centroids, probed partitions, gather, top-k.

Items are clustered by k-means, and clusters cut into partitions of one size, so that what a query costs does not depend
on where it falls: many items may share a vector (those without a text), and would be one huge cluster. A partition's
vectors lie side by side, and probing it copies one block.
"""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from preprocessing.backend import tf
from serving.blocks import in_blocks
from serving.index import IndexPlan

_SAMPLE: Final = 64
"""Vectors that k-means looks at for each centroid."""
_ITERATIONS: Final = 10
_PER_CLUSTER: Final = 2
"""Partitions that an average cluster is cut into."""
_BLOCK: Final = 50_000
_SPREAD: Final = 2.0
"""A partition counts as so many standard deviations of its members' scores better than its centroid."""
_FLOATS: Final = 1 << 23
"""Numbers of probed vectors held at a time, 32 MB."""


class PartitionedIndex(tf.Module):
    """Largest dot products by probing partitions, with k chosen by the request."""

    def __init__(self, plan: IndexPlan, candidates: NDArray[np.float32]) -> None:
        """Builds the index over ``candidates``, float32 [N, d]; answers name them by row."""
        super().__init__(name="partitions")
        self._plan = plan
        number, dimension = candidates.shape
        size = max(1, math.ceil(number / plan.leaves))
        parts = partition(candidates, max(1, plan.leaves // _PER_CLUSTER), size)
        rows = np.full((len(parts), size), -1, np.int32)
        for place, part in enumerate(parts):
            rows[place, : len(part)] = part
        self._number, self._size, self._dimension = len(parts), size, dimension
        centroids = np.stack([candidates[part].mean(axis=0) for part in parts])
        variance = np.array([candidates[part].var(axis=0).sum() / dimension for part in parts])
        self._rows = tf.Variable(rows, trainable=False, name="partition_rows")
        self._vectors = tf.Variable(candidates[np.maximum(rows, 0)], trainable=False, name="partition_vectors")
        self._centroids = tf.Variable(centroids.astype(np.float32), trainable=False, name="centroids")
        self._spread = tf.Variable(_SPREAD * np.sqrt(variance).astype(np.float32), trainable=False, name="spread")

    def search_with(self, plan: IndexPlan) -> None:
        """Searches as ``plan`` says from now on; its kind and leaves have to be those of the index."""
        if (plan.kind, plan.leaves) != (self._plan.kind, self._plan.leaves):
            raise ValueError(f"an index of {self._plan} cannot be searched with {plan}")
        self._plan = plan

    @property
    def state(self) -> Any:
        """What a SavedModel has to carry."""
        return self

    def __call__(self, queries: Any, k: Any) -> tuple[Any, Any]:
        """Searches.

        Args:
          queries: float32 [B, d].
          k: int32 scalar, neighbours wanted; may be 0 or above N.

        Returns:
          Scores float32 [B, k], falling, and candidate rows int32 [B, k]; -inf and -1 where too few were probed.
        """
        probed = min(self._plan.leaves_to_search, self._number)
        rows_at_once = max(1, _FLOATS // (probed * self._size * self._dimension))

        def work(block: Any) -> tuple[Any, Any]:
            return self._probe(block, probed, k)

        scores, rows = in_blocks(work, (queries,), rows_at_once, (tf.float32, tf.int32))
        return scores, rows

    def _probe(self, queries: Any, probed: int, k: Any) -> tuple[Any, Any]:
        length = tf.norm(queries, axis=1, keepdims=True)
        promise = tf.matmul(queries, self._centroids, transpose_b=True) + length * self._spread
        places = tf.math.top_k(promise, probed, sorted=False).indices
        vectors = tf.reshape(tf.gather(self._vectors, places), [-1, probed * self._size, self._dimension])
        rows = tf.reshape(tf.gather(self._rows, places), [-1, probed * self._size])
        scores = tf.where(rows >= 0, tf.linalg.matvec(vectors, queries), -math.inf)
        best, place = tf.math.top_k(scores, tf.minimum(k, probed * self._size))
        found = tf.gather(rows, place, batch_dims=1)
        missing = [[0, 0], [0, k - tf.shape(best)[1]]]
        return (
            tf.pad(best, missing, constant_values=-math.inf),
            tf.pad(tf.where(best > -math.inf, found, -1), missing, constant_values=-1),
        )


def partition(vectors: NDArray[np.float32], clusters: int, size: int) -> list[NDArray[np.int64]]:
    """Divides rows of ``vectors``, float32 [N, d], into groups of near ones, of at most ``size`` each.

    The same vectors give the same groups.
    """
    assigned = _nearest(vectors, _centroids(vectors, clusters))
    order = np.argsort(assigned, kind="stable")
    bounds = np.flatnonzero(np.diff(assigned[order])) + 1
    groups: list[NDArray[np.int64]] = []
    for members in np.split(order, bounds):
        groups += _cut(vectors, members, math.ceil(len(members) / size))
    return groups


def _centroids(vectors: NDArray[np.float32], number: int) -> NDArray[np.float32]:
    """Lloyd's algorithm over a sample; a cluster that runs empty begins anew elsewhere."""
    rng = np.random.default_rng(0)
    sample = vectors[np.sort(rng.permutation(len(vectors))[: _SAMPLE * number])]
    centroids: NDArray[np.float32] = sample[rng.permutation(len(sample))[:number]].copy()
    for _ in range(_ITERATIONS):
        assigned = _nearest(sample, centroids)
        counts = np.bincount(assigned, minlength=number)
        order = np.argsort(assigned, kind="stable")
        starts = np.cumsum(counts) - counts
        filled = counts > 0
        sums = np.add.reduceat(sample[order], starts[filled], axis=0)
        centroids[filled] = sums / counts[filled, np.newaxis]
        centroids[~filled] = sample[rng.integers(0, len(sample), int((~filled).sum()))]
    return centroids


def _nearest(vectors: NDArray[np.float32], centroids: NDArray[np.float32]) -> NDArray[np.int64]:
    """The centroid of least distance to each vector."""
    half = 0.5 * np.sum(centroids**2, axis=1)
    blocks = [
        np.argmax(vectors[start : start + _BLOCK] @ centroids.T - half, axis=1)
        for start in range(0, len(vectors), _BLOCK)
    ]
    return np.concatenate(blocks)


def _cut(vectors: NDArray[np.float32], members: NDArray[np.int64], pieces: int) -> list[NDArray[np.int64]]:
    """Cuts a cluster into pieces of about one size, each time across the direction in which it is longest."""
    if pieces <= 1:
        return [members]
    own = vectors[members] - vectors[members].mean(axis=0)
    direction = own[np.argmax(np.sum(own**2, axis=1))]
    for _ in range(3):  # power iteration: the first principal axis, roughly
        direction = own.T @ (own @ direction)
        direction /= max(float(np.linalg.norm(direction)), 1e-30)
    order = members[np.argsort(own @ direction, kind="stable")]
    left = pieces // 2
    at = len(members) * left // pieces
    return _cut(vectors, order[:at], left) + _cut(vectors, order[at:], pieces - left)
