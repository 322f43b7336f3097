import numpy as np
import pytest
from hypothesis import given, strategies as st

from trainer.best import Best, column_tiles
from trainer.exact import nearest


@given(st.integers(1, 7), st.integers(1, 60), st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_best_are_those_of_a_stable_sort(k, columns, levels, seed):
    """With few distinct scores nearly all are ties, zeros of both signs among them."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(4, columns)).astype(np.float32)
    if levels:
        scores = np.round(scores * levels) / np.float32(levels)
    best = Best(4, k)
    ends = np.sort(rng.integers(0, columns + 1, 3)).tolist()
    for begin, end in zip([0, *ends], [*ends, columns], strict=True):
        best.offer(np.ascontiguousarray(scores[:, begin:end]), begin)
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    assert np.array_equal(best.columns()[:, :columns], expected)
    assert (best.columns()[:, columns:] == -1).all()


@pytest.mark.parametrize(("columns", "k"), [(1, 1), (512, 5), (513, 5), (100_000, 50), (100_000, 3000)])
def test_tiles_cover_every_column_once(columns, k):
    tiles = list(column_tiles(columns, k))
    assert [tile.start for tile in tiles[1:]] == [tile.stop for tile in tiles[:-1]]
    assert (tiles[0].start, tiles[-1].stop) == (0, columns)


def test_nearest_across_blocks_and_tiles():
    rng = np.random.default_rng(0)
    candidates = rng.normal(size=(9000, 16)).astype(np.float32)
    candidates[4000:4010] = candidates[0]
    queries = np.concatenate([candidates[:3], rng.normal(size=(600, 16)).astype(np.float32)])
    exclude = np.concatenate([np.arange(3), rng.integers(0, 9000, 600)])
    scores = queries @ candidates.T
    scores[np.arange(len(queries)), exclude] = -np.inf
    found = nearest(queries, candidates, k=20, exclude=exclude)
    best = -np.sort(-scores, axis=1)[:, :20]
    assert np.take_along_axis(scores, found.astype(np.int64), axis=1) == pytest.approx(best, rel=1e-5)
    assert set(found[0, :10]) == set(range(4000, 4010))
    assert (found != exclude[:, np.newaxis]).all()
