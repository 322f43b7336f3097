"""What each flavour's index finds of exact search, and how much faster it is.

``python -m benchmarks.index [--items N] [--dimension D] [--queries Q] [--output DIR]``: by default a million items with
two heads of 64 dimensions, which takes some 8 GB and half an hour. Vectors are drawn, see `benchmarks.head_vectors`,
or with ``--workdir DIR`` those of the model that was trained there; what is asked for is none of the catalogue.
Latency is that of the SavedModel in a process of its own.
"""

import argparse
import dataclasses
import json
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.drawn_version import FILTERS, WARM_UP, build, item_ids, save, tune
from benchmarks.head_vectors import Catalogue, draw, of_model
from benchmarks.verdicts import Verdict, print_verdicts
from preprocessing.backend import tf
from serving.config import IndexConfig
from serving.flavours import SCANN, STOCK
from serving.index import plan_index
from serving.index_gate import GATE_DIAL, GATE_K
from serving.retriever import Retriever
from serving.signatures import RETRIEVE_FILTERED, SIGNATURES
from tfx_pipeline.workdir import Workdir
from trainer.model import ItemVectors
from trainer.names import MTMH

_BATCH = 20
_FILTERED = 100
_ROUNDING = 1e-6
_TIMES_FASTER = {SCANN: 15.0, STOCK: 6.0}


@dataclasses.dataclass(frozen=True)
class Variant:
    """A flavour and a kind of index."""

    flavour: str
    kind: str

    @property
    def name(self) -> str:
        """In the table."""
        return f"{self.flavour} {self.kind}"


VARIANTS = tuple(Variant(flavour, kind) for kind in ("exact", "tree") for flavour in (SCANN, STOCK))
"""The quicker of the exact ones is what the others are compared with."""


