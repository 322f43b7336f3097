"""What is no request at all, and callers that hold their connections: refused or borne, and nobody else is harmed."""

import contextlib
import random
import socket
import statistics
import time
import urllib.parse

import grpc
import pytest

from serving import wire
from serving.client import Client

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
