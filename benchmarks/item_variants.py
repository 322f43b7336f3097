"""Splits the items of a log into variants of one title, as a grocer's catalogue has them: a brand, a size, a flavour.

``python -m benchmarks.item_variants --interactions LOG.csv --items ITEMS.csv --output VARIANTS.csv --output-items
VARIANT_ITEMS.csv``

An item of n rows becomes about ``1.4 sqrt(n)`` items, of which the v-th is taken in proportion to ``1 / (v + 1)``, v
from 0. Six in ten rows of a user and an item go to the variant that the user is loyal to, the others to any.
"""

import argparse
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from pyarrow import csv

_MOST_VARIANTS: Final = 40
_LOYAL: Final = 0.6
_STRINGS = {name: pa.string() for name in ("user_id", "item_id", "title", "description")}


def split(log: pa.Table, items: pa.Table, seed: int) -> tuple[pa.Table, pa.Table]:
    """The log and the catalogue with ``ITEM-v`` in place of ``ITEM``; equal arguments give equal tables.

    Args:
      log: has a user_id and an item_id, strings, and may have any other columns.
      items: has an item_id; those without a row in the log are left out, as rows are whose item isn't there.
      seed: of the variants that are taken.
    """
    rng = np.random.default_rng(seed)
    encoded = log["item_id"].combine_chunks().dictionary_encode()
    item, names = encoded.indices.to_numpy(), encoded.dictionary.to_pylist()
    user = log["user_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    variants = np.clip(np.round(1.4 * np.sqrt(np.bincount(item))).astype(np.int64), 1, _MOST_VARIANTS)
    together, of_row = np.unique(user.astype(np.int64) * len(names) + item, return_inverse=True)
    loyalty = rng.random(len(together))[of_row]
    any_variant, is_loyal = rng.random(len(item)), rng.random(len(item)) < _LOYAL
    place = np.where(is_loyal, loyalty, any_variant)
    taken = np.empty(len(item), np.int64)
    for number in np.unique(variants):
        rows = variants[item] == number
        chance = 1.0 / np.arange(1, number + 1)
        taken[rows] = np.searchsorted(np.cumsum(chance / chance.sum())[:-1], place[rows])
    catalogued = {name: row for row, name in enumerate(items["item_id"].to_pylist())}
    listed = [
        (f"{name}-{variant}", catalogued[name])
        for name, number in zip(names, variants, strict=True)
        if name in catalogued
        for variant in range(number)
    ]
    ids = [f"{names[code]}-{variant}" for code, variant in zip(item, taken, strict=True)]
    known = np.array([name in catalogued for name in names], dtype=np.bool_)[item]
    return (
        _with_ids(log, ids).filter(pa.array(known)),
        _with_ids(items.take(pa.array([row for _, row in listed], pa.int64())), [name for name, _ in listed]),
    )


def _with_ids(table: pa.Table, ids: list[str]) -> pa.Table:
    return table.set_column(table.column_names.index("item_id"), "item_id", pa.array(ids, pa.string()))


def main() -> None:
    """Reads, splits and writes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.item_variants", description=main.__doc__)
    parser.add_argument("--interactions", type=Path, required=True)
    parser.add_argument("--items", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--output-items", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    convert = csv.ConvertOptions(column_types=_STRINGS)
    log, items = (csv.read_csv(path, convert_options=convert) for path in (arguments.interactions, arguments.items))
    rows = len(log)
    log, items = split(log, items, arguments.seed)
    csv.write_csv(log, arguments.output)
    csv.write_csv(items, arguments.output_items)
    taken, titles = (len(set(column.to_pylist())) for column in (log["item_id"], items["title"]))
    print(f"{len(log)} of {rows} rows kept, of {taken} items; {len(items)} items, {titles} titles")


if __name__ == "__main__":
    main()
