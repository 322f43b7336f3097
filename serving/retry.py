"""When a failed call is made again, and how long to wait before.

A call is repeated where that cannot do harm, and where it can help: the server was not there (UNAVAILABLE: a restart, a
swap of pods), ended before it answered (CANCELLED: gRPC's word when a server stops and has only just been asked) or was
busy (RESOURCE_EXHAUSTED). Waits grow and are random, so that the callers of a server that went
down do not come back all at once. A budget keeps repeats to a small share of all calls: where most of them fail,
repeating them all would keep an overloaded server from ever recovering. It is the scheme of gRPC's own retry throttling
(gRFC A6), which waits the same for every status and ends at five attempts.
"""

import dataclasses
import math
import random
import threading
from typing import Any, Final

import grpc

from preprocessing.errors import UserError

_BUSY_FACTOR: Final = 4.0
"""A busy server is left alone longer than one that was not there."""
_GONE: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
_TOO_LARGE: Final = ("larger than max", "metadata size exceeds")
"""In the words of gRPC's RESOURCE_EXHAUSTED for a message, or headers, that no repeat makes smaller."""


@dataclasses.dataclass(frozen=True)
class Retry:
    """How calls are repeated.

    Attributes:
        attempts: most calls for one answer; 1: never again.
        first_seconds: longest wait before the second attempt; it doubles with each further one.
        most_seconds: longest wait between two attempts.
        budget: repeats that may be spent at once; each costs one, each answer gives a tenth back, and none is made
            while less than half is left.
    """

    attempts: int = 4
    first_seconds: float = 0.05
    most_seconds: float = 1.0
    budget: float = 20.0

    def __post_init__(self) -> None:
        """Checks the ranges.

        Raises:
            UserError: a number is out of its range.
        """
        if self.attempts < 1 or not 0 < self.first_seconds <= self.most_seconds or self.budget < 0:
            raise UserError(
                f"{self}: expected at least 1 attempt, 0 < first_seconds <= most_seconds and a budget of at least 0"
            )


NEVER: Final = Retry(attempts=1)
"""No call is repeated: for measuring."""


class Retries:
    """The retries of one client: its `Retry` and what is left of the budget. Threads may share it."""

    def __init__(self, retry: Retry, draw: random.Random | None = None) -> None:
        """Args: ``retry`` is the rule, ``draw`` the source of jitter."""
        self._retry = retry
        self._draw = draw or random.Random()
        self._left = retry.budget
        self._lock = threading.Lock()

    def answered(self) -> None:
        """An answer came: a part of the budget comes back."""
        with self._lock:
            self._left = min(self._retry.budget, self._left + 0.1)

    def end(self) -> None:
        """The client is closed: what that cancels is not repeated."""
        with self._lock:
            self._left = -math.inf

    def spend(self) -> bool:
        """Takes one repeat from the budget; False where too little is left for one."""
        with self._lock:
            if self._left < max(1.0, self._retry.budget / 2):
                return False
            self._left -= 1.0
            return True

    def wait(self, error: Any, attempt: int, seconds_left: float) -> float | None:
        """Seconds to wait before the next attempt; None where there should be none.

        Args:
            error: the ``grpc.RpcError`` of the last attempt.
            attempt: how many there were.
            seconds_left: until the call's deadline.
        """
        code, details = error.code(), error.details() or ""
        if attempt >= self._retry.attempts:
            return None
        if code in _GONE:
            least, most = 0.0, self._bound(attempt, 1.0)
        elif code == grpc.StatusCode.RESOURCE_EXHAUSTED and not any(each in details for each in _TOO_LARGE):
            most = self._bound(attempt, _BUSY_FACTOR)
            least = most / 2
        else:
            return None
        seconds = self._draw.uniform(least, most)
        return seconds if seconds < seconds_left and self.spend() else None

    def _bound(self, attempt: int, factor: float) -> float:
        # The exponent is bounded: a float overflows at 2 ** 1024.
        return min(self._retry.most_seconds, factor * self._retry.first_seconds * 2.0 ** min(attempt - 1, 60))
