"""What ``mtmh run`` makes of a day gone wrong: one table of what stopped it, how soon, and what is served after it.

``python -m benchmarks.bad_days [--interactions CSV --items CSV] [--rows N] [--set section.key=value]...``
``[--output DIR]``

In one work directory, one after another: the log as it is, the same again, half of its items permuted, a column
renamed, timestamps in milliseconds, the last tenth of them in milliseconds where reading is told to bear it, and the
log as it was. The log is CSV with the columns user_id, item_id and timestamp (unix seconds).
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from benchmarks.cold import DATA
from tfx_pipeline import tables

_COLUMNS: Final = {"user_id": pa.string(), "item_id": pa.string(), "timestamp": pa.int64()}


@dataclasses.dataclass(frozen=True)
class Day:
    """One run.

    Attributes:
      name: what the log is.
      code: exit status; 0 where a version was pushed or nothing was to do.
      seconds: of the whole command.
      said: its last line.
      versions: what is served after it, by version.
    """

    name: str
    code: int
    seconds: float
    said: str
    versions: tuple[str, ...]


def permuted(log: pa.Table, seed: int = 3) -> pa.Table:
    """The log with half of its items under each other's ids."""
    found = pc.unique(log["item_id"]).to_pylist()
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(found))[: len(found) // 2]
    name = np.array(found, dtype=object)
    name[chosen] = name[np.roll(chosen, 1)]
    ids = pc.index_in(log["item_id"], pa.array(found)).to_numpy()
    return _with(log, "item_id", pa.array(name[ids].tolist()))


def in_milliseconds(log: pa.Table, first: float = 0.0) -> pa.Table:
    """The log with timestamps in milliseconds from that share of its rows on."""
    seconds = log["timestamp"].to_numpy().copy()
    seconds[int(first * len(seconds)) :] *= 1000
    return _with(log, "timestamp", pa.array(seconds))


def _renamed(log: pa.Table) -> pa.Table:
    return log.rename_columns(["product" if name == "item_id" else name for name in log.column_names])


def _with(log: pa.Table, name: str, column: pa.Array) -> pa.Table:
    return log.set_column(log.column_names.index(name), name, column)


_DAYS: Final[tuple[tuple[str, Callable[[pa.Table], pa.Table], tuple[str, ...]], ...]] = (
    ("the log as it is", lambda log: log, ()),
    ("the same again", lambda log: log, ()),
    ("half of the items permuted", permuted, ()),
    ("a column renamed", _renamed, ()),
    ("timestamps in milliseconds", in_milliseconds, ()),
    ("the last tenth in milliseconds", lambda log: in_milliseconds(log, 0.9), ("input.max_bad_share=0.5",)),
    ("the log as it was", lambda log: log, ()),
)


def measure(directory: Path, log: pa.Table, items: str, settings: list[str]) -> Iterator[Day]:
    """Runs day after day in one work directory."""
    path, served = directory / "log.csv", directory / "work" / "serving" / "mtmh"
    for name, change, more in _DAYS:
        csv.write_csv(change(log), path)
        command = [sys.executable, "-m", "tfx_pipeline.cli", "run", "--workdir", str(directory / "work")]
        command += ["--interactions", str(path), "--items", items]
        command += [word for each in (*settings, *more) for word in ("--set", each)]
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - started
        versions = sorted(part.name for part in served.iterdir() if part.name.isdigit()) if served.is_dir() else []
        said = done.stderr.strip().splitlines()[-1].replace(f"{directory}/", "")
        yield Day(name, done.returncode, seconds, said, tuple(versions))


def main() -> None:
    """Runs them and prints the table as they end."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bad_days", description=main.__doc__)
    parser.add_argument("--interactions", type=Path, default=DATA / "interactions.csv.gz")
    parser.add_argument("--items", default=str(DATA / "items.csv.gz"))
    parser.add_argument("--rows", type=int, help="the first so many rows alone; by default all")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument("--output", type=Path, default=Path("demo/bench"), help="where the JSON goes")
    arguments = parser.parse_args()
    log = csv.read_csv(arguments.interactions, convert_options=csv.ConvertOptions(column_types=_COLUMNS))
    log = log.sort_by("timestamp").slice(0, arguments.rows)
    out = tables.console()
    days: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as directory:
        for day in measure(Path(directory), log, arguments.items, arguments.settings):
            days.append(dataclasses.asdict(day))
            out.print(f"{day.name}: exit {day.code}, {day.seconds:.0f} s, {len(day.versions)} version(s) served")
            out.print(f"  {day.said}", style="dim")
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "bad_days.json").write_text(json.dumps(days, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
