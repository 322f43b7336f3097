"""What callers notice of a swap, a rollback, a label that moves, and a server that is killed: an open load meanwhile.

``python -m benchmarks.swaps [--items 100000] [--model-base-path DIR] [--swaps 5] [--rollbacks 3]``. Versions are copies
of one, two of them answer at a time, and half of the requests ask for the label. The load comes from one processor,
the server may use all.
"""

import argparse
import dataclasses
import itertools
import json
import os
import re
import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.loads import Plan, requests
from benchmarks.open_loop import End, OpenLoop
from benchmarks.servers import Started, model_server, running, started
from benchmarks.serving import catalogue_ids, drawn, latest
from benchmarks.verdicts import Verdict, print_verdicts
from preprocessing.errors import UserError
from serving import wire
from serving.client import Client

LABEL: Final = "stable"
_SERVED: Final = 2
_STEADY: Final = 8.0
_PORT: Final = re.compile(r":(\d+)$")


@dataclasses.dataclass
class Windows:
    """From when to when something was done, by what it was."""

    spans: dict[str, list[tuple[float, float]]] = dataclasses.field(default_factory=dict)

    def add(self, name: str, work: Callable[[], None]) -> None:
        """Notes how long it takes, and a little more."""
        begin = time.perf_counter()
        work()
        time.sleep(0.5)
        self.spans.setdefault(name, []).append((begin, time.perf_counter()))

    def during(self, name: str, ends: list[End]) -> list[End]:
        """What was due meanwhile."""
        return [each for each in ends if any(begin <= each.due <= end for begin, end in self.spans[name])]

    def seconds(self, name: str, ends: list[End]) -> list[float]:
        """Seconds of the answers to what was due meanwhile."""
        return [each.seconds for each in self.during(name, ends) if each.code == "OK"]

    def failures(self, name: str, ends: list[End]) -> Counter[str]:
        """How often what was due meanwhile failed, by its code."""
        return Counter(each.code for each in self.during(name, ends) if each.code != "OK")


