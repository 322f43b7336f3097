"""Makes a catalogue say only what kind of thing an item is, as one whose titles are those of shelves does.

``python -m benchmarks.kind_titles --items ITEMS.csv --output KINDS.csv``

Of a title and of a description the last word of three letters or more is kept: of the shop's 4,707 items, five share a
title in the mean, and a teacher that reads them knows little of what is bought together.
"""

import argparse
import re
from pathlib import Path

import pyarrow as pa
from pyarrow import csv

_TEXTS = ("title", "description")
_WORD = re.compile(r"[^\W\d_]{3,}")


def kind(text: str) -> str:
    """What is kept of a text; all of it where there is no such word.

    >>> kind("SET OF 3 HEART T-LIGHT HOLDERS"), kind("15CM"), kind("")
    ('HOLDERS', '15CM', '')
    """
    words = _WORD.findall(text)
    return words[-1] if words else text


def kinds(items: pa.Table) -> pa.Table:
    """The items, with texts that say only their kind."""
    for place, name in enumerate(items.column_names):
        if name in _TEXTS:
            texts = [None if text is None else kind(text) for text in items[name].to_pylist()]
            items = items.set_column(place, name, pa.array(texts, pa.string()))
    return items


def main() -> None:
    """Reads, shortens and writes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kind_titles", description=main.__doc__)
    parser.add_argument("--items", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    types = {name: pa.string() for name in ("item_id", *_TEXTS)}
    items = csv.read_csv(arguments.items, convert_options=csv.ConvertOptions(column_types=types))
    shortened = kinds(items)
    csv.write_csv(shortened, arguments.output)
    print(f"{len(items)} items, {len(set(items['title'].to_pylist()))} titles before", end=", ")
    print(f"{len(set(shortened['title'].to_pylist()))} after")


if __name__ == "__main__":
    main()
