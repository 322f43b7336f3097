"""Calls that begin and send no request, and watches of health: they take no place of anybody else's."""

import contextlib
import logging
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving import wire
from serving.client import NEVER, Client
from serving.server.arrivals import MOST_WAITING, Arrivals
from tests.serving.server import toy_model
from tests.serving.server.server_process import ServerProcess, wait_for

NO_PROXY = [("grpc.enable_http_proxy", 0)]
STATUS = health_pb2.HealthCheckResponse
STOPPED = threading.Event()
STOPPED.set()


class Silence:
    """Requests of calls that say nothing until the end."""

    def __init__(self) -> None:
        self._end = threading.Event()

    def __iter__(self) -> "Silence":
        return self

    def __next__(self) -> bytes:
        self._end.wait()
        raise StopIteration

    def end(self) -> None:
        self._end.set()


@contextlib.contextmanager
def half_open(address: str, number: int, method: str = wire.PREDICT):
    """So many calls over one connection, which has begun them all."""
    silence = Silence()
    with grpc.insecure_channel(address, NO_PROXY) as channel:
        calls = [channel.stream_unary(method).future(silence) for _ in range(number)]
        time.sleep(0.5)
        try:
            yield calls
        finally:
            silence.end()
            for call in calls:
                call.cancel()


@pytest.fixture(scope="module")
def small(exported, tmp_path_factory):
    """A server that lets one request run and none wait."""
    base = tmp_path_factory.mktemp("small") / "mtmh"
    base.mkdir()
    toy_model.copy(exported, base / "1")
    server = ServerProcess.start(base, threads=1, queue=0).wait_ready()
    yield server
    assert server.stop() == 0


def assert_answers(address: str) -> None:
    with Client(address, retry=NEVER, timeout=10) as client:
        assert client.retrieve(["item3"], k=1).results
    with grpc.insecure_channel(address, NO_PROXY) as channel:
        assert health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10).status == 1


@pytest.mark.parametrize("method", [wire.PREDICT, "/grpc.health.v1.Health/Check"])
def test_calls_without_a_request_leave_threads_for_others(small, method):
    with half_open(small.address, MOST_WAITING + 30, method) as calls:
        assert_answers(small.address)
        given_up = [call for call in calls if call.done()]
        assert 0 < len(given_up) <= 30
        assert {call.code() for call in given_up} == {grpc.StatusCode.CANCELLED}
    assert_answers(small.address)


def test_watches_take_no_place_of_requests(small):
    with grpc.insecure_channel(small.address, NO_PROXY) as channel:
        watches = [health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest()) for _ in range(200)]
        assert {next(watch).status for watch in watches} == {STATUS.SERVING}
        assert_answers(small.address)
        for watch in watches:
            watch.cancel()


def test_a_request_that_does_not_come_is_given_up_in_time():
    arrivals = Arrivals(longest=0.2)
    server = grpc.server(ThreadPoolExecutor(2))
    handlers = {"Echo": grpc.stream_unary_rpc_method_handler(arrivals.request)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", handlers),))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        with half_open(address, 1, "/test.Test/Echo") as (call,):
            started = time.monotonic()
            assert call.exception(timeout=10).code() == grpc.StatusCode.CANCELLED
            assert time.monotonic() - started < 5
        with grpc.insecure_channel(address, NO_PROXY) as channel:
            assert channel.unary_unary("/test.Test/Echo")(b"there", timeout=10) == b"there"
    finally:
        arrivals.end(server.stop(None))


class Call:
    """The context of a call that nobody sends a request for until it is told to."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._request: queue.Queue[bytes] = queue.Queue()
        self.cancelled = False
        self._thread = threading.Thread(target=arrivals.request, args=(iter(self._request.get, None), self))
        self._thread.start()

    def cancel(self) -> None:
        self.cancelled = True

    def send(self) -> None:
        self._request.put(b"there")
        self._thread.join()


def test_a_late_request_costs_no_other_call_its_place():
    arrivals, told, calls = Arrivals(longest=1.0), threading.Event(), []
    calls.append(Call(arrivals))

    def arrive(record: logging.LogRecord) -> bool:
        # Said when calls are late: the late one's request comes now, and another call begins.
        if not told.is_set() and "given up" in record.msg:
            calls[0].send()
            calls.append(Call(arrivals))
            told.set()
        return True

    log = logging.getLogger("mtmh.serving")
    log.addFilter(arrive)
    try:
        assert told.wait(30)
        time.sleep(0.1)
        assert [call.cancelled for call in calls] == [True, False]
    finally:
        log.removeFilter(arrive)
        calls[-1].send()
        arrivals.end(STOPPED)


def test_at_the_end_a_request_still_has_a_moment_to_come():
    arrivals, stopped = Arrivals(), threading.Event()
    begun, silent = Call(arrivals), Call(arrivals)
    arrivals.end(stopped)
    try:
        begun.send()
        wait_for(lambda: silent.cancelled, 10)
        assert not begun.cancelled
    finally:
        silent.send()
        stopped.set()


@pytest.mark.parametrize("method", [wire.PREDICT, "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"])
def test_a_call_that_ends_without_a_request_is_told_so(small, method):
    with grpc.insecure_channel(small.address, NO_PROXY) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            list(channel.stream_stream(method)(iter(()), timeout=10))
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
        assert "exactly one request message" in caught.value.details()
    assert "Traceback" not in small.log()


def test_nobody_waits_for_what_needs_no_answer_at_the_end(exported, tmp_path):
    base = tmp_path / "mtmh"
    base.mkdir()
    toy_model.copy(exported, base / "1")
    server = ServerProcess.start(base, grace_seconds=25).wait_ready()
    with grpc.insecure_channel(server.address, NO_PROXY) as channel, half_open(server.address, 3):
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == STATUS.SERVING
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < 10
        assert [each.status for each in watch] == [STATUS.NOT_SERVING]
    assert "Traceback" not in server.log()