def main() -> None:
    """Measures both flavours, exact and by partitions."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.index", description=main.__doc__)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--workdir", type=Path, help="of a training whose MTMH model's vectors are taken")
    parser.add_argument("--queries", type=int, default=500, help="queries that the index is judged by")
    parser.add_argument("--requests", type=int, default=300, help="requests that are timed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("demo/bench"), help="where the JSON goes")
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="one of the rows, as `stock tree`; may be repeated"
    )
    parser.add_argument("--without-filters", action="store_true", help="leave out what filters cost and find")
    arguments = parser.parse_args()
    filters = () if arguments.without_filters else FILTERS
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if arguments.workdir:
        work = Workdir(arguments.workdir)
        catalogue = of_model(work.examples, work.model(MTMH), arguments.queries, arguments.seed)
    else:
        catalogue = draw(arguments.items, arguments.queries, arguments.dimension, arguments.seed)
    variants = [each for each in VARIANTS if not arguments.only or each.name in arguments.only]
    rows = []
    for variant in variants:
        rows.append(measure(catalogue, variant, arguments.requests, filters))
        # A million items take a while: what is known is not lost with what comes after.
        logging.info("%s", json.dumps(rows[-1]))
    exact = [row["retrieve"]["p50"] for row in rows if row["plan"]["kind"] == "exact"]
    for row in rows:
        row["times_faster"] = min(exact, default=float("nan")) / row["retrieve"]["p50"]
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "index.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    print_table(rows)
    print_verdicts(verdicts(rows))


def verdicts(rows: Sequence[dict[str, Any]]) -> list[Verdict]:
    """The bars of the trees, for a catalogue of a million."""
    found = []
    for row in rows:
        name, times = row["name"], row["retrieve"]
        if row["plan"]["kind"] == "tree":
            least = _TIMES_FASTER[row["plan"]["flavour"]]
            found += [
                Verdict(f"{name}: recall@50, least over the dial", min(row["index_recall"].values()), 0.97, least=True),
                Verdict(f"{name}: p50 to the exact one's", row["times_faster"], least, " x", least=True),
            ]
        found.append(Verdict(f"{name}: first call after warm-up, of p50", times["first"] / times["p50"], 3.0, " x"))
    return found


def measure(catalogue: Catalogue, variant: Variant, requests: int, filters: Sequence[str]) -> dict[str, Any]:
    """Figures of one variant."""
    number = len(catalogue.categories)
    config = IndexConfig(kind=variant.kind)
    plan = plan_index(number, config, variant.flavour)
    ids = item_ids(number)
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory(prefix="mtmh-bench-") as directory:
        scratch = Path(directory)
        started = time.perf_counter()
        retriever = build(catalogue, plan, scratch)
        built = time.perf_counter() - started
        plan = tune(retriever, catalogue, plan, config)
        row = {"name": variant.name, "plan": dataclasses.asdict(plan), "build_seconds": built}
        if variant.kind == "tree":
            row["index_recall"] = index_recall(retriever, catalogue)
            row["filtered_recall"] = {name: filtered_recall(retriever, catalogue, ids, name) for name in filters}
        asked = [ids[item] for item in rng.choice(number, WARM_UP + requests, replace=False)]
        save(retriever, scratch / "1", asked[:WARM_UP])
        del retriever
        return row | _replayed(scratch / "1", asked[WARM_UP:], filters)


def index_recall(retriever: Retriever, catalogue: Catalogue) -> dict[str, float]:
    """Share of the exact best that is found for queries that are no items, by setting of the dial."""
    search = tf.function(retriever.search, reduce_retracing=True, autograph=False)
    queries = catalogue.queries

    def ask(part: NDArray[np.int64], weight: float) -> NDArray[np.int32]:
        answered: NDArray[np.int32] = search(
            tf.constant(queries.engagement_trigger[part]),
            tf.constant(queries.relevance[part]),
            tf.fill([len(part)], tf.constant(weight, tf.float32)),
            tf.fill([len(part)], GATE_K),
            tf.fill([len(part), 1], -1),
        ).numpy()
        return answered

    return _recall(catalogue.vectors, queries, np.arange(len(queries.relevance)), ask, None)


def filtered_recall(retriever: Retriever, catalogue: Catalogue, ids: Sequence[str], category: str) -> dict[str, float]:
    """The same of a search for items of one category; triggers are items here, and no answers to themselves."""
    place = {item_id.encode(): row for row, item_id in enumerate(ids)}
    specs = {each.name: tf.TensorSpec(each.shape, each.dtype) for each in SIGNATURES[RETRIEVE_FILTERED].inputs}
    retrieve = tf.function(retriever.retrieve_filtered, autograph=False).get_concrete_function(**specs)

    def ask(part: NDArray[np.int64], weight: float) -> NDArray[np.int32]:
        answer = retrieve(
            item_id=tf.constant([[ids[row]] for row in part]),
            relevance_weight=tf.fill([len(part)], tf.constant(weight, tf.float32)),
            k=tf.fill([len(part)], GATE_K),
            exclude_id=tf.fill([len(part), 1], ""),
            allow_category=tf.fill([len(part), 1], category),
            deny_category=tf.fill([len(part), 1], ""),
        )
        found = [[place.get(item_id, -1) for item_id in row] for row in answer["item_id"].numpy()]
        return np.array(found, np.int32)

    triggers = np.random.default_rng(2).choice(len(ids), min(_FILTERED, len(ids)), replace=False)
    passes = np.array([category in each for each in catalogue.categories])
    return _recall(catalogue.vectors, catalogue.vectors, triggers, ask, passes)


def _recall(
    vectors: ItemVectors,
    queries: ItemVectors,
    rows: NDArray[np.int64],
    ask: Callable[[NDArray[np.int64], float], NDArray[np.int32]],
    passes: NDArray[np.bool_] | None,
) -> dict[str, float]:
    """Share of the exact best, by setting of the dial.

    Args:
      vectors: of the N items.
      queries: what is asked for.
      rows: of the queries; with ``passes`` they are items as well.
      ask: from some of the rows and a weight to answers, int32 [n, K].
      passes: bool [N], what may be an answer; None: all.
    """
    hits: dict[str, list[NDArray[np.float64]]] = {str(weight): [] for weight in GATE_DIAL}
    for start in range(0, len(rows), _BATCH):
        part = rows[start : start + _BATCH]
        engagement = queries.engagement_trigger[part] @ vectors.engagement_candidate.T
        relevance = queries.relevance[part] @ vectors.relevance.T
        fit = np.ones(engagement.shape, bool)
        if passes is not None:
            fit &= passes
            fit[np.arange(len(part)), part] = False
        for weight in GATE_DIAL:
            answered = ask(part, weight)
            scores = np.where(fit, (1.0 - weight) * engagement + weight * relevance, -np.inf)
            k = min(answered.shape[1], scores.shape[1])
            floor = np.partition(scores, -k, axis=1)[:, -k, np.newaxis]
            own = np.take_along_axis(scores, np.maximum(answered, 0), axis=1)
            good = (answered >= 0) & (own >= floor - _ROUNDING) & np.isfinite(own)
            hits[str(weight)].append(good.sum(axis=1) / np.clip(fit.sum(axis=1), 1, k))
    return {weight: float(np.concatenate(shares).mean()) for weight, shares in hits.items()}


def _replayed(version: Path, item_ids: Sequence[str], filters: Sequence[str]) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as questions:
        json.dump({"items": list(item_ids), "filters": list(filters)}, questions)
        questions.flush()
        command = [sys.executable, "-m", "benchmarks.replay", str(version), questions.name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the replay failed: {done.stderr[-2000:]}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """The figures for people."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("index", no_wrap=True)
    for name in ("searched", "recall@50", "filtered", "p50", "p99", "faster", "first/p50", "build", "load", "RSS"):
        table.add_column(name, justify="right", no_wrap=True)
    filters = [name for name in FILTERS if name in rows[0]]
    for name in filters:
        table.add_column(f"p50 {name}", justify="right", no_wrap=True)
    for row in rows:
        plan, times = row["plan"], row["retrieve"]
        table.add_row(
            row["name"],
            f"{plan['leaves_to_search']}/{plan['leaves']}" if plan["leaves"] else "all",
            f"{min(row['index_recall'].values()):.3f}" if "index_recall" in row else "exact",
            f"{min(min(each.values()) for each in row['filtered_recall'].values()):.3f}"
            if row.get("filtered_recall")
            else "exact"
            if row["plan"]["kind"] == "exact"
            else "",
            f"{times['p50']:.2f} ms",
            f"{times['p99']:.2f} ms",
            f"{row['times_faster']:.1f} x",
            f"{times['first'] / times['p50']:.1f}",
            f"{row['build_seconds']:.0f} s",
            f"{row['load_seconds']:.1f} s",
            f"{row['rss_mib']:,.0f} MiB",
            *(f"{row[name]['p50']:.2f} ms" for name in filters),
        )
    Console(width=None if sys.stdout.isatty() else 200).print(table)


if __name__ == "__main__":
    main()
