"""Calls that have begun and whose request has not come yet.

Such a call holds a thread of the gRPC server. Few do for longer than a moment, but a caller that hangs, or means harm,
may hold one after the other: those that waited longest are given up, and leave threads for others. Only a burst of
more than there are threads stands in the way, for as many moments as it takes to give it up.
"""

import logging
import threading
import time
from collections.abc import Iterator
from typing import Any, Final

from serving.server.errors import unimplemented

MOST_WAITING: Final = 128
"""Calls that may wait for their requests for longer than `_MOMENT`."""
_MOMENT: Final = 1.0
"""Seconds within which requests come unless something is wrong; a burst may bring more than `MOST_WAITING` of them."""
_LONGEST: Final = 30.0
"""Seconds after which no request is waited for any more."""
_LOOK_SECONDS: Final = 0.5

_log = logging.getLogger("mtmh.serving")


class Arrivals:
    """Waits for the requests of calls, and gives up calls that keep the server waiting."""

    def __init__(self, longest: float = _LONGEST) -> None:
        """Args: ``longest`` is how many seconds a request may take to come."""
        self._longest = longest
        self._lock = threading.Lock()
        self._waiting: dict[Any, float] = {}
        self._stopped = threading.Event()
        threading.Thread(target=self._run, name="mtmh-arrivals", daemon=True).start()

    def request(self, messages: Iterator[Any], context: Any) -> Any:
        """The one message of a call.

        Raises:
            RequestError: UNIMPLEMENTED, there is none; as grpc answers it.
            grpc.RpcError: the call has ended meanwhile.
        """
        with self._lock:
            self._waiting[context] = time.monotonic()
        try:
            message = next(messages, None)
        finally:
            with self._lock:
                del self._waiting[context]
        if message is None:
            raise unimplemented("the method requires exactly one request message")
        return message

    def end(self, stopped: threading.Event) -> None:
        """Requests have to come within a moment from now on, and until the server has ``stopped``."""
        self._longest, self._stopped = min(self._longest, _MOMENT), stopped

    def _run(self) -> None:
        while not self._stopped.wait(_LOOK_SECONDS):
            if given_up := self._give_up():
                _log.warning("%d calls were given up: their requests did not come", given_up)

    def _give_up(self) -> int:
        # Chosen and given up under one lock: a call whose request comes meanwhile leaves its place to no other.
        with self._lock:
            now = time.monotonic()
            waited = [now - since for since in self._waiting.values()]
            late = sum(seconds > self._longest for seconds in waited)
            slow = sum(seconds > _MOMENT for seconds in waited)
            # In the order of their coming: the first waited longest.
            given_up = list(self._waiting)[: max(late, slow - MOST_WAITING)]
            for context in given_up:
                context.cancel()
        return len(given_up)
