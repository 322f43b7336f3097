"""Id embeddings from co-engagement counts: by hand on three items, and by sense on two cliques."""

import math

import numpy as np
import pytest

from tests.trainer.toys import pair_summary
from trainer.spectral import mutual_information, spectral_embeddings


def cliques(size=5, bridge=1, number=None):
    """Two groups whose items are engaged with together ten times each, and one weak link between them."""
    counts = {
        (a, b): 10
        for start in (0, size)
        for a in range(start, start + size)
        for b in range(start, start + size)
        if a != b
    }
    return pair_summary(number or 2 * size, counts | {(0, size): bridge})


def test_mutual_information_by_hand():
    """0 and 1 are together three times in either order, 0 and 2 once: row sums 4, 3, 1."""
    found = mutual_information(pair_summary(3, {(0, 1): 2, (1, 0): 1, (0, 2): 1})).toarray()
    context = np.array([4, 3, 1]) ** 0.75
    context *= 8 / context.sum()
    expected = np.zeros((3, 3))
    for a, b, count in ((0, 1, 3), (1, 0, 3), (0, 2, 1), (2, 0, 1)):
        expected[a, b] = max(0.0, math.log(count * 8 / ([4, 3, 1][a] * context[b])))
    assert found == pytest.approx(expected)
    assert found[0, 1] > 0
    assert found[2, 0] == pytest.approx(found[1, 0])  # both are with 0 alone, however often


def test_what_is_together_less_than_by_chance_says_nothing():
    counts = {(0, 1): 100, (2, 3): 100, (0, 2): 1}
    found = mutual_information(pair_summary(4, counts)).toarray()
    assert found[0, 2] == found[2, 0] == 0
    assert found[0, 1] > 1


def test_items_of_a_clique_start_near_each_other():
    vectors = spectral_embeddings(cliques(), 2, seed=0)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine, same = unit @ unit.T, np.arange(10)[:, None] // 5 == np.arange(10) // 5
    assert cosine[same].min() > 0.9
    assert cosine[~same].max() < 0.3


def test_embeddings_have_a_mean_norm_of_one_and_no_rows_of_strangers():
    vectors = spectral_embeddings(cliques(number=13), 6, seed=0)
    assert (vectors.shape, vectors.dtype) == ((13, 6), np.float32)
    norms = np.linalg.norm(vectors, axis=1)
    assert norms[:10].mean() == pytest.approx(1.0, abs=1e-5)
    assert not vectors[10:].any()


def test_same_pairs_and_seed_give_the_same_bits():
    assert np.array_equal(spectral_embeddings(cliques(), 4, seed=3), spectral_embeddings(cliques(), 4, seed=3))


def test_factors_rebuild_what_they_factorise():
    """With all dimensions U S U' of a symmetric matrix, up to the signs of the eigenvalues: its square is exact."""
    matrix = mutual_information(cliques()).toarray()
    vectors = spectral_embeddings(cliques(), 10, seed=0).astype(np.float64)
    left, values, _ = np.linalg.svd(matrix)
    expected = (left * values) @ left.T  # whatever the signs and the order of equal values
    found = vectors @ vectors.T
    assert found / found[0, 0] == pytest.approx(expected / expected[0, 0], abs=1e-4)


def test_fewer_items_than_dimensions_leave_zero_columns():
    vectors = spectral_embeddings(pair_summary(3, {(0, 1): 2, (1, 0): 1, (0, 2): 1}), 8, seed=0)
    assert vectors.shape == (3, 8)
    assert not vectors[:, 3:].any()
    assert vectors.any(axis=1).all()
    assert np.isfinite(vectors).all()


def test_nothing_is_known_of_any_item():
    assert not spectral_embeddings(pair_summary(3, {}), 2, seed=0).any()
