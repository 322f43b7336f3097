"""Runs one stage and prints its figures as JSON.

``python -m benchmarks.stages NAME [--quick] [--tables LOG ITEMS]``
"""

import argparse
import importlib
import logging
from pathlib import Path

from benchmarks.stages.figures import as_json


def main() -> None:
    """Measures in this process, which is the stage's own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stages", description=main.__doc__)
    parser.add_argument("stage")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--tables", type=Path, nargs=2, help="log and catalogue, for a stage that takes them")
    arguments = parser.parse_args()
    logging.disable(logging.INFO)
    stage = importlib.import_module(f"benchmarks.stages.{arguments.stage}")
    tables = {"tables": tuple(arguments.tables)} if arguments.tables else {}
    print(as_json(stage.measure(quick=arguments.quick, **tables)))


if __name__ == "__main__":
    main()
