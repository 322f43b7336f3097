"""Titles that say only what kind of thing an item is."""

import pyarrow as pa

from benchmarks.kind_titles import kinds

ITEMS = pa.table(
    {
        "item_id": ["10002", "10002R", "7"],
        "title": ["RED RETROSPOT MUG 8CM", "PINK TEA MUG", "15"],
        "description": ["a cup of two", None, ""],
        "price": [1.5, 2.0, 3.0],
    }
)


def test_texts_are_their_last_word_and_all_else_stays():
    found = kinds(ITEMS)
    assert found.drop(["title", "description"]).equals(ITEMS.drop(["title", "description"]))
    assert found["title"].to_pylist() == ["MUG", "MUG", "15"]
    assert found["description"].to_pylist() == ["two", None, ""]
    assert found.column_names == ITEMS.column_names
