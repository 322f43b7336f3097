"""Who may ask the model, who waits, and who is sent away."""

import contextlib
import threading
from collections.abc import Iterator

import grpc

from serving.server.errors import RequestError


class Gate:
    """Lets a bounded number of requests run and a bounded number wait; refuses the rest at once."""

    def __init__(self, running: int, waiting: int) -> None:
        self.capacity = running + waiting
        self._slots = threading.Semaphore(running)
        self._lock = threading.Lock()
        self._inside = 0

    @contextlib.contextmanager
    def enter(self, seconds: float | None = None) -> Iterator[None]:
        """Waits for a slot and holds it.

        Args:
            seconds: longest wait; None for no bound.

        Raises:
            RequestError: RESOURCE_EXHAUSTED when too many wait, DEADLINE_EXCEEDED when ``seconds`` are over.
        """
        with self._lock:
            if self._inside >= self.capacity:
                raise RequestError(
                    grpc.StatusCode.RESOURCE_EXHAUSTED, f"the server is busy with {self.capacity} requests: retry later"
                )
            self._inside += 1
        try:
            timeout = None if seconds is None else min(max(seconds, 0.0), threading.TIMEOUT_MAX)
            if not self._slots.acquire(timeout=timeout):
                raise RequestError(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline passed while the request waited")
            try:
                yield
            finally:
                self._slots.release()
        finally:
            with self._lock:
                self._inside -= 1
