"""How fast versions answer: in process, over gRPC, at fixed rates and beyond; and the same vectors elsewhere.

    python -m benchmarks.serving --model-base-path work/serving/mtmh [--model-base-path work/serving/mtmh-stock]
    python -m benchmarks.serving --model-base-path work/serving/mtmh --rival hnswlib --rival faiss
    python -m benchmarks.serving --address host:8500 --model-base-path work/serving/mtmh --rate 100 --rate 400

The server runs on one processor and the load comes from another; both are configurable. ``--address`` sends the load
to a server that runs already, such as TF Serving; the directory then tells which items can be asked for.
"""

import argparse
import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.open_loop import OpenLoop, highest_sustained
from benchmarks.rivals import RIVALS, Array, CatalogueVectors
from benchmarks.servers import model_server, running
from benchmarks.serving_tables import print_tables
from serving import wire
from serving.server.directories import find_versions
from serving.signatures import RETRIEVE
from serving.tensors import fill

DIAL: Final = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
_QUERIES: Final = 512


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is measured and how long: see the options."""

    k: int
    seconds: float
    calls: int
    batches: tuple[int, ...]
    rates: tuple[float, ...]
    server_cpus: frozenset[int]
    load_cpus: frozenset[int]
    seed: int


def main() -> None:
    """Measures and prints tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=main.__doc__)
    parser.add_argument("--model-base-path", action="append", required=True, help="versions; repeat it to compare")
    parser.add_argument("--address", help="a running server's gRPC address, instead of one that is started")
    parser.add_argument("--rival", action="append", default=[], choices=sorted(RIVALS), help="repeatable")
    parser.add_argument("--rate", action="append", type=float, default=[], help="requests a second; repeatable")
    parser.add_argument("--batch", action="append", type=int, default=[], help="rows a call in process; repeatable")
    parser.add_argument("--k", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=5.0, help="of every rate")
    parser.add_argument("--calls", type=int, default=500, help="of every latency of one client")
    parser.add_argument("--server-cpu", type=int, action="append", default=[], help="default: the first; repeatable")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("demo/bench"), help="where the JSON goes")
    arguments = parser.parse_args()
    cpus = os.sched_getaffinity(0)
    server_cpus = frozenset(arguments.server_cpu or [min(cpus)])
    plan = Plan(
        arguments.k,
        arguments.seconds,
        arguments.calls,
        tuple(arguments.batch or (1, 8, 32)),
        tuple(arguments.rate),
        server_cpus,
        frozenset(cpus - server_cpus) or server_cpus,
        arguments.seed,
    )
    os.sched_setaffinity(0, plan.load_cpus)
    found: dict[str, Any] = {"plan": {**dataclasses.asdict(plan), "server_cpus": sorted(server_cpus)}}
    found["plan"]["load_cpus"] = sorted(plan.load_cpus)
    found["models"] = [measure(base, arguments.address, plan) for base in arguments.model_base_path]
    if arguments.rival:
        found["rivals"] = rivals(arguments.model_base_path[0], arguments.rival, plan)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "serving.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print_tables(found)


def measure(base: str, address: str | None, plan: Plan) -> dict[str, Any]:
    """One model: in process, over gRPC with one client, at rates."""
    directory = latest(base)
    ids = catalogue_ids(directory)
    payloads = requests(Path(base).resolve().name, ids, plan)
    found: dict[str, Any] = {"model": base, "version": directory.name, "items": len(ids)}
    found["in_process"] = on_cpus(plan.server_cpus, lambda: in_process(directory, ids, plan))
    if address:
        return {**found, **over_grpc(address, payloads, plan)}
    with running(model_server(base), plan.server_cpus) as started:
        return {**found, **over_grpc(started, payloads, plan)}


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


def inputs(ids: Sequence[bytes], batch: int, k: int, rng: np.random.Generator) -> dict[str, Array]:
    """A random ``retrieve`` request of so many rows, with the dial anywhere."""
    items = np.full((batch, 2), b"", object)
    items[:, 1] = [ids[row] for row in rng.integers(0, len(ids), batch)]
    return {
        "item_id": items,
        "relevance_weight": rng.choice(np.array(DIAL, np.float32), batch),
        "k": np.full(batch, k, np.int32),
        "exclude_id": np.full((batch, 1), b"", object),
    }


def requests(name: str, ids: Sequence[bytes], plan: Plan) -> list[bytes]:
    """Random requests of one row each, serialised."""
    rng, payloads = np.random.default_rng(plan.seed), []
    for _ in range(_QUERIES):
        request = wire.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = name, RETRIEVE
        for key, array in inputs(ids, 1, plan.k, rng).items():
            fill(request.inputs[key], array)
        payloads.append(request.SerializeToString())
    return payloads


