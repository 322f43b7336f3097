import decimal

import numpy as np
import pytest

from preprocessing.catalogue import build_catalogue, parse_embedding, parse_items, split_categories
from preprocessing.rows import RawBatch


def parse(rows, file=0):
    roles = ("item_id", "title", "description", "categories", "embedding")
    columns = {role: [row.get(role) for row in rows] for role in roles}
    batch = RawBatch(np.arange(2, len(rows) + 2), columns, lambda i: f"row {i}", [], 0)
    return parse_items(batch, file, 100)


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (None, ()),
        ("", ()),
        ("Action| Drama |Action||", ("Action", "Drama")),
        (["b", "a", " b", None, 3], ("b", "a", "3")),
        (5, ("5",)),
        (5.0, ("5",)),
        (float("nan"), ()),
        ([5.0, float("nan"), 7], ("5", "7")),
        (decimal.Decimal(5), ("5",)),
        ([decimal.Decimal("2.00"), decimal.Decimal("NaN"), b"a "], ("2", "a")),
        ('["a", " c|0", null, 3]', ("a", "c|0", "3")),
        (" ['a', \"it's\", 3, None] ", ("a", "it's", "3")),
        ("['rock','hip hop']", ("rock", "hip hop")),
        (r"['it\'s', 'a, b']", ("it's", "a, b")),
        ("[]", ()),
        # None of these is a list as JSON or Python writes one.
        ("[new] shoes|[sale]", ("[new] shoes", "[sale]")),
        ("[sale]", ("[sale]",)),
        ("['a' 'b']", ("['a' 'b']",)),
        ("['a', ['b']]", ("['a', ['b']]",)),
        ("[" * 70_000 + "]", ("[" * 70_000 + "]",)),
        # Python's own parser does not survive these.
        ("[a" + ".a" * 150_000 + "]", ("[a" + ".a" * 150_000 + "]",)),
        ("[1" + "+1" * 150_000 + "]", ("[1" + "+1" * 150_000 + "]",)),
    ],
)
def test_categories(value, names):
    assert split_categories(value) == names


@pytest.mark.parametrize("value", ["[1, 2.5]", "1 2.5", "1|2.5", "1,2.5", "1;2.5", [1, 2.5]])
def test_embeddings(value):
    assert parse_embedding(value).tolist() == [1.0, 2.5]


@pytest.mark.parametrize(
    "value", ["[1, null]", "1 two", "nan 1", [1, float("inf")], ["1"], [], "[]", [True], [1e39], "[[1]]"]
)
def test_bad_embeddings(value):
    with pytest.raises(ValueError, match=r"numbers|entries|finite|convert|could not"):
        parse_embedding(value)


def test_a_vector_that_numpy_printed_is_told_how_to_write():
    with pytest.raises(ValueError, match=r"'\[1\. 2\.\]' is no list of numbers; write it as \[0\.1, 0\.2\]"):
        parse_embedding("[1. 2.]")


def test_items_are_ordered_by_bytes_and_the_first_row_wins():
    one, bad = parse([{"item_id": "é"}, {"item_id": "z", "title": "first"}, {"item_id": "Z"}, {"item_id": ""}], file=0)
    two, _ = parse([{"item_id": "z", "title": "second"}], file=1)
    catalogue = build_catalogue([*two, *one], ["one.csv", "two.csv"])
    assert [item.item_id for item in catalogue.items] == ["Z", "z", "é"]
    assert catalogue.items[1].title == "first"
    assert [(file, row.line, row.reason) for file, row in catalogue.bad] == [(1, 2, "duplicate_item")]
    assert "one.csv:3" in catalogue.bad[0][1].detail
    assert [(row.line, row.reason) for row in bad] == [(5, "missing_item_id")]


def test_a_duplicate_says_where_the_first_one_is():
    one, _ = parse([{"item_id": "z"}], file=0)
    two, _ = parse([{"item_id": "z"}], file=1)
    ((_, row),) = build_catalogue([*two, *one], ["a.csv", "b.csv"]).bad
    assert row.detail == "item 'z' stands in a.csv:2 already"


def test_a_vector_of_zeros_is_none():
    for value in ("0 0", [0, 0.0], [1e-60, 0]):
        assert parse_embedding(value) is None


def test_the_most_common_dimension_wins():
    rows, _ = parse([{"item_id": "a", "embedding": [1]}, *({"item_id": x, "embedding": [1, 2]} for x in "bc")])
    catalogue = build_catalogue(rows, ["items.csv"])
    assert [item.item_id for item in catalogue.items] == ["b", "c"]
    assert [row.reason for _, row in catalogue.bad] == ["bad_embedding"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"item_id": "a", "categories": 3.5}, "wrong_type"),
        ({"item_id": "a", "categories": decimal.Decimal("3.50")}, "wrong_type"),
        ({"item_id": "a", "categories": [b"\xff"]}, "bad_encoding"),
        ({"item_id": "a", "categories": [["b"]]}, "wrong_type"),
        ({"item_id": "a", "categories": '[["b"]]'}, "wrong_type"),
        ({"item_id": "a", "categories": [float("inf")]}, "wrong_type"),
        ({"item_id": "a", "categories": True}, "wrong_type"),
        ({"item_id": "a", "categories": [True]}, "wrong_type"),
        ({"item_id": "a", "categories": {"b": 1}}, "wrong_type"),
        ({"item_id": "a", "categories": ["x" * 101]}, "field_too_long"),
        ({"item_id": "a", "title": "a\0b"}, "nul_byte"),
        ({"item_id": "a", "embedding": "x"}, "bad_embedding"),
    ],
)
def test_bad_items(row, reason):
    rows, bad = parse([row])
    assert rows == []
    assert [entry.reason for entry in bad] == [reason]
