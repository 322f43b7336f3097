"""Who may ask the model, who waits, and who is sent away."""

import contextlib
import math
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
"""How many times as long requests may wait in a burst or while a version is loaded: both are soon over."""
_BURST: Final = 0.05
"""Seconds after which what began as a burst is an overload."""
_CALM: Final = 1.0
"""Seconds without a request that had to expect too long a wait, after which the next one begins a burst."""


class Gate:
    """Lets a bounded number of requests run and few enough wait that the wait is short; refuses the rest at once.

    A queue that is bounded by a number alone is either too short for quick requests or, once it is full, adds its whole
    length to every answer. So a request is refused when those before it would make it wait longer than it may, as the
    mean of the last requests tells. `_FEW` for each that runs may always wait: a patience that is short beside what a
    request takes, of a slow model or on a busy machine, would refuse callers that merely came at the same time. And a
    burst may, or what gathers while a machine stands still: what lasts is judged, not what happens, as in RFC 8289.
    """

    def __init__(
        self,
        running: int,
        waiting: int,
        patience: float,
        on_enter: Callable[[float], object] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Opens.

        Args:
            running: most requests that run at a time.
            waiting: most that wait.
            patience: seconds that a request may be expected to wait.
            on_enter: called with the seconds that a request waited.
            clock: seconds since any time.
        """
        self.capacity = running + waiting
        self._running, self._patience, self._on_enter = running, patience, on_enter
        self._slots = threading.Semaphore(running)
        self._lock = threading.Lock()
        self._inside = 0
        self._mean = 0.0
        self._loads = 0
        self._clock = clock
        self._too_long = self._burst = -math.inf

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
            if self._inside >= self.capacity or not self._bears(self._expected_wait()):
                raise RequestError(
                    grpc.StatusCode.RESOURCE_EXHAUSTED, f"the server is busy with {self._inside} requests: retry later"
                )
            self._inside += 1
        try:
            timeout = None if seconds is None else min(max(seconds, 0.0), threading.TIMEOUT_MAX)
            arrived = self._clock()
            if not self._slots.acquire(timeout=timeout):
                raise RequestError(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline passed while the request waited")
            entered = self._clock()
            try:
                if self._on_enter:
                    self._on_enter(entered - arrived)
                yield
            finally:
                self._slots.release()
                with self._lock:
                    self._mean += _SMOOTHING * (self._clock() - entered - self._mean)
        finally:
            with self._lock:
                self._inside -= 1

    def _bears(self, wait: float) -> bool:
        """Whether a request that arrives now may wait so long."""
        if wait <= self._patience:
            return True
        now = self._clock()
        if now - self._too_long > _CALM:
            self._burst = now
        self._too_long = now
        passing = self._loads > 0 or now - self._burst <= _BURST
        return passing and wait <= _INDULGENCE * self._patience

    def _expected_wait(self) -> float:
        ahead = self._inside + 1 - self._running
        return 0.0 if ahead <= _FEW * self._running else ahead * self._mean / self._running