class Operator:
    """Whoever pushes, rolls back and moves labels."""

    def __init__(self, source: Path, base: Path, address: str) -> None:
        self._source, self._base, self._numbers = source, base, itertools.count(2)
        self._client, self._address = Client(address, base.name), address

    def push(self) -> None:
        """A version above the others, until it answers and the last but one is gone."""
        number = next(self._numbers)
        staging = self._base / f"staging-{number}"
        shutil.copytree(self._source, staging, copy_function=os.link)  # copying would take of the load's processor
        staging.rename(self._base / str(number))
        self._wait(lambda: self._state(number) == "AVAILABLE" and self._state(number - 2) in ("", "END"))

    def roll_back(self) -> None:
        """The label goes back, then the highest version's directory, until what was below answers in its place."""
        number = self._latest()
        self._label(number - 1)
        (self._base / str(number)).rename(self._base / f"gone-{number}")
        self._wait(lambda: self._state(number) == "END" and (number < 3 or self._state(number - 2) == "AVAILABLE"))

    def flip(self) -> None:
        """The label moves to the latest version, back, and there again."""
        highest = self._latest()
        for number in (highest, highest - 1, highest):
            self._label(number)
            time.sleep(0.5)

    def _label(self, number: int) -> None:
        request = wire.ReloadConfigRequest()
        config = request.config.model_config_list.config.add(name=self._base.name, base_path=str(self._base))
        config.model_version_policy.latest.num_versions = _SERVED
        config.version_labels[LABEL] = number
        with OpenLoop(self._address, [], wire.RELOAD_CONFIG) as reload:
            reload.call(request.SerializeToString())

    def close(self) -> None:
        """Hangs up."""
        self._client.close()

    def _latest(self) -> int:
        return max(each.version for each in self._client.status() if each.state == "AVAILABLE")

    def _state(self, number: int) -> str:
        return next((each.state for each in self._client.status() if each.version == number), "")

    @staticmethod
    def _wait(condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 120
        while not condition():
            if time.monotonic() > end:
                raise SystemExit("the server did not follow within two minutes")
            time.sleep(0.05)


def main() -> None:
    """Measures and prints verdicts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.swaps", description=main.__doc__)
    parser.add_argument("--model-base-path", help="versions, of which copies of the highest are pushed")
    parser.add_argument("--items", type=int, default=100_000, help="that are drawn where no model is named")
    parser.add_argument("--swaps", type=int, default=5)
    parser.add_argument("--rollbacks", type=int, default=3, help="at the end, one after another; at most --swaps")
    parser.add_argument("--share", type=float, default=0.3, help="of the rate that one client alone reaches")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("demo/bench"), help="where the JSON goes")
    arguments = parser.parse_args()
    cpus = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory(prefix="mtmh-bench-") as directory:
        scratch = Path(directory)
        source = latest(arguments.model_base_path or drawn(arguments.items, arguments.seed, scratch / "drawn")[0])
        base = scratch / "served" / "mtmh"
        shutil.copytree(source, base / "1")
        os.sched_setaffinity(0, {max(cpus)})
        found = {**swapped(source, base, frozenset(cpus), arguments), **killed(base, frozenset(cpus))}
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "swaps.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    for name, each in found["p99_ms"].items():
        failures = "".join(f", {number} {code}" for code, number in found["failures"][name].items())
        print(f"{name}: p50 {found['p50_ms'][name]:.2f} ms, p99 {each:.2f} ms of {found['answers'][name]:,}{failures}")
    print(f"ready {found['ready_seconds']:.1f} s after the first start, {found['again_seconds']:.1f} s after the kill")
    print_verdicts(verdicts(found))


def swapped(source: Path, base: Path, cpus: frozenset[int], arguments: Any) -> dict[str, Any]:
    """Latencies at rest and while versions change, and what failed."""
    plan, ids = Plan(50, 0.0, 0, (1,), (), cpus, cpus, arguments.seed), catalogue_ids(source)
    payloads = requests(base.name, ids, plan) + requests(base.name, ids, plan, label=LABEL)
    windows, ends, stop = Windows(), list[End](), threading.Event()
    options = ("--poll-seconds", "0.2", "--served-versions", str(_SERVED), "--label", f"{LABEL}=1")
    with running(model_server(str(base), *options), cpus) as address, OpenLoop(address, payloads) as load:
        load.one_by_one(100)
        rate = arguments.share / float(np.median(load.one_by_one(300)))
        operator = Operator(source, base, address)
        sender = threading.Thread(target=lambda: ends.extend(load.until(stop, rate, arguments.seed)))
        sender.start()
        try:
            for _ in range(arguments.swaps):
                windows.add("at rest", lambda: time.sleep(_STEADY))
                windows.add("swap", operator.push)
                windows.add("flip of a label", operator.flip)
            for _ in range(min(arguments.rollbacks, arguments.swaps)):
                windows.add("rollback", operator.roll_back)
        finally:
            stop.set()
            sender.join()
            operator.close()
    seconds = {name: windows.seconds(name, ends) for name in windows.spans}
    return {
        "rate": rate,
        "p50_ms": {name: 1000 * float(np.median(each)) for name, each in seconds.items()},
        "p99_ms": {name: 1000 * float(np.quantile(each, 0.99)) for name, each in seconds.items()},
        "answers": {name: len(each) for name, each in seconds.items()},
        "failures": {name: windows.failures(name, ends) for name in windows.spans},
        "failed": sum(each.code != "OK" for each in ends),
        "windows": {name: [end - begin for begin, end in spans] for name, spans in windows.spans.items()},
    }


def killed(base: Path, cpus: frozenset[int]) -> dict[str, Any]:
    """Seconds to be ready at first and after a kill under load, and the callers' errors after that."""
    begun = time.monotonic()
    first = started(model_server(str(base)), cpus)
    ready = time.monotonic() - begun
    errors: list[float] = []
    stop = threading.Event()

    def call() -> None:
        with Client(first.address, base.name) as client:
            while not stop.is_set():
                try:
                    client.retrieve(["item-00000001"])
                except UserError:
                    errors.append(time.monotonic())
                    time.sleep(0.02)

    callers = [threading.Thread(target=call) for _ in range(2)]
    for caller in callers:
        caller.start()
    time.sleep(1.0)
    port = _PORT.search(first.address)
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    gone = time.monotonic()
    again: Started = started(model_server(str(base), port=int(port[1]) if port else 0), cpus)
    back = time.monotonic()
    time.sleep(5.0)
    stop.set()
    for caller in callers:
        caller.join()
    again.process.terminate()
    again.process.wait()
    late = [when - back for when in errors if when > back]
    return {
        "ready_seconds": ready,
        "again_seconds": back - gone,
        "errors_in_the_gap": len(errors) - len(late),
        "errors_later": len(late),
        "last_error_after_ready": max(late, default=0.0),
    }


def verdicts(found: dict[str, Any]) -> list[Verdict]:
    """The bars."""
    p99 = dict(found["p99_ms"])
    bound = 2 * p99.pop("at rest")
    return [
        *(Verdict(f"p99 during a {name}", each, bound, " ms") for name, each in p99.items()),
        Verdict("failed requests", found["failed"], 0),
        Verdict("ready after a kill", found["again_seconds"], found["ready_seconds"] + 2, " s"),
        Verdict("errors of clients that retry, once it is ready", found["errors_later"], 0),
    ]


if __name__ == "__main__":
    main()
