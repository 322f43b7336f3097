"""How fast versions answer: in process, over gRPC, at fixed rates and beyond; and the same vectors elsewhere.

    python -m benchmarks.serving [--items 100000]
    python -m benchmarks.serving --model-base-path work/serving/mtmh [--model-base-path work/serving/mtmh-stock]
    python -m benchmarks.serving --model-base-path work/serving/mtmh --rival hnswlib --rival faiss
    python -m benchmarks.serving --address host:8500 --model-base-path work/serving/mtmh --rate 100 --rate 400

Without a model both flavours are made of drawn vectors, see `benchmarks.head_vectors`. The server runs on one processor
and the load comes from another; both are configurable. ``--address`` sends the load to a server that runs already, such
as TF Serving; the directory then tells which items can be asked for.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.loads import DIAL, QUERIES, Array, Plan, by_batch, inputs, milliseconds, over_grpc, requests
from benchmarks.rivals import RIVALS, CatalogueVectors
from benchmarks.servers import model_server, running
from benchmarks.serving_tables import print_tables
from benchmarks.verdicts import Verdict, print_verdicts
from preprocessing.environment import set_defaults
from serving.flavours import SCANN, STOCK
from serving.server.directories import find_versions
from serving.signatures import RETRIEVE
from serving.tensors import Plain
from tfx_pipeline.workdir import write_whole


def main() -> None:
    """Measures and prints tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=main.__doc__)
    parser.add_argument("--model-base-path", action="append", default=[], help="versions; repeat it to compare")
    parser.add_argument("--items", type=int, default=100_000, help="that are drawn where no model is named")
    parser.add_argument("--address", help="a running server's gRPC address, instead of one that is started")
    parser.add_argument("--rival", action="append", default=[], choices=sorted(RIVALS), help="repeatable")
    parser.add_argument("--rate", action="append", type=float, default=[], help="requests a second; repeatable")
    parser.add_argument("--batch", action="append", type=int, default=[], help="rows a request; repeatable")
    parser.add_argument("--k", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=5.0, help="of every rate")
    parser.add_argument("--calls", type=int, default=500, help="of every latency of one client")
    parser.add_argument("--server-cpu", type=int, action="append", default=[], help="default: the first; repeatable")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("demo/bench"), help="where the JSON goes")
    arguments = parser.parse_args()
    set_defaults()
    cpus = os.sched_getaffinity(0)
    server_cpus = frozenset(arguments.server_cpu or [min(cpus)])
    plan = Plan(
        arguments.k,
        arguments.seconds,
        arguments.calls,
        tuple(sorted(arguments.batch or (1, 8, 32))),
        tuple(arguments.rate),
        server_cpus,
        frozenset(cpus - server_cpus) or server_cpus,
        arguments.seed,
    )
    found: dict[str, Any] = {"plan": {**dataclasses.asdict(plan), "server_cpus": sorted(server_cpus)}}
    found["plan"]["load_cpus"] = sorted(plan.load_cpus)
    figures = arguments.output / "serving.json"
    with tempfile.TemporaryDirectory(prefix="mtmh-bench-") as scratch:
        bases = arguments.model_base_path or drawn(arguments.items, arguments.seed, Path(scratch))
        os.sched_setaffinity(0, plan.load_cpus)
        found["models"] = []
        for base in bases:
            print(f"{base} ...", file=sys.stderr, flush=True)
            found["models"].append(measure(base, arguments.address, plan))
            write_whole(figures, json.dumps(found, indent=2) + "\n")
        if arguments.rival:
            found["rivals"] = rivals(bases[0], arguments.rival, plan)
            write_whole(figures, json.dumps(found, indent=2) + "\n")
    print_tables(found)
    for model in found["models"]:
        print_verdicts(verdicts(model))


def drawn(items: int, seed: int, scratch: Path) -> list[str]:
    """Base paths of both flavours of drawn vectors; made in processes of their own, so that this one stays as it is."""
    bases = []
    for flavour in (SCANN, STOCK):
        bases.append(str(scratch / ("mtmh" if flavour == SCANN else f"mtmh-{flavour}")))
        options = {"items": items, "seed": seed, "flavour": flavour, "base": bases[-1]}
        command = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        subprocess.run([sys.executable, "-m", "benchmarks.drawn_version", *command], check=True)
    return bases


