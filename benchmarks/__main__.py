"""Times every stage beside its peers and floors, and writes one table as Markdown and JSON.

``python -m benchmarks [--quick] [--only STAGE]... [--interactions LOG --items ITEMS] [--output DIR]``. Each stage runs
in a process of its own; within it ours and the other take turns. Absolute figures of a whole run on real data:
``python -m benchmarks.steps``; what ``mtmh run`` adds to its steps: ``python -m benchmarks.pipeline_overhead``.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.stages.figures import Figure, python

STAGES: Final = ("start_up", "evaluation", "training", "preprocessing", "index_build")
_QUIET: Final = {"TF_CPP_MIN_LOG_LEVEL": "3"}


def main() -> None:
    """Measures the stages; ends with code 1 where a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--only", action="append", choices=STAGES, help="may be repeated; by default all")
    parser.add_argument("--interactions", type=Path, help="preprocessing: a log in place of the bundled cut")
    parser.add_argument("--items", type=Path, help="and its catalogue; both with the cut's columns")
    parser.add_argument("--output", type=Path, default=Path("demo/bench"), help="where bench.md and bench.json go")
    arguments = parser.parse_args()
    given = [path for path in (arguments.interactions, arguments.items) if path is not None]
    if len(given) == 1:
        parser.error("--interactions and --items go together")
    for path in given:
        if not path.is_file():
            parser.error(f"there is no file {path}")
    figures: list[Figure] = []
    arguments.output.mkdir(parents=True, exist_ok=True)
    for stage in arguments.only or STAGES:
        print(f"{stage} ...", file=sys.stderr, flush=True)
        quick = ["--quick"] if arguments.quick else []
        tables = ["--tables", *map(str, given)] if given and stage == "preprocessing" else []
        ended = python("-m", "benchmarks.stages", stage, *quick, *tables, environment=_QUIET)
        figures += [Figure(**each) for each in json.loads(ended.output.splitlines()[-1])]
        # After each stage: they take minutes, and one that fails or is stopped does not lose the others.
        document = {"machine": machine(), "quick": arguments.quick, "figures": [vars(figure) for figure in figures]}
        (arguments.output / "bench.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        (arguments.output / "bench.md").write_text(markdown(figures), encoding="utf-8")
    print(markdown(figures), end="")
    if any(figure.met is False for figure in figures):
        sys.exit(1)


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    return {
        "processor": platform.processor() or platform.machine(),
        "processors": os.cpu_count(),
        "load": os.getloadavg(),
    }


def markdown(figures: Sequence[Figure]) -> str:
    """The table."""
    lines = [
        "| stage | against | ours | other | ratio | bar | verdict | what |",
        "|---|---|---:|---:|---:|---|---|---|",
    ]
    for each in figures:
        verdict = "" if each.met is None else ("met" if each.met else "**missed**")
        other = "" if each.other is None else _amount(each.other, each.unit)
        cells = (each.stage, each.against, _amount(each.ours, each.unit), other, f"{each.ratio:.2f}")
        lines.append(f"| {' | '.join(cells)} | {each.bar} | {verdict} | {each.note} |")
    return "\n".join(lines) + "\n"


def _amount(value: float, unit: str) -> str:
    shown = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"{shown} {unit}"


if __name__ == "__main__":
    main()
