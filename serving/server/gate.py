"""Who may ask the model, who waits, and who is sent away."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

import grpc

from serving.server.errors import RequestError

_SMOOTHING: Final = 0.05
"""Weight of the newest request in the mean time that a request takes."""
_FEW: Final = 3
"""Requests for each that runs that wait however long that takes."""
_INDULGENCE: Final = 10.0
"""How many times as long requests may wait while a version is loaded: it is no overload, and soon over."""


class Gate:
    """Lets a bounded number of requests run and few enough wait that the wait is short; refuses the rest at once.

    A queue that is bounded by a number alone is either too short for quick requests or, once it is full, adds its whole
    length to every answer. So a request is refused when those before it would make it wait longer than it may, as the
    mean of the last requests tells. `_FEW` for each that runs may always wait: a patience that is short beside what a
    request takes, of a slow model or on a busy machine, would refuse callers that merely came at the same time.
    """

    def __init__(
        self, running: int, waiting: int, patience: float, on_enter: Callable[[float], object] | None = None
    ) -> None:
        """Opens.

        Args:
            running: most requests that run at a time.
            waiting: most that wait.
            patience: seconds that a request may be expected to wait.
            on_enter: called with the seconds that a request waited.
        """
        self.capacity = running + waiting
        self._running, self._patience, self._on_enter = running, patience, on_enter
        self._slots = threading.Semaphore(running)
        self._lock = threading.Lock()
        self._inside = 0
        self._mean = 0.0
        self._loads = 0

    @property
    def inside(self) -> int:
        """Requests that run or wait."""
        return self._inside

    @contextlib.contextmanager
    def indulgent(self) -> Iterator[None]:
        """While it lasts a request may wait longer: the loading of a version takes of the interpreter's time."""
        with self._lock:
            self._loads += 1
        try:
            yield
        finally:
            with self._lock:
                self._loads -= 1

    @contextlib.contextmanager
    def enter(self, seconds: float | None = None) -> Iterator[None]:
        """Waits for a slot and holds it.

        Args:
            seconds: longest wait; None for no bound.

        Raises:
            RequestError: RESOURCE_EXHAUSTED when too many wait, DEADLINE_EXCEEDED when ``seconds`` are over.
        """
        with self._lock:
            patience = self._patience * (_INDULGENCE if self._loads else 1.0)
            if self._inside >= self.capacity or self._expected_wait() > patience:
                raise RequestError(
                    grpc.StatusCode.RESOURCE_EXHAUSTED, f"the server is busy with {self._inside} requests: retry later"
                )
            self._inside += 1
        try:
            timeout = None if seconds is None else min(max(seconds, 0.0), threading.TIMEOUT_MAX)
            arrived = time.perf_counter()
            if not self._slots.acquire(timeout=timeout):
                raise RequestError(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline passed while the request waited")
            entered = time.perf_counter()
            try:
                if self._on_enter:
                    self._on_enter(entered - arrived)
                yield
            finally:
                self._slots.release()
                with self._lock:
                    self._mean += _SMOOTHING * (time.perf_counter() - entered - self._mean)
        finally:
            with self._lock:
                self._inside -= 1

    def _expected_wait(self) -> float:
        ahead = self._inside + 1 - self._running
        return 0.0 if ahead <= _FEW * self._running else ahead * self._mean / self._running