def on_cpus(cpus: frozenset[int], work: Callable[[], Any]) -> Any:
    """Works on other processors for a while."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        return work()
    finally:
        os.sched_setaffinity(0, before)


def milliseconds(seconds: Array) -> dict[str, float]:
    """Percentiles."""
    return {f"p{share}_ms": 1000 * float(np.percentile(seconds, share)) for share in (50, 95, 99)}


def timed(call: Callable[[dict[str, Array]], Any], asked: Sequence[dict[str, Array]]) -> Array:
    """Seconds of every call."""
    seconds = np.empty(len(asked))
    for number, each in enumerate(asked):
        started = time.perf_counter()
        call(each)
        seconds[number] = time.perf_counter() - started
    return seconds


def in_process(directory: Path, ids: Sequence[bytes], plan: Plan) -> list[dict[str, Any]]:
    """What an answer costs without a server: the session that the server uses, and the SavedModel's functions."""
    from serving.server.runtime import tensorflow
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
    signature = version.signature(RETRIEVE)
    for batch in plan.batches:
        row("session", batch, lambda each: version.predict(signature, each), None)
    rows[0]["load_seconds"] = load_seconds
    version.close()
    tf = tensorflow()
    model = tf.saved_model.load(str(directory))
    function = model.signatures[RETRIEVE]

    def call(each: dict[str, Array]) -> None:
        outputs = function(**{name: tf.constant(array) for name, array in each.items()})
        for tensor in outputs.values():
            tensor.numpy()

    row("function", plan.batches[0], call, None)
    return rows


def over_grpc(address: str, payloads: list[bytes], plan: Plan) -> dict[str, Any]:
    """One client, the rates asked for, the highest that is kept up with, 60 and 200 per cent of it."""
    with OpenLoop(address, payloads) as load:
        load.one_by_one(50)
        alone = load.one_by_one(plan.calls)
        found: dict[str, Any] = {"one_client": milliseconds(alone), "echo": echo(address, payloads, plan)}
        if plan.rates:
            found["rates"] = [load.run(rate, plan.seconds, plan.seed).row() for rate in plan.rates]
            return found
        highest, tried = highest_sustained(load, 0.5 / float(np.median(alone)), plan.seconds)
        usual = load.run(0.6 * highest, 2 * plan.seconds, plan.seed)
        time.sleep(1.0)
        beyond = load.run(2.0 * highest, 2 * plan.seconds, plan.seed)
    found["highest_rate"] = highest
    found["rates"] = [each.row() for each in sorted(tried, key=lambda each: each.rate)]
    found["at_60_percent"], found["at_200_percent"] = usual.row(), beyond.row()
    within = 3 * usual.quantile(0.99)
    found["beyond_within_3_p99"] = float(np.mean(beyond.ok <= within)) if len(beyond.ok) else 0.0
    return found


def echo(address: str, payloads: list[bytes], plan: Plan) -> dict[str, float]:
    """One client of a server that answers at once, with requests and answers as large as the model's."""
    import grpc

    with grpc.insecure_channel(address, options=(("grpc.enable_http_proxy", 0),)) as channel:
        size = len(channel.unary_unary(wire.PREDICT)(payloads[0], timeout=30.0))
    command = ["benchmarks.servers", "--answer-bytes", str(size)]
    with running(command, plan.server_cpus) as started, OpenLoop(started, payloads) as load:
        load.one_by_one(50)
        return {**milliseconds(load.one_by_one(plan.calls)), "request_bytes": len(payloads[0]), "bytes": size}


def rivals(base: str, kinds: Sequence[str], plan: Plan) -> list[dict[str, Any]]:
    """Recall@k, in-process latency and rate behind the same server of each library, and recall of the model itself."""
    from serving.server.servable import LoadedVersion

    directory = latest(base)
    vectors = CatalogueVectors.of_version(directory)
    rng = np.random.default_rng(plan.seed + 1)
    rows = rng.integers(0, len(vectors.ids), _QUERIES)
    weights = rng.choice(np.array(DIAL, np.float32), _QUERIES)
    queries = vectors.queries(rows, weights)
    best = vectors.exact(queries, plan.k + 1)
    wanted = [set(each[each != row][: plan.k].tolist()) for each, row in zip(best, rows, strict=True)]

    def recall(found: Sequence[set[int]]) -> float:
        return float(np.mean([len(a & b) / max(1, len(b)) for a, b in zip(found, wanted, strict=True)]))

    model = LoadedVersion(0, directory)
    signature = model.signature(RETRIEVE)
    numbers = {item_id: row for row, item_id in enumerate(vectors.ids.tolist())}
    answers = []
    for row, weight in zip(rows, weights, strict=True):
        each = inputs([vectors.ids[row]], 1, plan.k, rng) | {"relevance_weight": np.array([weight], np.float32)}
        answers.append({numbers[item] for item in model.predict(signature, each)["item_id"][0] if item})
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
