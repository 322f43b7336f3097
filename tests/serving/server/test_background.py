"""Threads that give way: what the kernel says of them, and that they don't starve."""

import ctypes
import hashlib
import os
import platform
import struct
import subprocess
import sys
import threading
import time

import pytest

from serving.server.background import give_way, when_idle

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux")

LONG = 4_000_000
"""Rounds of a hash that leaves the interpreter's lock alone: seconds."""


def policies(work):
    """The scheduling policies that a thread sees before, within and after the block, in a thread of its own."""
    seen = []

    def run():
        work()
        seen.append(os.sched_getscheduler(0))
        with when_idle():
            seen.append(os.sched_getscheduler(0))
        seen.append(os.sched_getscheduler(0))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return seen


def slice_asked_for():
    """Nanoseconds that the calling thread asks Linux for at a time, by sched_getattr(2)."""
    attributes = ctypes.create_string_buffer(48)
    assert ctypes.CDLL(None).syscall({"x86_64": 315, "aarch64": 275}[platform.machine()], 0, attributes, 48, 0) == 0
    return struct.unpack("=IIQiIQQQ", attributes.raw)[5]


def may_come_back():
    return policies(give_way)[1] == os.SCHED_IDLE


def test_only_a_thread_that_gives_way_goes_idle_and_comes_back():
    assert policies(lambda: None) == [os.SCHED_OTHER] * 3
    if not may_come_back():
        pytest.skip("this user may not bring an idle thread back")
    assert policies(give_way) == [os.SCHED_OTHER, os.SCHED_IDLE, os.SCHED_OTHER]


@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="the system call's number is not known")
def test_only_a_thread_that_gives_way_asks_for_long_slices_also_once_it_came_back():
    kernel = tuple(int(part) for part in platform.release().split(".")[:2])
    if kernel < (6, 12):
        pytest.skip(f"Linux {platform.release()} has one slice for all, 6.12 and later one for each")
    usual, seen = slice_asked_for(), []

    def run():
        give_way()
        seen.append(slice_asked_for())
        with when_idle():
            pass
        seen.append(slice_asked_for())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert usual < 10_000_000
    assert seen == [100_000_000] * 2
    assert slice_asked_for() == usual


def test_a_user_who_could_not_bring_it_back_leaves_it_as_it_is():
    if os.geteuid():
        pytest.skip("only root can become another user")
    code = (
        "import os; from serving.server.background import give_way, when_idle; os.setuid(65534); give_way()\n"
        "with when_idle(): print(os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(os.SCHED_OTHER), "15"]


def test_what_would_starve_is_put_back():
    if not may_come_back():
        pytest.skip("this user may not bring an idle thread back")
    processor = {min(os.sched_getaffinity(0))}
    hog = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    os.sched_setaffinity(hog.pid, processor)
    number, ended = [], []

    def run():
        os.sched_setaffinity(0, processor)
        give_way()
        number.append(threading.get_native_id())
        with when_idle():
            hashlib.pbkdf2_hmac("sha256", b"", b"", LONG)
        ended.append(True)

    thread = threading.Thread(target=run)
    try:
        thread.start()
        seen = []
        end = time.monotonic() + 20
        while not (seen and seen[-1] == os.SCHED_OTHER and os.SCHED_IDLE in seen) and time.monotonic() < end:
            time.sleep(0.01)
            if number:
                seen.append(os.sched_getscheduler(number[0]))
        assert os.SCHED_IDLE in seen
        assert seen[-1] == os.SCHED_OTHER
        assert not ended
    finally:
        hog.kill()
        hog.wait()
        thread.join()
