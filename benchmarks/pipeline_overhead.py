"""What TFX adds to the bare steps, and what a second run costs that has nothing to do; prints one table.

``python -m benchmarks.pipeline_overhead [--interactions CSV --items CSV] [--set section.key=value]... [--output DIR]``

The bare steps (preprocess, train, evaluate, export) run one after another in a process of their own. Then ``mtmh run``
does the same through TFX, with statistics, gates and the validation in a server besides, and once more on unchanged
inputs. The overhead is the first run less the bare steps; start-up of Python and of libraries is part of all figures.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.cold import DATA
from tfx_pipeline import tables

_BARE: Final = """
import json, sys
from pathlib import Path
from tfx_pipeline.config import load_config
from tfx_pipeline.steps import Inputs, evaluate_step, export_step, preprocess_step, train_step
from tfx_pipeline.workdir import Workdir
interactions, items, workdir, settings = json.loads(sys.argv[1])
config, workdir = load_config(None, settings), Workdir(Path(workdir))
workdir.prepare()
preprocess_step(workdir, config, Inputs((interactions,), (items,)))
train_step(workdir, config)
evaluate_step(workdir, config)
export_step(workdir, config)
"""
_STEP: Final = re.compile(r"mtmh\.run: (\w+): done in ([\d.]+) s")


def main() -> None:
    """Times all three."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pipeline_overhead", description=main.__doc__)
    parser.add_argument("--interactions", default=str(DATA / "interactions.csv.gz"))
    parser.add_argument("--items", default=str(DATA / "items.csv.gz"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument("--output", type=Path, default=Path("demo/bench"), help="where the JSON goes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        found = measure(Path(directory), arguments.interactions, arguments.items, arguments.settings)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "pipeline_overhead.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print_table(found)


def measure(directory: Path, interactions: str, items: str, settings: list[str]) -> dict[str, Any]:
    """Seconds of the bare steps, of the first run and of the second, and of each step of the first."""
    bare = json.dumps([interactions, items, str(directory / "bare"), settings])
    run = [sys.executable, "-m", "tfx_pipeline.cli", "run", "--interactions", interactions, "--items", items]
    run += ["--workdir", str(directory / "run"), *(word for each in settings for word in ("--set", each))]
    bare_seconds, _ = _timed([sys.executable, "-c", _BARE, bare])
    first_seconds, log = _timed(run)
    second_seconds, _ = _timed(run)
    return {
        "bare_seconds": bare_seconds,
        "first_seconds": first_seconds,
        "overhead_seconds": first_seconds - bare_seconds,
        "second_seconds": second_seconds,
        "steps": {name: float(seconds) for name, seconds in _STEP.findall(log)},
    }


def _timed(command: list[str]) -> tuple[float, str]:
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(done.stderr)
    return seconds, done.stderr


def print_table(found: dict[str, Any]) -> None:
    """The figures for people."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("what", no_wrap=True)
    table.add_column("seconds", justify="right")
    for label, key in (
        ("bare steps", "bare_seconds"),
        ("mtmh run", "first_seconds"),
        ("overhead of TFX, the gates and the validation in a server", "overhead_seconds"),
        ("mtmh run again, nothing changed", "second_seconds"),
    ):
        table.add_row(label, f"{found[key]:.1f}")
    for name, seconds in found["steps"].items():
        table.add_row(f"  {name}", f"{seconds:.1f}", style="dim")
    tables.console().print(table)


if __name__ == "__main__":
    main()
