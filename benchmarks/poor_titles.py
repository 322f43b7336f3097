"""Makes a catalogue whose texts say little, or nothing, of what is engaged with together.

``python -m benchmarks.poor_titles --items ITEMS.csv --output POOR.csv [--how kind|shuffled]``

``kind`` keeps the last word of three letters or more of a title and of a description, as titles of shelves have it: of
the shop's 4,707 items five share a title in the mean. ``shuffled`` gives each item the texts of another.
"""

import argparse
import re
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from pyarrow import csv

KIND: Final = "kind"
SHUFFLED: Final = "shuffled"

_TEXTS = ("title", "description")
_WORD = re.compile(r"[^\W\d_]{3,}")


def kind(text: str) -> str:
    """What is kept of a text; all of it where there is no such word.

    >>> kind("SET OF 3 HEART T-LIGHT HOLDERS"), kind("15CM"), kind("")
    ('HOLDERS', '15CM', '')
    """
    words = _WORD.findall(text)
    return words[-1] if words else text


def impoverish(items: pa.Table, how: str, seed: int = 0) -> pa.Table:
    """The items with poorer texts, all else as it was; ``seed`` is that of the shuffle."""
    order = np.random.default_rng(seed).permutation(len(items))
    for place, name in enumerate(items.column_names):
        if name not in _TEXTS:
            continue
        texts = items[name].to_pylist()
        if how == SHUFFLED:
            poorer = [texts[row] for row in order]
        else:
            poorer = [None if text is None else kind(text) for text in texts]
        items = items.set_column(place, name, pa.array(poorer, pa.string()))
    return items


def main() -> None:
    """Reads, impoverishes and writes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.poor_titles", description=main.__doc__)
    parser.add_argument("--items", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--how", choices=(KIND, SHUFFLED), default=KIND)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    types = {name: pa.string() for name in ("item_id", *_TEXTS)}
    items = csv.read_csv(arguments.items, convert_options=csv.ConvertOptions(column_types=types))
    poorer = impoverish(items, arguments.how, arguments.seed)
    csv.write_csv(poorer, arguments.output)
    before, after = (len(set(table["title"].to_pylist())) for table in (items, poorer))
    print(f"{len(items)} items, {before} titles before, {after} after")


if __name__ == "__main__":
    main()
