"""The contract against the embedded server, with a model that was trained; and that server's explorer."""

import json
import urllib.request

import pytest

from tests.contract.contract import Endpoint, ServingContract
from tests.serving.server.server_process import ServerProcess


@pytest.fixture(scope="module")
def server(exported_exact):
    process = ServerProcess.start(exported_exact.base, explorer=True).wait_ready()
    yield process
    assert process.stop() == 0


@pytest.fixture(scope="module")
def endpoint(server) -> Endpoint:
    return Endpoint(server.address)


class TestEmbedded(ServingContract):
    pass


def _get(url: str) -> bytes:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=30) as response:
        return response.read()


def test_the_explorer_searches_the_titles_of_the_version_that_answers(server, trained):
    told = json.loads(_get(f"{server.rest}/explorer/model"))
    assert (told["model"], told["items"], told["relevance_weight"]) == ("mtmh", 60, 0.3)
    found = json.loads(_get(f"{server.rest}/explorer/search?q=thing%207"))["items"]
    assert found[0] == {"item_id": trained.items.ids[7], "title": "red thing 7", "categories": ["red", "things"]}
    assert f"explorer: {server.rest}/explorer" in server.log()
    assert b"MTMH explorer" in _get(f"{server.rest}/explorer")
