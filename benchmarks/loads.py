"""Loads of a server over gRPC: one client beside an echo, larger requests, fixed rates and the highest of them."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.open_loop import OpenLoop, highest_sustained
from benchmarks.servers import running
from serving import wire
from serving.signatures import RETRIEVE
from serving.tensors import fill

Array = NDArray[Any]
DIAL: Final = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
QUERIES: Final = 512
_TURNS: Final = 10


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


def requests(name: str, ids: Sequence[bytes], plan: Plan, rows: int = 1, label: str = "") -> list[bytes]:
    """Random requests of so many rows each, serialised; with a label, of the version that has it."""
    rng, payloads = np.random.default_rng(plan.seed), []
    for _ in range(QUERIES):
        request = wire.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = name, RETRIEVE
        if label:
            request.model_spec.version_label = label
        for key, array in inputs(ids, rows, plan.k, rng).items():
            fill(request.inputs[key], array)
        payloads.append(request.SerializeToString())
    return payloads


def milliseconds(seconds: Array) -> dict[str, float]:
    """Percentiles."""
    return {f"p{share}_ms": 1000 * float(np.percentile(seconds, share)) for share in (50, 95, 99)}


Calls = Callable[[int], Array]
"""Makes so many calls, one after another, and gives the seconds of each."""


def over_grpc(address: str, payloads: Sequence[bytes], plan: Plan, bare: Calls | None = None) -> dict[str, Any]:
    """One client, the rates asked for or the highest that is kept up with, and 60 and 200 per cent of it.

    ``bare`` asks the same model without a server.
    """
    with OpenLoop(address, payloads) as load:
        found = beside_echo(load, payloads, plan, bare)
        if plan.rates:
            found["rates"] = [load.run(rate, plan.seconds, plan.seed).row() for rate in plan.rates]
            return found
        surely = 500.0 / float(found["one_client"]["p50_ms"])
        highest, tried = highest_sustained(load, surely, plan.seconds)
        usual = load.run(0.6 * highest, 2 * plan.seconds, plan.seed)
        time.sleep(1.0)
        beyond = load.run(2.0 * highest, 2 * plan.seconds, plan.seed)
    found["highest_rate"] = highest
    found["rates"] = [each.row() for each in sorted(tried, key=lambda each: each.rate)]
    found["at_60_percent"], found["at_200_percent"] = usual.row(), beyond.row()
    within = 3 * usual.quantile(0.99)
    found["beyond_within_3_p99"] = float(np.mean(beyond.ok <= within)) if len(beyond.ok) else 0.0
    return found


def beside_echo(load: OpenLoop, payloads: Sequence[bytes], plan: Plan, bare: Calls | None) -> dict[str, Any]:
    """One client of the model, of a server that answers at once with as many bytes, and of the model without a server.

    They are asked in turn, so that a machine that others use is as slow for each.
    """
    size = len(load.call(payloads[0]))
    command = ["benchmarks.servers", "--answer-bytes", str(size)]
    with running(command, plan.server_cpus) as address, OpenLoop(address, payloads) as echo:
        kinds: dict[str, Calls] = {"one_client": load.one_by_one, "echo": echo.one_by_one}
        if bare:
            kinds["bare"] = bare
        seconds: dict[str, list[Array]] = {name: [] for name in kinds}
        calls = max(20, plan.calls // _TURNS)
        for turn in range(_TURNS + 1):
            for name, ask in kinds.items():
                part = ask(calls)
                seconds[name] += [part] if turn else []
    found: dict[str, Any] = {name: milliseconds(np.concatenate(parts)) for name, parts in seconds.items()}
    found["echo"] |= {"request_bytes": len(payloads[0]), "bytes": size}
    return found


def by_batch(address: str, payloads: Mapping[int, Sequence[bytes]], plan: Plan) -> list[dict[str, Any]]:
    """One client whose requests have as many rows as the key says."""
    found = []
    for rows, each in payloads.items():
        with OpenLoop(address, each) as load:
            load.one_by_one(20)
            seconds = load.one_by_one(max(50, plan.calls // 4))
        found.append({"batch": rows, **milliseconds(seconds), "rows_a_second": rows / float(np.median(seconds))})
    return found
