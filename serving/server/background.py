"""Work beside requests, such as the loading of a version: it gives way to them."""

import contextlib
import functools
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Final

_NICE: Final = 15
"""A thirtieth of the processor time where others want it all: a load that starves is no swap."""
_LOOK: Final = 0.25
"""Seconds between looks at whether what waits for idle processors gets on."""
_LEAST: Final = 0.05
"""Share of that time which it has to get."""
_here: Final = threading.local()


def give_way() -> None:
    """From now on the calling thread lets others have the processors first, where threads have priorities (Linux)."""
    _here.gives_way = True
    if sys.platform == "linux":  # elsewhere the number may be another process
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def gives_way() -> bool:
    """Whether the calling thread does."""
    return getattr(_here, "gives_way", False)


@contextlib.contextmanager
def when_idle() -> Iterator[None]:
    """Of a thread that gives way, runs the block on processors that nobody else wants, as long as it gets on there.

    To such a thread (``SCHED_IDLE``) Linux prefers a request at once, and not after some milliseconds. It would starve
    on a machine with no processor to spare: a thread that hardly gets on is put back. That needs ``CAP_SYS_NICE`` or an
    ``RLIMIT_NICE``; without, nothing changes. The block is to be a call that leaves the interpreter's lock alone.
    """
    if not gives_way() or not _may_come_back():
        yield
        return
    thread, clock, done = (
        threading.get_native_id(),
        time.pthread_getcpuclockid(threading.get_ident()),
        threading.Event(),
    )

    def look() -> None:
        before = time.clock_gettime(clock)
        while not done.wait(_LOOK):
            now = time.clock_gettime(clock)
            if now - before < _LEAST * _LOOK:
                _put_back(thread)
                return
            before = now

    watch = threading.Thread(target=look, name="mtmh-idle-watch", daemon=True)
    watch.start()
    os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))
    try:
        yield
    finally:
        _put_back(thread)
        done.set()
        watch.join()


def _put_back(thread: int) -> None:
    os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))


@functools.cache
def _may_come_back() -> bool:
    """Whether a thread of this process that went idle may be made an ordinary one again."""
    if sys.platform != "linux":
        return False
    found: list[bool] = []

    def attempt() -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        try:
            os.sched_setscheduler(threading.get_native_id(), os.SCHED_IDLE, os.sched_param(0))
            _put_back(threading.get_native_id())
        except OSError:
            return
        found.append(True)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return bool(found)
