"""Thins a dense log out to a random sample of rows of some users, as a panel's published sample does.

``python -m benchmarks.row_sample --interactions LOG.csv[.gz] --output SAMPLE.csv [--users 560] [--rows 17600]``

Of the users with enough rows so many are drawn, and of their rows so many, one of a user with n rows by a chance in
proportion to ``1 / sqrt(n)``, so that no user is most of the sample. With ``--zipf C`` items are as unequal as a
grocer's, too: the r-th most frequent one is drawn in proportion to ``1 / (r + C)``, r from 0.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

_COLUMNS = {"user_id": pa.string(), "item_id": pa.string(), "timestamp": pa.float64()}


def sample(log: pa.Table, users: int, fewest: int, rows: int, seed: int, zipf: float | None = None) -> pa.Table:
    """The rows that are kept, in the order of ``log``, which has a user_id and may have any other columns.

    With ``zipf`` it needs an item_id as well.
    """
    rng = np.random.default_rng(seed)
    user = log["user_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    count = np.bincount(user)
    frequent = np.flatnonzero(count >= fewest)
    chosen = rng.choice(frequent, min(users, len(frequent)), replace=False)
    places = np.flatnonzero(np.isin(user, chosen))
    chance = 1 / np.sqrt(count[user[places]])
    if zipf is not None:
        item = log["item_id"].combine_chunks().dictionary_encode().indices.to_numpy()
        frequency = np.bincount(item)
        rank = np.empty(len(frequency))
        rank[np.argsort(-frequency, kind="stable")] = np.arange(len(frequency))
        chance *= 1 / (rank[item[places]] + zipf) / frequency[item[places]]
    kept = rng.choice(places, min(rows, len(places)), replace=False, p=chance / chance.sum())
    return log.take(np.sort(kept))


def main() -> None:
    """Reads, samples and writes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.row_sample", description=main.__doc__)
    parser.add_argument("--interactions", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--users", type=int, default=560)
    parser.add_argument("--fewest", type=int, default=60, help="rows that a user has at least")
    parser.add_argument("--rows", type=int, default=17600)
    parser.add_argument("--zipf", type=float, help="popularity of items by their rank; by default as it is")
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    log = csv.read_csv(arguments.interactions, convert_options=csv.ConvertOptions(column_types=_COLUMNS))
    kept = sample(log, arguments.users, arguments.fewest, arguments.rows, arguments.seed, arguments.zipf)
    csv.write_csv(kept, arguments.output)
    print(f"{len(kept)} of {len(log)} rows kept")


if __name__ == "__main__":
    main()
