"""Load that does not wait for answers: requests leave at their times, whatever became of those before.

A client that asks again once it is answered slows down with the server and never sees how bad it gets. Here a latency
runs from the time that a request was due, so that what a late sender hides is part of it; how late it was is told too.
"""

import collections
import dataclasses
import gc
import random
import threading
import time
from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from serving import wire

OPTIONS = (("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", -1))


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one rate.

    Attributes:
        rate: requests a second that were sent.
        seconds: for how long.
        ok: seconds of every answer.
        refused: seconds of every RESOURCE_EXHAUSTED.
        errors: how many requests ended otherwise, by gRPC code.
        lag_p99: how late the sender itself was; above a millisecond or two the sender was the bottleneck.
    """

    rate: float
    seconds: float
    ok: NDArray[np.float64]
    refused: NDArray[np.float64]
    errors: dict[str, int]
    lag_p99: float

    @property
    def sent(self) -> int:
        """All requests."""
        return len(self.ok) + len(self.refused) + sum(self.errors.values())

    @property
    def throughput(self) -> float:
        """Answers a second."""
        return len(self.ok) / self.seconds

    def quantile(self, share: float) -> float:
        """Seconds within which so large a share of the answers came; NaN without answers."""
        return float(np.quantile(self.ok, share)) if len(self.ok) else float("nan")

    def sustained(self) -> bool:
        """Whether the server kept up: nearly all answered."""
        return not self.errors and len(self.ok) >= 0.995 * self.sent

    def row(self) -> dict[str, Any]:
        """The figures."""
        quantiles = {f"p{100 * share:g}_ms": 1000 * self.quantile(share) for share in (0.5, 0.95, 0.99, 0.999)}
        refused = 1000 * float(np.quantile(self.refused, 0.99)) if len(self.refused) else 0.0
        return {
            "rate": self.rate,
            "throughput": self.throughput,
            **quantiles,
            "refused": len(self.refused),
            "refused_p99_ms": refused,
            "errors": dict(self.errors),
            "lag_p99_ms": 1000 * self.lag_p99,
        }


@dataclasses.dataclass(frozen=True)
class End:
    """When a request was due, by `time.perf_counter`, its gRPC code, and how many seconds it took from then on."""

    due: float
    code: str
    seconds: float


class OpenLoop:
    """A sender over one connection."""

    def __init__(self, address: str, payloads: Sequence[bytes], method: str = wire.PREDICT) -> None:
        """Args: ``host:port``, serialised requests that are drawn from, and the gRPC method."""
        self._channel = grpc.insecure_channel(address, options=OPTIONS)
        self._call: Any = self._channel.unary_unary(method)
        self._payloads = list(payloads)

    def __enter__(self) -> "OpenLoop":
        return self

    def __exit__(self, *exception: object) -> None:
        self._channel.close()

    def call(self, payload: bytes) -> bytes:
        """One answer, serialised."""
        answer: bytes = self._call(payload, timeout=30.0)
        return answer

    def one_by_one(self, requests: int) -> NDArray[np.float64]:
        """Seconds of requests of one client that waits for each answer."""
        seconds = np.empty(requests)
        for number in range(requests):
            payload = self._payloads[number % len(self._payloads)]
            started = time.perf_counter()
            self._call(payload, timeout=30.0)
            seconds[number] = time.perf_counter() - started
        return seconds

    def until(self, stop: threading.Event, rate: float, seed: int = 0, timeout: float = 5.0) -> list[End]:
        """Sends at a rate, in the gaps of independent callers, until it is told to stop."""
        rng = random.Random(seed)
        ends: list[End] = []
        sent, finished = 0, threading.Semaphore(0)

        def note(due: float, future: Any) -> None:
            ends.append(End(due, future.code().name, time.perf_counter() - due))
            finished.release()

        due = time.perf_counter()
        while not stop.is_set():
            due += rng.expovariate(rate)
            time.sleep(max(0.0, due - time.perf_counter()))
            future = self._call.future(rng.choice(self._payloads), timeout=timeout)
            future.add_done_callback(lambda done, due=due: note(due, done))
            sent += 1
        for _ in range(sent):
            finished.acquire()
        return ends

    def run(self, rate: float, seconds: float, seed: int = 0, *, even: bool = False, timeout: float = 5.0) -> Outcome:
        """Sends at a rate.

        Args:
            rate: requests a second.
            seconds: for how long.
            seed: of the arrivals and the choice of requests.
            even: equal gaps; otherwise those of independent callers, exponential.
            timeout: each request's deadline in seconds.
        """
        rng = random.Random(seed)
        count = max(1, round(rate * seconds))
        gaps = [1.0 / rate if even else rng.expovariate(rate) for _ in range(count)]
        payloads = rng.choices(self._payloads, k=count)
        ends: list[tuple[str, float]] = []
        lags = np.empty(count)
        finished = threading.Semaphore(0)

        def note(due: float, future: Any) -> None:
            ends.append((future.code().name, time.perf_counter() - due))
            finished.release()

        gc.collect()
        gc.disable()
        try:
            due = time.perf_counter() + 0.05
            for number in range(count):
                due += gaps[number]
                wait = due - time.perf_counter()
                if wait > 0:
                    time.sleep(wait)
                lags[number] = time.perf_counter() - due
                future = self._call.future(payloads[number], timeout=timeout)
                future.add_done_callback(lambda done, due=due: note(due, done))
            for _ in range(count):
                finished.acquire()
        finally:
            gc.enable()
        return _outcome(rate, sum(gaps), ends, lags)


def _outcome(rate: float, seconds: float, ends: list[tuple[str, float]], lags: NDArray[np.float64]) -> Outcome:
    by_code: dict[str, list[float]] = collections.defaultdict(list)
    for code, taken in ends:
        by_code[code].append(taken)
    ok, refused = (np.array(by_code.pop(code, []), np.float64) for code in ("OK", "RESOURCE_EXHAUSTED"))
    errors = {code: len(taken) for code, taken in by_code.items()}
    return Outcome(rate, seconds, ok, refused, errors, float(np.quantile(lags, 0.99)))


def highest_sustained(load: OpenLoop, start: float, seconds: float) -> tuple[float, list[Outcome]]:
    """The highest rate that is kept up with, to about four per cent, and all that was tried.

    Args:
        load: the sender.
        start: a rate that is kept up with for sure.
        seconds: of each try.
    """
    tried: list[Outcome] = []

    def holds(rate: float) -> bool:
        # One bad second of a shared machine shall not decide.
        for seed in range(2):
            tried.append(load.run(rate, seconds, seed + len(tried)))
            if tried[-1].sustained():
                return True
            time.sleep(0.5)
        return False

    good, bad = start, 0.0
    if not holds(good):
        while good > 1.0 and not holds(good := good / 1.5):
            pass
        bad = good * 1.5
    while not bad:
        if holds(1.25 * good):
            good *= 1.25
        else:
            bad = 1.25 * good
    while bad / good > 1.04:
        middle = (good * bad) ** 0.5
        good, bad = (middle, bad) if holds(middle) else (good, middle)
    return good, tried
