"""The item table as tensors."""

import numpy as np

from tests.trainer.toys import item_table
from trainer import catalogue as catalogue_module
from trainer.catalogue import MAX_CATEGORIES, build_catalogue, category_vocabulary

ITEMS = item_table(
    ["Red shoe", "", "red red shoe!"],
    [["b", "a"], [], ["b", "c"]],
    np.eye(3),
    interaction_count=[3, 0, 1],
)


def test_vocabulary_goes_by_count_then_by_falling_name(monkeypatch):
    assert category_vocabulary(ITEMS) == ("b", "c", "a")
    monkeypatch.setattr(catalogue_module, "MAX_VOCABULARY", 2)
    assert category_vocabulary(ITEMS) == ("b", "c")


def test_catalogue():
    found = build_catalogue(ITEMS, buckets=1000, tokens=4)
    assert found.num_items == 3
    assert found.categories.tolist() == [[2, 4], [0, 0], [2, 3]]
    assert found.known.tolist() == [True, False, True]
    assert (found.tokens.dtype, found.categories.dtype) == (np.int32, np.int32)
    red, shoe, red_shoe, pad = found.tokens[0]
    assert pad == 0
    assert not found.tokens[1].any()
    assert found.tokens[2].tolist()[:3] == [red, red, shoe]  # "red red" comes before "red shoe", cut off
    assert len({red, shoe, red_shoe}) == 3


def test_chunks_change_nothing(monkeypatch):
    whole = build_catalogue(ITEMS, buckets=1000, tokens=4)
    monkeypatch.setattr(catalogue_module, "_CHUNK", 1)
    parts = build_catalogue(ITEMS, buckets=1000, tokens=4)
    assert np.array_equal(parts.tokens, whole.tokens)
    assert np.array_equal(parts.categories, whole.categories)


def test_unknown_and_too_many_categories(monkeypatch):
    many = item_table(["x", "y"], [[f"c{i:02d}" for i in range(40)], []])
    assert build_catalogue(many, buckets=10, tokens=2).categories.shape == (2, MAX_CATEGORIES)
    monkeypatch.setattr(catalogue_module, "MAX_VOCABULARY", 1)
    assert build_catalogue(ITEMS, buckets=10, tokens=2).categories.tolist() == [[2, 1], [0, 0], [2, 1]]
    none = build_catalogue(item_table(["", ""]), buckets=10, tokens=2)
    assert none.vocabulary == ()
    assert none.categories.tolist() == [[0], [0]]
