"""Preprocessing against a hand-written script, its rate beyond start-up, and how it grows with the log.

Against the script wall seconds count. The rate beyond start-up is a difference, and growth a ratio of differences: on a
machine that others use too only processor seconds give them a meaning. The work is one thread's for the most part.
"""

import json
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.generate import World, generate
from benchmarks.stages.figures import Figure, Process, median, python

_BUNDLED: Final = Path(__file__).parents[2] / "tests" / "data" / "online_retail"
_OURS: Final = """
import json, sys
from preprocessing.pipeline import preprocess
from tfx_pipeline.config import load_config
interactions, items, output, settings = json.loads(sys.argv[1])
manifest = preprocess(load_config(None, settings).preprocessing, [interactions], [items], output)
print(manifest.interactions.rows_in, manifest.num_pairs)
"""
_MOST_MIB: Final = 4096.0
_FEW: Final = 2_000
"""Rows of a run that is start-up for the most part."""


def measure(*, quick: bool, tables: tuple[Path, Path] | None = None) -> list[Figure]:
    """Whole processes, start-up included; the teacher's vectors are there from a first run.

    Args:
      quick: on small sizes.
      tables: log and catalogue, with the columns of the bundled cut, which is taken by default.
    """
    repeats = 1 if quick else 3
    log, items = tables or (_BUNDLED / "interactions.csv.gz", _BUNDLED / "items.csv.gz")
    name = str(log) if tables else "the bundled cut"
    shop = ["input.columns.session_id=invoice", "features.categories=false"]
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        _ours(log, items, directory, shop)
        ours, theirs = [], []
        for _ in range(repeats):
            ours.append(_ours(log, items, directory, shop))
            theirs.append(python("-m", "benchmarks.stages.peer_pairs", str(log), str(directory / "peer.tfrecord.gz")))
        seconds, other = (median([each.seconds for each in runs]) for runs in (ours, theirs))
        rows = int(ours[0].output.split()[-2])
        ratio = seconds / other
        return [
            Figure("preprocessing", "pyarrow, numpy and TFRecordWriter by hand", "s", seconds, other, ratio,
                   "<= 4 x", ratio <= 4.0,
                   f"{name}, {rows:,} interactions; {ours[0].output.split()[-1]} pairs, theirs "
                   f"{theirs[0].output.split()[-1]}, which know no split; peak {ours[0].peak_mib:,.0f} MiB"),
            *_growth(directory, quick=quick),
        ]  # fmt: skip


def _growth(directory: Path, *, quick: bool) -> list[Figure]:
    sizes = (100_000, 400_000) if quick else (1_000_000, 10_000_000)
    items = 5_000 if quick else 50_000
    runs = []
    # The first run remembers the teacher, the second is start-up.
    for size in (_FEW, _FEW, *sizes):
        source = directory / f"log-{size}"
        generate(World(size, items, size // 40), source)
        runs.append(_ours(source / "interactions-*.csv", source / "items-*.csv", directory, []))
    begun = runs[1].cpu
    less, more = ((run.cpu - begun) / (size - _FEW) * 1e6 for run, size in zip(runs[2:], sizes, strict=True))
    peak, rate = runs[-1].peak_mib, 1e6 / more
    # The small log of a quick run takes hardly longer than start-up: its growth says little.
    met = None if quick else more / less <= 1.3
    return [
        Figure("preprocessing beyond start-up", "", "rows/s", rate, None, rate / 40_000, ">= 40,000 rows/s",
               rate >= 40_000, f"{sizes[1]:,} interactions, processor seconds; start-up {begun:.1f} s of them"),
        Figure(f"preprocessing, {sizes[1]:,} interactions", f"{sizes[0]:,}", "us a row", more, less, more / less,
               "<= 1.3 x", met, f"processor time, start-up taken off; {items:,} items"),
        Figure("preprocessing, largest process", "", "MiB", peak, None, peak / _MOST_MIB, "< 4 GiB", peak < _MOST_MIB,
               f"{sizes[1]:,} interactions"),
    ]  # fmt: skip


def _ours(interactions: Path, items: Path, directory: Path, settings: list[str]) -> Process:
    inputs = json.dumps([str(interactions), str(items), str(directory / "ours"), settings])
    return python("-c", _OURS, inputs)