def verdicts(model: dict[str, Any]) -> list[Verdict]:
    """The bars of a server on one processor; none where single rates were asked for."""
    if "at_60_percent" not in model:
        return []
    name, usual, beyond = Path(model["model"]).name, model["at_60_percent"], model["at_200_percent"]
    around = 1.5 * model["echo"]["p50_ms"]
    function = next(row["p50_ms"] for row in model["in_process"] if row["how"] == "function")
    errors = sum(sum(row["errors"].values()) for row in (usual, beyond))
    return [
        Verdict(
            f"{name}: p50 of one client, of a SavedModel function's + 1.5 echoes",
            model["one_client"]["p50_ms"],
            function + around,
            " ms",
        ),
        Verdict(
            f"{name}: p50 of one client, of the server's own session's + 1.5 echoes",
            model["one_client"]["p50_ms"],
            model["bare"]["p50_ms"] + around,
            " ms",
        ),
        Verdict(f"{name}: p99 at 60 % of the highest rate, of its p50", usual["p99_ms"] / usual["p50_ms"], 5.0, " x"),
        Verdict(f"{name}: p99 of a refusal at twice the rate", beyond["refused_p99_ms"], 100.0, " ms"),
        Verdict(f"{name}: answers then within 3 x p99", model["beyond_within_3_p99"], 0.95, least=True),
        Verdict(f"{name}: requests that ended otherwise", errors, 0),
    ]


def measure(base: str, address: str | None, plan: Plan) -> dict[str, Any]:
    """One model: in process, over gRPC with one client, at rates."""
    directory = latest(base)
    ids = catalogue_ids(directory)
    payloads = {rows: requests(Path(base).resolve().name, ids, plan, rows) for rows in plan.batches}
    found: dict[str, Any] = {"model": base, "version": directory.name, "items": len(ids)}
    found["in_process"] = on_cpus(plan.server_cpus, lambda: in_process(directory, ids, plan))
    with contextlib.nullcontext(address) if address else running(model_server(base), plan.server_cpus) as started:
        found["batches"] = by_batch(started, payloads, plan)
        with loaded(directory, plan) as call:
            rng = np.random.default_rng(plan.seed)
            drawn_inputs = [inputs(ids, plan.batches[0], plan.k, rng) for _ in range(QUERIES)]
            asked = [{name: Plain.of(array) for name, array in each.items()} for each in drawn_inputs]
            bare = lambda calls: on_cpus(plan.server_cpus, lambda: timed(call, asked[:calls]))  # noqa: E731
            return {**found, **over_grpc(started, payloads[min(payloads)], plan, bare)}


def latest(base: str) -> Path:
    """The directory of the highest version.

    Raises:
        UserError: there is none.
    """
    from preprocessing.errors import UserError

    versions = find_versions(Path(base))
    if not versions:
        raise UserError(f"--model-base-path {base}: no numeric directory with a saved_model.pb below it")
    return versions[max(versions)]


def catalogue_ids(directory: Path) -> list[bytes]:
    """The ids that a version lists."""
    (listed, *_) = sorted(directory.glob("assets/*item_ids*"))
    return listed.read_bytes().removesuffix(b"\n").split(b"\n")


def on_cpus(cpus: frozenset[int], work: Callable[[], Any]) -> Any:
    """Works on other processors for a while."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        return work()
    finally:
        os.sched_setaffinity(0, before)


def timed(call: Callable[[Any], Any], asked: Sequence[Any]) -> Array:
    """Seconds of every call."""
    seconds = np.empty(len(asked))
    for number, each in enumerate(asked):
        started = time.perf_counter()
        call(each)
        seconds[number] = time.perf_counter() - started
    return seconds


@contextlib.contextmanager
def loaded(directory: Path, plan: Plan) -> Iterator[Callable[[dict[str, Plain]], Any]]:
    """What answers a request by the session that the server uses; warm, on the server's processors."""
    from serving.server.servable import LoadedVersion
    from serving.server.warmup import replay

    version = on_cpus(plan.server_cpus, lambda: LoadedVersion(0, directory))
    on_cpus(plan.server_cpus, lambda: replay(version, directory))
    signature = version.signature(RETRIEVE)
    try:
        yield lambda each: version.predict(signature, each)
    finally:
        version.close()


