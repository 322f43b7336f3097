"""What is no request at all, and callers that hold their connections: refused or borne, and nobody else is harmed."""

import contextlib
import random
import re
import socket
import statistics
import struct
import sys
import time
import types
import urllib.parse

import grpc
import pytest
from aiohttp import web

from serving import wire
from serving.client import Client
from serving.server.gate import Gate
from serving.server.metrics import Metrics
from serving.server.monitoring import monitoring_routes
from serving.server.rest_api import RestServer
from serving.server.roster import Roster
from tests.serving.server.http_get import get
from tests.serving.server.server_process import wait_for

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


def connect(address: str) -> socket.socket:
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=10)


def rest_address(server) -> str:
    return urllib.parse.urlsplit(server.rest).netloc


@pytest.fixture
def alive(server):
    """Whatever a test sends: afterwards both APIs answer as before."""
    yield
    with Client(server.address) as client:
        assert client.retrieve(["item3"], k=2).results[0].item_id == "item2"
    with connect(rest_address(server)) as connection:
        connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("rounds", [pytest.param(500, marks=pytest.mark.slow), 20])
@pytest.mark.parametrize("port", ["grpc", "rest"])
@pytest.mark.usefixtures("alive")
def test_garbage(server, port, rounds):
    random_bytes = random.Random(rounds)
    starts = [b"", PREFACE, PREFACE + SETTINGS, b"POST /v1/models/mtmh:predict HTTP/1.1\r\nContent-Length: 50\r\n\r\n"]
    for number in range(rounds):
        address = server.address if port == "grpc" else rest_address(server)
        # A server that has heard enough may hang up while the rest is still being sent.
        with connect(address) as connection, contextlib.suppress(ConnectionError):
            connection.sendall(starts[number % len(starts)] + random_bytes.randbytes(200))


@pytest.mark.parametrize("sizes", [(0, 1 << 62), (1 << 62, 0)])
@pytest.mark.usefixtures("alive")
def test_a_tensor_of_nothing_in_endless_dimensions(server, sizes):
    """TensorFlow would end the process over it."""
    request = wire.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "mtmh", "retrieve"
    for name, number in (("item_id", 7), ("exclude_id", 7), ("k", 3), ("relevance_weight", 1)):
        tensor = request.inputs[name]
        tensor.dtype = number
        for size in sizes if number == 7 else sizes[:1]:
            tensor.tensor_shape.dim.add().size = size
    options = [("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(server.address, options) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(wire.PREDICT)(request.SerializeToString(), timeout=10)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"POST /v1/models/mtmh:predict HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", b"400"),
        (b"POST /v1/models/mtmh:predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 20_000 + b"\r\n\r\n", b"400"),
        (b"POST /v1/models/mtmh:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\nx", b"413"),
    ],
    ids=["no HTTP", "length", "chunk", "path", "header", "oversized"],
)
@pytest.mark.usefixtures("alive")
def test_rest_says_what_is_wrong(server, request_, status):
    with connect(rest_address(server)) as connection:
        connection.sendall(request_)
        assert connection.recv(1000).split()[1] == status


@pytest.mark.parametrize(
    "sent", [PREFACE + SETTINGS, b"GET / HTTP/1.1\r\nA: " + b"a" * 20_000 + b"\r\n\r\n"], ids=["gRPC", "header"]
)
@pytest.mark.usefixtures("alive")
def test_what_is_no_http_is_told_in_a_line(server, sent):
    before = len(server.lines)
    with connect(rest_address(server)) as connection:
        connection.sendall(sent)
        assert connection.recv(1000).split()[1] == b"400"
    wait_for(lambda: len(server.lines) > before, seconds=10)
    time.sleep(0.1)
    assert len(server.lines) == before + 1
    assert "what 127.0.0.1 sent is no HTTP/1 request" in server.lines[-1]


@pytest.mark.parametrize("body", [b"Content-Length: 99\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n5\r\nab"])
@pytest.mark.parametrize("abruptly", [False, True])
@pytest.mark.usefixtures("alive")
def test_who_hangs_up_in_mid_request_leaves_no_fault_in_the_log(server, body, abruptly):
    def gone() -> float:
        line = re.search(r'mtmh_requests_total\{.*code="gone".*\} (.*)', get(f"{server.rest}/metrics")[1])
        return float(line[1]) if line else 0.0

    before, lines = gone(), len(server.lines)
    with connect(rest_address(server)) as connection:
        connection.sendall(b"POST /v1/models/mtmh:predict HTTP/1.1\r\nHost: x\r\n" + body)
        time.sleep(0.2)
        if abruptly:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_for(lambda: gone() == before + 1, seconds=10)
    time.sleep(0.1)
    assert server.lines[lines:] == []


@pytest.fixture
def impatient():
    """Addresses of both kinds of ports, where silence may last half a second."""
    rest = RestServer(
        types.SimpleNamespace(roster=Roster("mtmh", lambda: None)),
        Gate(1, 1, 1.0),
        Metrics(),
        max_message_bytes=1 << 20,
        max_rows=1,
        grace_seconds=1.0,
        silence_seconds=0.5,
    )

    async def large(request: web.Request) -> web.Response:
        return web.Response(body=bytes(20_000_000))

    routes = [*monitoring_routes(Metrics(), lambda: True), web.get("/large", large)]
    yield [f"127.0.0.1:{listen('127.0.0.1', 0, routes)}" for listen in (rest.listen, rest.listen_plain)]
    rest.stop()


@pytest.mark.parametrize("sent", [b"", b"GET /readyz HTTP/1.1\r\nHo", b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_silent_rest_connections_are_closed(impatient, sent):
    for address in impatient:
        with connect(address) as connection:
            connection.sendall(sent)
            started, received = time.monotonic(), b""
            while data := connection.recv(1000):
                received += data
            assert 0.2 < time.monotonic() - started < 5
            assert received.startswith(b"HTTP/1.1 200" if sent.endswith(b"\r\n\r\n") else b"")


def is_reset(connection: socket.socket) -> bool:
    """Whether the other side has ended it, found out by sending: nothing of what it sent is read."""
    try:
        connection.send(b"x")
    except ConnectionError:
        return True
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux alone")
@pytest.mark.parametrize("taken", [0, 100_000])
def test_who_does_not_take_an_answer_is_hung_up_on(impatient, taken, caplog):
    for address in impatient:
        with contextlib.closing(socket.socket()) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            host, port = address.split(":")
            connection.connect((host, int(port)))
            connection.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
            left = taken
            while left > 0:
                left -= len(connection.recv(1000))
            wait_for(lambda ended=connection: is_reset(ended), seconds=10)
    assert not caplog.records


@pytest.mark.parametrize("held", [pytest.param(100, marks=pytest.mark.slow), 20])
@pytest.mark.usefixtures("alive")
def test_held_connections_harm_nobody(server, held):
    beginnings = [
        (rest_address(server), b"POST /v1/models/mtmh:predict HTTP/1.1\r\nHo"),
        (rest_address(server), b"POST /v1/models/mtmh:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{"),
        (server.address, b"PRI * HT"),
        (server.address, PREFACE + SETTINGS),
    ]
    with Client(server.address) as client:

        def median() -> float:
            seconds = []
            for _ in range(100):
                started = time.perf_counter()
                client.retrieve(["item3"])
                seconds.append(time.perf_counter() - started)
            return statistics.median(seconds)

        alone = median()
        with contextlib.ExitStack() as stack:
            for number in range(held):
                address, beginning = beginnings[number % len(beginnings)]
                connection = stack.enter_context(connect(address))
                connection.sendall(beginning)
            assert median() < 3 * alone + 0.005
