"""The client against a running server, and what it must not cost."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest

from preprocessing.errors import UserError
from serving import questions
from serving.client import Client, MissingSignatureError
from serving.query import Question, print_json, print_table, query
from serving.signatures import MAX_EXCLUSIONS, MAX_FILTERS

_IMPORT = """
import sys, time
start = time.perf_counter()
import serving.client, serving.query
print(time.perf_counter() - start)
heavy = {"tensorflow", "tensorflow_serving", "rich", "aiohttp", "scipy", "pandas"}
print(sorted(heavy & set(sys.modules)))
"""


@pytest.fixture(scope="module")
def client(server):
    with Client(server.address) as client:
        yield client


def test_import_is_light():
    run = subprocess.run([sys.executable, "-c", _IMPORT], capture_output=True, text=True, check=True)
    _, heavy = run.stdout.splitlines()
    assert heavy == "[]"


def test_retrieve(client):
    answer = client.retrieve(["item3"], k=2, relevance_weight=0.3)
    assert [result.item_id for result in answer.results] == ["item2", "item4"]
    first = answer.results[0]
    assert (first.score, first.engagement_score, first.source) == (pytest.approx(0.99), 1.0, "both")
    assert answer.version == 1
    assert not answer.is_fallback


def test_default_k_and_exclusions(client):
    assert len(client.retrieve(["item3"]).results) == 5
    answer = client.retrieve(["item3"], k=2, exclude=["item2", "item4"])
    assert [result.item_id for result in answer.results] == ["item1", "item5"]


@pytest.mark.parametrize(
    ("allow", "deny", "count"),
    [(["drama"], [], 2), (["comedy", "war"], ["comedy"], 2), (["comedy"], [], 0), ([], ["war"], 0), ([], [], 2)],
)
def test_filters(client, allow, deny, count):
    answer = client.retrieve(["item3"], k=2, allow_categories=allow, deny_categories=deny)
    assert len(answer.results) == count


@pytest.mark.parametrize("items", [[], ["nobody"], ["nobody", "é" * 10_000]])
def test_no_known_trigger_is_the_fallback(client, items):
    answer = client.retrieve(items, k=3)
    assert len(answer.results) == 3
    assert answer.is_fallback


def test_k_of_zero_and_above_the_catalogue(client):
    assert client.retrieve(["item3"], k=0).results == ()
    assert len(client.retrieve(["item3"], k=10_000).results) == 19


def test_retrieve_by_content(client):
    answer = client.retrieve_by_content("Part 7", categories=["drama"], k=2)
    assert [result.item_id for result in answer.results] == ["item6", "item8"]


def test_describe(client):
    known, unknown = client.describe(["item3", "nobody"])
    assert (known.title, known.categories) == ("Title 3 é", ("drama", "war"))
    assert (unknown.title, unknown.categories) == ("", ())
    assert client.describe([]) == []


def test_embed(client):
    embeddings = client.embed(["item3", "item4"])
    np.testing.assert_array_equal(embeddings.engagement_trigger, np.array([[3], [4]], np.float32))
    assert embeddings.relevance.shape == (2, 1)


def test_status(client):
    (version,) = client.status()
    assert (version.version, version.state, version.error) == (1, "AVAILABLE", "")


def test_wrong_arguments(client):
    for call in (
        lambda: client.retrieve("item3"),
        lambda: client.retrieve(["a"], k=-1),
        lambda: client.retrieve(["a"], k=2**31),
        lambda: client.retrieve(["a"], relevance_weight=1.5),
        lambda: client.retrieve(["a"], relevance_weight=float("nan")),
        lambda: client.retrieve(["\ud800"]),
        lambda: client.retrieve(["a"], exclude=["x"] * MAX_EXCLUSIONS),
        lambda: client.retrieve(["a"], allow_categories=["x"] * MAX_FILTERS),
        lambda: client.retrieve(["a"], deny_categories="drama"),
        lambda: client.retrieve(["a"], k=1.9),
        lambda: client.retrieve(["a"], k="3"),
        lambda: client.retrieve(["a"], relevance_weight="x"),
        lambda: client.retrieve([22423]),
        lambda: client.retrieve([b"a"]),
        lambda: client.retrieve(b"a"),
        lambda: client.retrieve(["a"], exclude=[None]),
        lambda: client.describe([1]),
        lambda: client.embed([1]),
        lambda: client.retrieve_by_content(7),
        lambda: client.retrieve_by_content("a", categories="kitchen"),
        lambda: client.retrieve_by_content("a", categories=[7]),
        lambda: client.retrieve_by_content("a", content_vector=["x"]),
        lambda: client.retrieve_by_content("a", content_vector=[[1.0]]),
        lambda: client.retrieve_by_content("a", content_vector=1.0),
        lambda: Client("localhost:1", version=2**63),
        lambda: Client("localhost:1", version=-1),
        lambda: Client("localhost:1", version="1"),
    ):
        with pytest.raises(UserError):
            call()


def test_numbers_of_numpy_are_numbers(client, server):
    answer = client.retrieve(np.array(["item3"]), k=np.int64(2), relevance_weight=np.float32(0.5))
    assert len(answer.results) == 2
    by_content = client.retrieve_by_content("Part 7", content_vector=np.zeros(1), k=np.int32(1))
    assert [result.item_id for result in by_content.results] == ["item6"]
    with Client(server.address, version=np.int64(1)) as pinned:
        assert pinned.retrieve(["item3"], k=1).version == 1


def test_texts_that_can_be_walked_once_are_sent():
    categories = ["kitchen", "garden"]
    once = questions.retrieve_by_content("a", "", (each for each in categories), None, None, None)
    assert list(once.inputs["categories"]) == [b"kitchen|garden"]
    assert list(questions.describe(each for each in categories).inputs["item_id"]) == [b"kitchen", b"garden"]


def test_a_refusal_is_one_line(client):
    with pytest.raises(UserError, match="too many exclusions") as caught:
        client.retrieve(["a"], exclude=["x"] * 20)
    assert "\n" not in str(caught.value)


def test_no_server():
    with Client("127.0.0.1:1") as client, pytest.raises(UserError, match=r"127.0.0.1:1: is `mtmh serve` running"):
        client.retrieve(["a"])


def test_rest_port_instead_of_grpc(server):
    with Client(server.rest.removeprefix("http://")) as client, pytest.raises(UserError, match="its gRPC port"):
        client.retrieve(["a"])


def test_unknown_model(server):
    with Client(server.address, "films") as client:
        for call in (lambda: client.retrieve(["a"]), client.status):
            with pytest.raises(UserError, match="has no model films: it serves mtmh"):
                call()


def test_missing_signature(client):
    with pytest.raises(MissingSignatureError):
        client.predict("nothing", {})


def ask(server, **question):
    return query(Question(**question), server.address)


def test_query_table(server):
    stream = io.StringIO()
    print_table(ask(server, items=("item3", "nobody"), k=3, relevance_weight=0.3), stream)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "Title 3 é [item3] + [nobody]"
    assert "relevance weight 0.3" in lines[1]
    assert lines[2].split() == ["rank", "item", "id", "title", "score", "engagement", "relevance", "found", "by"]
    assert lines[3].split() == ["1", "item2", "Title", "2", "é", "0.990", "1.000", "0.200", "both"]
    assert len(lines) == 6


def test_query_says_that_it_falls_back(server):
    stream = io.StringIO()
    print_table(ask(server, items=("nobody",), k=1), stream)
    assert "Unknown to the model: these are its popular items." in stream.getvalue()


def test_query_json(server):
    stream = io.StringIO()
    print_json(ask(server, items=("item3",), k=1), stream)
    document = json.loads(stream.getvalue())
    assert document["triggers"] == [{"item_id": "item3", "title": "Title 3 é", "categories": ["drama", "war"]}]
    (result,) = document["results"]
    assert (result["rank"], result["item_id"], result["title"]) == (1, "item2", "Title 2 é")
    assert document["popular_fallback"] is False


def test_query_by_title(server):
    reply = ask(server, title="Part 7", k=1)
    assert reply.results[0].item_id == "item6"


def test_query_with_filters(server):
    assert len(ask(server, items=("item3",), k=3, allow_categories=("drama",)).results) == 3
    assert not ask(server, items=("item3",), k=3, deny_categories=("drama",)).results


def test_query_needs_items_or_words(server):
    filtered = {"title": "b", "deny_categories": ("a",)}
    for question in ({}, {"items": ("a",), "title": "b"}, {"title": "b", "exclude": ("a",)}, filtered):
        with pytest.raises(UserError, match="--"):
            ask(server, **question)


@pytest.mark.parametrize(
    ("categories", "remarks"),
    [
        (("Drama",), ["No item has the category 'Drama': is 'drama' meant?"]),
        (("[red]", "wars"), ["No item has the category '[red]': each letter", "'wars': is 'war' meant?"]),
        (("drama", "Drama"), []),
    ],
)
def test_a_category_that_no_item_has_is_told(server, categories, remarks):
    stream = io.StringIO()
    print_table(ask(server, items=("item3",), k=3, allow_categories=categories), stream)
    lines = stream.getvalue().splitlines()
    assert ("No items." in lines) == bool(remarks)
    said = lines[lines.index("No items.") + 1 :] if remarks else []
    assert len(said) == len(remarks)
    assert all(remark in line for remark, line in zip(remarks, said, strict=True))