def in_process(directory: Path, ids: Sequence[bytes], plan: Plan) -> list[dict[str, Any]]:
    """What an answer costs without a server: the session that the server uses, and the SavedModel's functions."""
    import scann  # noqa: F401  registers its ops

    from preprocessing.backend import tf
    from serving.server.servable import LoadedVersion
    from serving.server.warmup import replay

    rng = np.random.default_rng(plan.seed)
    asked = {batch: [inputs(ids, batch, plan.k, rng) for _ in range(plan.calls)] for batch in plan.batches}
    rows: list[dict[str, Any]] = []

    def row(how: str, batch: int, call: Callable[[dict[str, Array]], Any], first: Array | None) -> None:
        first = timed(call, asked[batch][:1]) if first is None else first
        timed(call, asked[batch][:20])
        figures = milliseconds(timed(call, asked[batch]))
        rows.append({"how": how, "batch": batch, "first_ms": 1000 * float(first[0]), **figures})

    started = time.perf_counter()
    version = LoadedVersion(0, directory)
    replay(version, directory)
    load_seconds = time.perf_counter() - started
    for batch in plan.batches:
        row("session", batch, lambda each: version.ask(RETRIEVE, **each), None)
    rows[0]["load_seconds"] = load_seconds
    version.close()
    model = tf.saved_model.load(str(directory))
    function = model.signatures[RETRIEVE]

    def call(each: dict[str, Array]) -> None:
        outputs = function(**{name: tf.constant(array) for name, array in each.items()})
        for tensor in outputs.values():
            tensor.numpy()

    row("function", plan.batches[0], call, None)
    return rows


def rivals(base: str, kinds: Sequence[str], plan: Plan) -> list[dict[str, Any]]:
    """Recall@k, in-process latency and rate behind the same server of each library, and recall of the model itself."""
    from serving.server.servable import LoadedVersion

    directory = latest(base)
    vectors = CatalogueVectors.of_version(directory)
    rng = np.random.default_rng(plan.seed + 1)
    rows = rng.integers(0, len(vectors.ids), QUERIES)
    weights = rng.choice(np.array(DIAL, np.float32), QUERIES)
    queries = vectors.queries(rows, weights)
    best = vectors.exact(queries, plan.k + 1)
    wanted = [set(each[each != row][: plan.k].tolist()) for each, row in zip(best, rows, strict=True)]

    def recall(found: Sequence[set[int]]) -> float:
        return float(np.mean([len(a & b) / max(1, len(b)) for a, b in zip(found, wanted, strict=True)]))

    model = LoadedVersion(0, directory)
    numbers = {item_id: row for row, item_id in enumerate(vectors.ids.tolist())}
    answers = []
    for row, weight in zip(rows, weights, strict=True):
        each = inputs([vectors.ids[row]], 1, plan.k, rng) | {"relevance_weight": np.array([weight], np.float32)}
        answers.append({numbers[item] for item in model.ask(RETRIEVE, **each)["item_id"][0] if item})
    model.close()
    table: list[dict[str, Any]] = [{"library": f"the model, {base}", "recall": recall(answers)}]
    payloads = requests("mtmh", vectors.ids.tolist(), plan)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "vectors.npz"
        vectors.save(file)
        for kind in kinds:
            started = time.perf_counter()
            index = RIVALS[kind](vectors)
            built = time.perf_counter() - started
            seconds = on_cpus(plan.server_cpus, lambda index=index: _searched(index, queries, plan.k))
            found = [set(index.search(query[None], plan.k + 1)[0][0].tolist()) - {row}
                     for query, row in zip(queries, rows, strict=True)]  # fmt: skip
            below = Path(scratch) / kind
            below.mkdir()
            command = ["benchmarks.rivals", "--kind", kind, "--vectors", str(file), "--base", str(below)]
            with running(command, plan.server_cpus) as address:
                served = over_grpc(address, payloads, plan)
            row = {"library": index.name, "build_seconds": built, "recall": recall(found), **milliseconds(seconds)}
            table.append({**row, "served": served})
    return table


def _searched(index: Any, queries: Array, k: int) -> Array:
    return timed(lambda each: index.search(each["query"], k), [{"query": query[None]} for query in queries])


if __name__ == "__main__":
    main()
