import contextlib
import threading

import grpc
import pytest

from serving.server.errors import RequestError
from serving.server.gate import Gate
from tests.serving.server.server_process import wait_for


def enter(gate, seconds=None):
    with gate.enter(seconds):
        pass


def test_the_excess_is_refused_at_once_and_places_come_back():
    gate = Gate(running=1, waiting=1, patience=60.0)
    with gate.enter():
        waiting = threading.Thread(target=enter, args=(gate,))
        waiting.start()
        wait_for(lambda: gate.inside == 2, what="a waiting request")
        with pytest.raises(RequestError) as caught:
            enter(gate)
        assert caught.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    waiting.join()
    enter(gate)


def test_the_deadline_bounds_the_wait():
    gate = Gate(running=1, waiting=1, patience=60.0)
    with gate.enter():
        for _ in range(3):
            with pytest.raises(RequestError) as caught:
                enter(gate, 0.01)
            assert caught.value.code == grpc.StatusCode.DEADLINE_EXCEEDED
    enter(gate, 1e12)


def test_a_fault_inside_gives_the_place_back():
    gate = Gate(running=1, waiting=0, patience=60.0)
    with pytest.raises(ZeroDivisionError), gate.enter():
        raise ZeroDivisionError
    enter(gate)


def hold(gate, seconds, done):
    with gate.enter():
        done.wait(seconds)


class Clock:
    """Seconds as the test has it; a request takes as many as `work` says."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def work(self, gate, seconds, times=60):
        for _ in range(times):
            with gate.enter():
                self.now += seconds


@contextlib.contextmanager
def callers(gate, count):
    """So many that come one after another, and stay while the block lasts; gives how many are inside."""
    release, codes = threading.Event(), []

    def ask():
        try:
            hold(gate, 60.0, release)
        except RequestError as error:
            codes.append(error.code)

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for number, thread in enumerate(threads, 1):
        thread.start()
        wait_for(lambda number=number: gate.inside + len(codes) == number, what="a caller inside or refused")
    try:
        yield gate.inside
    finally:
        assert set(codes) <= {grpc.StatusCode.RESOURCE_EXHAUSTED}
        release.set()
        for thread in threads:
            thread.join()


def test_a_burst_is_no_overload_and_what_lasts_is_one():
    clock = Clock()
    gate = Gate(running=1, waiting=100, patience=0.02, clock=clock)
    clock.work(gate, 0.01)
    with callers(gate, 15) as inside:  # all of them may wait 200 ms
        assert inside == 15
        for later in (0.06, 0.9):  # it has lasted, and then it has not been calm for a second
            clock.now += later
            with pytest.raises(RequestError, match="busy with 15 requests"):
                enter(gate)
    clock.now += 1.1
    clock.work(gate, 0.01)
    with callers(gate, 40) as inside:  # a burst again, and none of them has to expect more than ten times as long
        assert 18 < inside < 24


def test_nobody_waits_longer_than_may_be_expected():
    gate = Gate(running=1, waiting=100, patience=0.01)
    never, release = threading.Event(), threading.Event()
    for _ in range(60):
        hold(gate, 0.005, never)
    codes = []

    def ask():
        try:
            hold(gate, 60.0, release)
        except RequestError as error:
            codes.append(error.code)

    threads = [threading.Thread(target=ask) for _ in range(60)]
    for thread in threads:
        thread.start()
    # Requests took some 5 ms: about twenty may be before one, not sixty.
    wait_for(lambda: gate.inside + len(codes) == len(threads))
    assert 5 < gate.inside < 25
    assert set(codes) == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    release.set()
    for thread in threads:
        thread.join()
    assert gate.inside == 0


def test_while_a_version_is_loaded_requests_wait_longer():
    clock = Clock()
    gate = Gate(running=1, waiting=100, patience=0.02, clock=clock)
    clock.work(gate, 0.01)
    with callers(gate, 15):
        clock.now += 0.06
        with gate.indulgent(), pytest.raises(RequestError, match="deadline passed while the request waited"):
            enter(gate, 0.01)
        with pytest.raises(RequestError, match="busy with 15 requests"):
            enter(gate)


def test_a_few_may_always_wait_for_a_slow_one():
    gate = Gate(running=1, waiting=100, patience=0.001)
    never = threading.Event()
    for _ in range(20):
        hold(gate, 0.02, never)
    release = threading.Event()
    threads = [threading.Thread(target=hold, args=(gate, 60.0, release)) for _ in range(4)]
    for number, thread in enumerate(threads, 1):
        thread.start()
        wait_for(lambda number=number: gate.inside == number, what="a request inside")
    with pytest.raises(RequestError, match="busy with 4 requests"):
        enter(gate)
    release.set()
    for thread in threads:
        thread.join()
