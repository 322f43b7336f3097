"""Runs one stage and prints its figures as JSON: ``python -m benchmarks.stages NAME [--quick]``."""

import argparse
import importlib
import logging

from benchmarks.stages.figures import as_json


def main() -> None:
    """Measures in this process, which is the stage's own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stages", description=main.__doc__)
    parser.add_argument("stage")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    logging.disable(logging.INFO)
    stage = importlib.import_module(f"benchmarks.stages.{arguments.stage}")
    print(as_json(stage.measure(quick=arguments.quick)))


if __name__ == "__main__":
    main()
