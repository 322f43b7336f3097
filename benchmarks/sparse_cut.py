"""Cuts a dense log down to a few rows a user, as in shops where people seldom come back.

``python -m benchmarks.sparse_cut --interactions LOG.csv[.gz] --output CUT.csv [--users 9000]``

Of each user with five rows or more a run of consecutive rows is kept, five and a geometrically distributed number more
(nine in the mean); of the users a seeded sample. Rows of one user with the same timestamp, such as those of an invoice,
are mixed by the seed, and told apart by milliseconds.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

_FEWEST, _MORE = 5, 0.2
_COLUMNS = {"user_id": pa.string(), "item_id": pa.string(), "timestamp": pa.float64()}


def cut(log: pa.Table, users: int, seed: int) -> pa.Table:
    """The rows that are kept, by user and time; ``log`` has user_id, item_id and timestamp, and may have more."""
    rng = np.random.default_rng(seed)
    user = log["user_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    time = log["timestamp"].to_numpy()
    order = np.lexsort((rng.random(len(time)), time, user))
    first = np.flatnonzero(np.diff(user[order], prepend=-1))
    length = np.diff(first, append=len(order))
    first, length = first[length >= _FEWEST], length[length >= _FEWEST]
    kept = np.minimum(length, _FEWEST + rng.geometric(_MORE, len(length)) - 1)
    start = first + rng.integers(0, length - kept + 1)
    chosen = np.sort(rng.permutation(len(first))[:users])
    rows = [order[begin : begin + number] for begin, number in zip(start[chosen], kept[chosen], strict=True)]
    apart = np.concatenate([np.arange(len(run)) for run in rows]) / 1000
    table = log.take(np.concatenate(rows))
    return table.set_column(
        table.column_names.index("timestamp"), "timestamp", pa.array(table["timestamp"].to_numpy() + apart)
    )


def main() -> None:
    """Reads, cuts and writes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sparse_cut", description=main.__doc__)
    parser.add_argument("--interactions", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--users", type=int, default=9000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    log = csv.read_csv(arguments.interactions, convert_options=csv.ConvertOptions(column_types=_COLUMNS))
    kept = cut(log, arguments.users, arguments.seed)
    csv.write_csv(kept, arguments.output)
    print(f"{len(kept)} of {len(log)} rows kept, of {len(pc.unique(kept['user_id']))} users")


if __name__ == "__main__":
    main()
