"""Times every stage of a run on the bundled cut of real data, and prints one table.

``python -m benchmarks.steps [--interactions PATH --items PATH] [--repeats N] [--output DIR]``
"""

import argparse
import json
import logging
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfx_pipeline import tables
from tfx_pipeline.config import RunConfig, load_config
from tfx_pipeline.steps import Inputs, export_step, preprocess_step, train_step
from tfx_pipeline.workdir import Workdir

_DATA = Path(__file__).parents[1] / "tests" / "data" / "online_retail"
_REQUESTS = 500


def main() -> None:
    """Runs all stages."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steps", description=main.__doc__)
    parser.add_argument("--interactions", default=str(_DATA / "interactions.csv.gz"))
    parser.add_argument("--items", default=str(_DATA / "items.csv.gz"))
    parser.add_argument("--repeats", type=int, default=3, help="runs of the batch stages; the median counts")
    parser.add_argument("--output", type=Path, default=Path("demo/bench"), help="where the JSON goes")
    arguments = parser.parse_args()
    logging.disable(logging.INFO)
    config = load_config(None, ["trainer.epochs=1", "trainer.steps_per_epoch=100"])
    inputs = Inputs((arguments.interactions,), (arguments.items,))
    with tempfile.TemporaryDirectory() as directory:
        rows = measure(Workdir(Path(directory)), config, inputs, arguments.repeats)
    arguments.output.mkdir(parents=True, exist_ok=True)
    document = {"machine": platform.processor() or platform.machine(), "stages": rows}
    (arguments.output / "steps.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print_table(rows)


def measure(workdir: Workdir, config: RunConfig, inputs: Inputs, repeats: int) -> list[dict[str, Any]]:
    """One row a stage: name, median seconds, spread, work done and its unit."""
    from preprocessing.read import read_triggers
    from trainer.batches import make_batches
    from trainer.data import summarise_pairs

    workdir.prepare()
    seconds = timed(lambda: preprocess_step(workdir, config, inputs), repeats)
    manifest = json.loads((workdir.examples / "manifest.json").read_text(encoding="utf-8"))
    rows = [row("preprocess", seconds, manifest["interactions"]["rows_in"], "interactions")]

    seconds = timed(lambda: train_step(workdir, config), repeats)
    pairs = summarise_pairs(workdir.examples, ("pairs",), manifest["num_items"], 4096)
    batches = make_batches(config.trainer, pairs, [], config.seed)
    steps = min(batches.steps, config.trainer.steps_per_epoch)
    rows.append(row("train, start-up and evaluation included", seconds, steps * batches.size, "triggers"))

    rows.append(row("evaluate exactly", *_evaluation(workdir, config, repeats)))
    seconds = timed(lambda: export_step(workdir, config), repeats)
    rows.append(row("export, index gate included", seconds, manifest["num_items"], "items"))
    triggers = read_triggers(str(workdir.examples)).trigger[:_REQUESTS]
    rows += _requests(workdir, triggers)
    return rows


def timed(stage: Callable[[], object], repeats: int) -> list[float]:
    """Wall seconds of each run."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        stage()
        seconds.append(time.perf_counter() - started)
    return seconds


def row(stage: str, seconds: list[float], work: int, unit: str) -> dict[str, Any]:
    """A stage's figures."""
    median = statistics.median(seconds)
    return {
        "stage": stage,
        "median_seconds": median,
        "min_seconds": min(seconds),
        "max_seconds": max(seconds),
        "work": work,
        "unit": unit,
        "per_second": work / median,
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _evaluation(workdir: Workdir, config: RunConfig, repeats: int) -> tuple[list[float], int, str]:
    from preprocessing.read import read_items, read_triggers
    from trainer.artefact import load_model
    from trainer.evaluate import evaluate, make_judge

    items = read_items(str(workdir.examples))
    triggers = read_triggers(str(workdir.examples))
    model, _, _ = load_model(workdir.model(config.model.name), items)
    vectors = model.embed_catalogue()
    judge = make_judge(items, triggers, categories_seen=True)
    seconds = timed(lambda: evaluate(vectors, judge, config.evaluate), repeats)
    return seconds, len(triggers.trigger), "triggers"


def _requests(workdir: Workdir, triggers: Any) -> list[dict[str, Any]]:
    """Latency of one client, over gRPC, one request after another."""
    from preprocessing.read import read_items
    from serving.client import Client
    from tfx_pipeline.demo import serving

    ids = read_items(str(workdir.examples)).ids
    with serving(workdir.serving) as address, Client(address, timeout=30.0) as client:
        seconds = []
        for trigger in triggers:
            started = time.perf_counter()
            client.retrieve([ids[trigger]], k=50)
            seconds.append(time.perf_counter() - started)
    ordered = sorted(seconds)
    p99 = ordered[int(0.99 * (len(ordered) - 1))]
    return [row("one request over gRPC, k=50, p50", seconds, 1, "requests"), row("the same, p99", [p99], 1, "requests")]


def print_table(rows: list[dict[str, Any]]) -> None:
    """The figures for people."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("stage", "median", "min–max", "rate", "peak RSS"):
        table.add_column(name, justify="left" if name == "stage" else "right", no_wrap=True)
    for each in rows:
        table.add_row(
            each["stage"],
            _seconds(each["median_seconds"]),
            f"{_seconds(each['min_seconds'])}–{_seconds(each['max_seconds'])}",
            f"{each['per_second']:,.0f} {each['unit']}/s",
            f"{each['peak_rss_mib']:,.0f} MiB",
        )
    tables.console().print(table)


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value >= 1.0 else f"{1000 * value:.2f} ms"


if __name__ == "__main__":
    main()
