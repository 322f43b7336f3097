"""The contract against the embedded server, with a model that was trained; and that server's explorer."""

import json
import urllib.request

import pytest

from tests.contract.contract import Endpoint, ServingContract


@pytest.fixture(scope="module")
def endpoint(trained_server) -> Endpoint:
    return Endpoint(trained_server.address)


class TestEmbedded(ServingContract):
    pass


def _get(url: str) -> bytes:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=30) as response:
        return response.read()


def test_the_explorer_searches_the_titles_of_the_version_that_answers(trained_server, trained):
    told = json.loads(_get(f"{trained_server.rest}/explorer/model"))
    assert (told["model"], told["items"], told["relevance_weight"]) == ("mtmh", 60, 0.3)
    found = json.loads(_get(f"{trained_server.rest}/explorer/search?q=thing%207"))["items"]
    assert found[0] == {"item_id": trained.items.ids[7], "title": "red thing 7", "categories": ["red", "things"]}
    assert f"explorer: {trained_server.rest}/explorer" in trained_server.log()
    assert b"MTMH explorer" in _get(f"{trained_server.rest}/explorer")
