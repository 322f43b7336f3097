"""Catalogues whose texts say little."""

import pyarrow as pa

from benchmarks.poor_titles import KIND, SHUFFLED, impoverish

TITLES = ["RED RETROSPOT MUG 8CM", "PINK TEA MUG", "15", "JAM JAR", "LAMP"]
ITEMS = pa.table(
    {
        "item_id": ["10002", "10002R", "7", "8", "9"],
        "title": TITLES,
        "description": [f"{title} of tin" if title != "15" else None for title in TITLES],
        "price": [1.5, 2.0, 3.0, 4.0, 5.0],
    }
)


def others(items):
    return items.drop(["title", "description"])


def test_of_a_text_its_kind_is_kept_and_all_else_stays():
    found = impoverish(ITEMS, KIND)
    assert others(found).equals(others(ITEMS))
    assert found["title"].to_pylist() == ["MUG", "MUG", "15", "JAR", "LAMP"]
    assert found["description"].to_pylist() == ["tin", "tin", None, "tin", "tin"]
    assert found.column_names == ITEMS.column_names


def test_shuffled_texts_stay_together_and_belong_to_others():
    found = impoverish(ITEMS, SHUFFLED)
    assert others(found).equals(others(ITEMS))
    before, after = (table.select(["title", "description"]).to_pylist() for table in (ITEMS, found))
    assert before != after
    assert sorted(before, key=str) == sorted(after, key=str)
    assert found.equals(impoverish(ITEMS, SHUFFLED))
    assert not found.equals(impoverish(ITEMS, SHUFFLED, seed=1))
