"""What a request holds at a time does not grow with its rows, and answers don't depend on it."""

import dataclasses

import numpy as np
import pytest

from preprocessing.backend import tf
from serving import search
from serving.flavours import SCANN, STOCK
from tests.serving.naive import DEFAULTS, Row, Shelf, clustered
from trainer.names import MERGES

NUMBER, DIMENSIONS, ROWS = 1000, 2 * 16, 23
CATEGORIES = [("even",) if row % 2 == 0 else () for row in range(NUMBER)]
REQUESTS = [Row([f"i{row}"], weight, k=7, allow=["even"]) for row, weight in enumerate(np.linspace(0, 1, ROWS))]


@pytest.fixture
def gathered(monkeypatch):
    """Rows and candidates of every gather of candidates' vectors."""
    seen, dot = [], search._dot

    def watched(table, queries, rows):
        (shape,) = tf.numpy_function(lambda shape: seen.append(tuple(shape)) or shape, [tf.shape(rows)], [tf.int32])
        with tf.control_dependencies([shape]):
            return dot(table, queries, rows)

    monkeypatch.setattr(search, "_dot", watched)
    return seen


@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize(("kind", "flavour"), [("exact", SCANN), ("tree", SCANN), ("tree", STOCK)])
def test_an_index_is_asked_a_block_at_a_time(kind, flavour, merge, filtered, tmp_path, monkeypatch, gathered):
    def shelf(name):
        defaults = dataclasses.replace(DEFAULTS, merge=merge)
        ids = [f"i{row}" for row in range(NUMBER)]
        return Shelf(
            tmp_path / name,
            ids,
            clustered(NUMBER),
            kind=kind,
            defaults=defaults,
            categories=CATEGORIES,
            flavour=flavour,
        )

    expected = shelf("one").ask(REQUESTS, filtered=filtered)
    if not (filtered and kind == "exact"):  # that is a scan, which has its own blocks
        assert {rows for rows, _ in gathered} == {ROWS}
    longest = max((candidates for _, candidates in gathered), default=1)
    gathered.clear()
    monkeypatch.setattr(search, "_FLOATS", 4 * longest * DIMENSIONS, raising=False)
    blocks = shelf("another").ask(REQUESTS, filtered=filtered)
    assert all(rows * candidates <= 4 * longest for rows, candidates in gathered)
    for name, value in expected.items():
        if name.endswith("score"):
            np.testing.assert_allclose(blocks[name], value, atol=1e-6)
        else:
            np.testing.assert_array_equal(blocks[name], value)


def test_a_batch_without_rows(tmp_path):
    shelf = Shelf(tmp_path, [f"i{row}" for row in range(NUMBER)], clustered(NUMBER), kind="tree")
    assert shelf.ask([])["item_id"].shape == (0, 0)
