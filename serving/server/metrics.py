"""What the server counts and times, for Prometheus.

The registry is its own: nothing that a library counts by itself, but for the process's memory, time and files.
"""

from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_BUCKETS: Final = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """The metrics of one server; any thread may use them."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "mtmh_requests",
            "Requests answered or refused; the code is gRPC's name, over REST the HTTP status.",
            ("api", "method", "code"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "mtmh_request_seconds",
            "From a request's arrival in the server to its answer or refusal.",
            ("api", "method"),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._answers = Histogram(
            "mtmh_model_seconds",
            "What of it the model took, with reading the request and writing the answer.",
            ("version", "signature"),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._queue_seconds = Histogram(
            "mtmh_queue_seconds",
            "How long requests waited for a thread; those that were refused are not among them.",
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._inside = Gauge("mtmh_requests_inside", "Requests that run or wait now.", registry=self._registry)
        self._ready = Gauge("mtmh_ready", "1 while the server answers, as its health says.", registry=self._registry)
        self._available = Gauge(
            "mtmh_version_available", "1 for every version that answers.", ("version",), registry=self._registry
        )
        self._loads = Counter(
            "mtmh_version_loads", "Versions loaded and warmed up, or not.", ("outcome",), registry=self._registry
        )
        self._load_seconds = Gauge(
            "mtmh_version_load_seconds", "What the last one took, warm-up included.", registry=self._registry
        )
        for outcome in ("loaded", "failed"):
            self._loads.labels(outcome)
        self._versions: frozenset[int] = frozenset()

    def request(self, api: str, method: str, code: str, seconds: float) -> None:
        """Counts a request that was answered or refused."""
        self._requests.labels(api, method, code).inc()
        self._seconds.labels(api, method).observe(seconds)

    def answer(self, version: int, signature: str, seconds: float) -> None:
        """Counts what a version answered; the signature has to be one of its own."""
        self._answers.labels(str(version), signature).observe(seconds)

    def waited(self, seconds: float) -> None:
        """Counts what a request waited for a thread."""
        self._queue_seconds.observe(seconds)

    def watch(self, inside: Callable[[], float], ready: Callable[[], float]) -> None:
        """Takes what is read when somebody asks."""
        self._inside.set_function(inside)
        self._ready.set_function(ready)

    def loaded(self, seconds: float | None) -> None:
        """Counts a version that was loaded in so many seconds; None for one that was not."""
        self._loads.labels("failed" if seconds is None else "loaded").inc()
        if seconds is not None:
            self._load_seconds.set(seconds)

    def serving(self, versions: Iterable[int]) -> None:
        """Takes the versions that answer now, and forgets what was counted of others."""
        now = frozenset(versions)
        for version in self._versions - now:
            self._available.remove(str(version))
        for version in now:
            self._available.labels(str(version)).set(1)
        self._versions = now
        samples = [sample for family in self._answers.collect() for sample in family.samples]
        for number, signature in {(each.labels["version"], each.labels["signature"]) for each in samples}:
            if int(number) not in now:
                self._answers.remove(number, signature)

    def page(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self._registry)
