"""Work beside requests, such as the loading of a version: it gives way to them."""

import contextlib
import ctypes
import functools
import os
import platform
import struct
import sys
import threading
import time
from collections.abc import Iterator
from typing import Final

_NICE: Final = 15
"""A thirtieth of the processor time where others want it all: a load that starves is no swap."""
_SLICE: Final = 100_000_000
"""Nanoseconds that such a thread asks for at a time, the most that Linux grants: from 6.12 on, whoever wakes up and
asks for less, as all do by default, needn't wait for the end of the slice of who runs."""
_SCHED_SETATTR: Final = {"x86_64": 314, "aarch64": 274}
"""Number of the system call, which Python and older C libraries don't know by name."""
_SCHED_ATTR: Final = struct.Struct("=IIQiIQQQ")
"""`struct sched_attr` of its first version: size, policy, flags, nice, priority, runtime, deadline, period."""
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
            _be_nice(threading.get_native_id())


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
                _be_nice(thread)
                return
            before = now

    watch = threading.Thread(target=look, name="mtmh-idle-watch", daemon=True)
    watch.start()
    os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))
    try:
        yield
    finally:
        _be_nice(thread)
        done.set()
        watch.join()


def _be_nice(thread: int) -> None:
    """Makes it an ordinary thread that is nice and is content to run seldom, if long."""
    os.setpriority(os.PRIO_PROCESS, thread, _NICE)  # first: the rest may be forbidden
    os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))
    number = _SCHED_SETATTR.get(platform.machine())
    if number is not None:  # a kernel that doesn't know such slices leaves things as they are
        wanted = _SCHED_ATTR.pack(_SCHED_ATTR.size, os.SCHED_OTHER, 0, _NICE, 0, _SLICE, 0, 0)
        ctypes.CDLL(None).syscall(number, thread, wanted, 0)


@functools.cache
def _may_come_back() -> bool:
    """Whether a thread of this process that went idle may be made an ordinary one again."""
    if sys.platform != "linux":
        return False
    found: list[bool] = []

    def attempt() -> None:
        try:
            _be_nice(threading.get_native_id())
            os.sched_setscheduler(threading.get_native_id(), os.SCHED_IDLE, os.sched_param(0))
            _be_nice(threading.get_native_id())
        except OSError:
            return
        found.append(True)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return bool(found)
