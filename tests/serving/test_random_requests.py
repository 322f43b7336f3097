"""Random requests by the thousand: no wrong shape, phantom, repeated, trigger or excluded item, whatever is asked."""

import http.client
import json
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from serving import wire
from serving.signatures import ANSWER
from serving.tensors import fill, to_array
from tests.serving.conftest import CONFIG, SHELVES
from tests.serving.random_requests import Asked, named
from tests.serving.server.server_process import ServerProcess

BATCH = 250
CALLERS = 2


def asked_of(shelf) -> Asked:
    return Asked(shelf.ids, shelf.categories, shelf.defaults.k, shelf.defaults.max_k)


@pytest.mark.parametrize("requests", [750, pytest.param(34_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SHELVES)
def test_promises_hold_for_any_request(filtered_shelf, name, requests):
    shelf, rng = filtered_shelf(name), np.random.default_rng(requests)
    catalogue = asked_of(shelf)
    for _ in range(requests // BATCH):
        asked = catalogue.draw(rng, BATCH)
        catalogue.check(asked, shelf.ask_tensors(*asked))


class Grpc:
    """A caller of PredictionService."""

    def __init__(self, server: ServerProcess) -> None:
        self._channel = grpc.insecure_channel(server.address, options=[("grpc.enable_http_proxy", 0)])
        self._call = self._channel.unary_unary(
            wire.PREDICT, wire.PredictRequest.SerializeToString, wire.PredictResponse.FromString
        )

    def ask(self, signature: str, inputs) -> dict[str, np.ndarray]:
        request = wire.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = "mtmh", signature
        for name, array in inputs.items():
            fill(request.inputs[name], array)
        response = self._call(request, timeout=60)
        return {name: to_array(proto) for name, proto in response.outputs.items()}

    def close(self) -> None:
        self._channel.close()


class Rest:
    """A caller of the REST API, that asks by rows and by columns in turn."""

    def __init__(self, server: ServerProcess) -> None:
        self._connection = http.client.HTTPConnection(urllib.parse.urlsplit(server.rest).netloc, timeout=60)
        self._by_row = False

    def ask(self, signature: str, inputs) -> dict[str, np.ndarray]:
        self._by_row = not self._by_row
        lists = {name: array.tolist() for name, array in inputs.items()}
        rows = [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]
        body = {"signature_name": signature, **({"instances": rows} if self._by_row else {"inputs": lists})}
        self._connection.request("POST", "/v1/models/mtmh:predict", json.dumps(body))
        response = self._connection.getresponse()
        text = response.read()
        assert response.status == 200, text[:500]
        document = json.loads(text)
        if self._by_row:
            rows = document["predictions"]
            document = {"outputs": {name: [row[name] for row in rows] for name in rows[0]}}
        return {each.name: self._array(document["outputs"][each.name], each.dtype) for each in ANSWER}

    @staticmethod
    def _array(values, dtype: str) -> np.ndarray:
        if dtype != "string":
            return np.array(values, dtype)
        array = np.empty((len(values), len(values[0])), object)
        for row, texts in enumerate(values):
            array[row] = [text.encode() for text in texts]
        return array

    def close(self) -> None:
        self._connection.close()


def bombard(server: ServerProcess, catalogue: Asked, requests: int) -> None:
    """Of twenty requests sixteen are of one row over gRPC, one is of many rows, and three come over REST."""

    def run(caller: int) -> int:
        rng, over_grpc, rest = np.random.default_rng([requests, caller]), Grpc(server), Rest(server)
        for number in range(caller, requests, CALLERS):
            kind = number // CALLERS % 20
            rows = 1 if kind < 16 else 40 if kind == 16 else int(rng.integers(1, 6))
            asked = catalogue.draw(rng, rows)
            catalogue.check(asked, (over_grpc if kind <= 16 else rest).ask(*named(asked)))
        over_grpc.close()
        rest.close()
        return len(range(caller, requests, CALLERS))

    with ThreadPoolExecutor(CALLERS) as pool:
        assert sum(pool.map(run, range(CALLERS))) == requests


def test_promises_hold_for_requests_to_a_server(trained_server, trained):
    items = trained.items
    bombard(trained_server, Asked(items.ids, items.categories, CONFIG.retrieval.k, CONFIG.retrieval.max_k), 400)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHELVES)
def test_promises_hold_for_a_hundred_thousand_requests_to_a_server(filtered_shelf, name, tmp_path):
    shelf = filtered_shelf(name)
    shelf.save(tmp_path / "mtmh" / "1")
    server = ServerProcess.start(tmp_path / "mtmh", queue_milliseconds=60_000).wait_ready()
    try:
        bombard(server, asked_of(shelf), 34_000)
    finally:
        assert server.stop() == 0
