"""The partitioned search in plain TensorFlow, at sizes where it is easily wrong."""

import numpy as np
import pytest

from preprocessing.backend import tf
from serving.config import IndexConfig
from serving.flavours import STOCK
from serving.index import IndexPlan, plan_index
from serving.partitions import PartitionedIndex, partition
from tests.serving.naive import clustered, unit


@pytest.mark.parametrize("number", [1, 16, 17, 300])
@pytest.mark.parametrize("size", [1, 5, 400])
def test_partitions_hold_every_item_once(number, size):
    vectors = unit(np.random.default_rng(number), number, 4)
    parts = partition(vectors, max(1, number // 20), size)
    assert sorted(np.concatenate(parts)) == list(range(number))
    assert 1 <= min(map(len, parts)) <= max(map(len, parts)) <= size
    again = partition(vectors, max(1, number // 20), size)
    assert [part.tolist() for part in parts] == [part.tolist() for part in again]


def test_equal_vectors_are_no_huge_partition():
    """Items without a text share a vector; a query that falls there is to cost what any other does."""
    vectors = np.concatenate([np.ones((900, 4)) / 2, unit(np.random.default_rng(0), 100, 4)]).astype(np.float32)
    parts = partition(vectors, 16, 32)
    assert max(map(len, parts)) <= 32
    assert len(parts) < 2.5 * 1000 / 32


@pytest.mark.parametrize("number", [16, 300])
def test_all_partitions_probed_are_exact_search(number):
    rng = np.random.default_rng(number)
    vectors, plan = unit(rng, number, 5), plan_index(number, IndexConfig(kind="tree", leaves_to_search=10_000), STOCK)
    index = PartitionedIndex(IndexPlan("tree", plan.leaves, 10_000, plan.reorder, STOCK), vectors)
    for batch in (0, 1, 3):
        queries = unit(rng, batch, 5)
        for k in (0, 1, number, number + 5):
            scores, rows = (part.numpy() for part in index(tf.constant(queries), k=tf.constant(k)))
            assert scores.shape == rows.shape == (batch, k)
            for query, values, found in zip(queries, scores, rows, strict=True):
                assert (found >= 0).sum() == min(k, number)
                assert (values[found < 0] == -np.inf).all()
                real = found[found >= 0]
                assert len(set(real)) == len(real)
                np.testing.assert_allclose(values[: len(real)], vectors[real] @ query, atol=1e-6)
                best = np.sort(vectors @ query)[::-1][:k]
                np.testing.assert_allclose(values[: len(real)], best, atol=1e-6)


def test_wider_search_of_the_same_index_finds_more():
    vectors = clustered(4000).relevance
    queries = unit(np.random.default_rng(1), 50, 16)
    plan = IndexPlan("tree", 64, 2, 100, STOCK)
    index = PartitionedIndex(plan, vectors)
    floor = np.sort(queries @ vectors.T, axis=1)[:, -20:-19]

    def recall():
        return float(np.mean(index(tf.constant(queries), k=20)[0].numpy() >= floor - 1e-6))

    narrow = recall()
    index.search_with(IndexPlan("tree", 64, 32, 100, STOCK))
    assert narrow < 0.8
    assert recall() > 0.97
    with pytest.raises(ValueError, match="cannot be searched with"):
        index.search_with(IndexPlan("tree", 65, 2, 100, STOCK))
