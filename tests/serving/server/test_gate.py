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
    gate = Gate(running=1, waiting=1)
    with gate.enter():
        waiting = threading.Thread(target=enter, args=(gate,))
        waiting.start()
        wait_for(lambda: gate._inside == 2, what="a waiting request")
        with pytest.raises(RequestError) as caught:
            enter(gate)
        assert caught.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    waiting.join()
    enter(gate)


def test_the_deadline_bounds_the_wait():
    gate = Gate(running=1, waiting=1)
    with gate.enter():
        for _ in range(3):
            with pytest.raises(RequestError) as caught:
                enter(gate, 0.01)
            assert caught.value.code == grpc.StatusCode.DEADLINE_EXCEEDED
    enter(gate, 1e12)


def test_a_fault_inside_gives_the_place_back():
    gate = Gate(running=1, waiting=0)
    with pytest.raises(ZeroDivisionError), gate.enter():
        raise ZeroDivisionError
    enter(gate)
