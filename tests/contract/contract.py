"""What a caller may rely on, whatever server answers and whatever catalogue it holds.

`ServingContract` knows an address and a model's name alone. Ids that the model knows are those that it answers with.
"""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from serving import wire
from serving.client import Client, MissingSignatureError, ServerError, Tls
from serving.signatures import (
    ANSWER,
    EMBED,
    MAX_EXCLUSIONS,
    RETRIEVE,
    RETRIEVE_BY_CONTENT,
    SERVING_DEFAULT,
    SOURCE_BOTH,
    SOURCE_ENGAGEMENT,
    SOURCE_POPULAR,
    SOURCE_RELEVANCE,
)

STRANGE = ["", "nobody", "é" * 5000, "line\nbreak", "🎬\u202e", "'; --", "\x00", " "]
SOURCES = {SOURCE_ENGAGEMENT, SOURCE_RELEVANCE, SOURCE_BOTH, SOURCE_POPULAR}
INVALID = grpc.StatusCode.INVALID_ARGUMENT
SECONDS = 30.0


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """Where the server is, and the name of the model."""

    address: str
    model: str = "mtmh"
    tls: Tls | None = None

    def client(self, model: str | None = None, **options) -> Client:
        return Client(self.address, model or self.model, SECONDS, tls=self.tls, **options)


def strings(rows) -> np.ndarray:
    """A [B, T] or [B] array of bytes; rows of unequal length are filled with empty strings."""
    if all(isinstance(row, str) for row in rows):
        return np.array([row.encode() for row in rows], object)
    width = max(len(row) for row in rows)
    array = np.full((len(rows), width), b"", object)
    for number, row in enumerate(rows):
        array[number, : len(row)] = [each.encode() for each in row]
    return array


def request(triggers, weights, ks, exclude=None) -> dict[str, np.ndarray]:
    """Inputs of `retrieve`, with the empty column 0 that batching needs."""
    return {
        "item_id": strings([["", *row] for row in triggers]),
        "relevance_weight": np.array(weights, np.float32),
        "k": np.array(ks, np.int32),
        "exclude_id": strings([["", *row] for row in exclude or [[]] * len(triggers)]),
    }


def rows_of(outputs):
    """(ids, scores, engagement, relevance, sources) of each row, what is real of them."""
    for row, count in enumerate(outputs["count"]):
        yield tuple(outputs[each.name][row][:count].tolist() for each in ANSWER[:-1])


def check_form(outputs, triggers, ks, exclude) -> None:
    """Shapes, padding, and that no row holds a repeated, trigger, excluded or empty item."""
    assert set(outputs) == {each.name for each in ANSWER}
    width = outputs["item_id"].shape[1]
    assert width <= max(ks)
    for each in ANSWER[:-1]:
        assert outputs[each.name].shape == (len(ks), width)
    assert outputs["count"].shape == (len(ks),)
    for row, (ids, scores, engagement, relevance, sources) in enumerate(rows_of(outputs)):
        count = len(ids)
        assert count == outputs["count"][row] <= ks[row]
        banned = {each.encode() for each in [*triggers[row], *exclude[row]]}
        assert len(set(ids)) == count
        assert not set(ids) & (banned | {b""})
        assert {each.decode() for each in sources} <= SOURCES
        assert np.isfinite([*scores, *engagement, *relevance]).all()
        for name in ("item_id", "source"):
            assert set(outputs[name][row][count:]) <= {b""}
        for name in ("score", "engagement_score", "relevance_score"):
            assert not outputs[name][row][count:].any()


class ServingContract:
    """The contract; a subclass beside an ``endpoint`` fixture runs it."""

    @pytest.fixture(scope="class")
    def client(self, endpoint):
        with endpoint.client() as client:
            yield client

    @pytest.fixture(scope="class")
    def known(self, client):
        """Ids of the catalogue, at most 40."""
        ids = [result.item_id for result in client.retrieve([], k=40).results]
        assert len(ids) > 2, "the catalogue is too small to check anything"
        return ids

    def test_a_version_is_available(self, client):
        assert any(each.state == "AVAILABLE" for each in client.status())

    def test_metadata_names_the_signatures(self, endpoint):
        message = wire.GetModelMetadataRequest(metadata_field=["signature_def"])
        message.model_spec.name = endpoint.model
        with endpoint.client() as client:
            call = client._channel.unary_unary(wire.GET_MODEL_METADATA)
            response = wire.GetModelMetadataResponse.FromString(call(message.SerializeToString(), timeout=SECONDS))
        packed = response.metadata["signature_def"]
        assert packed.type_url.endswith("tensorflow.serving.SignatureDefMap")
        for name in (SERVING_DEFAULT, RETRIEVE, RETRIEVE_BY_CONTENT, EMBED):
            assert name.encode() in packed.value

    def test_any_request_gets_a_well_formed_answer(self, client, known):
        draw = np.random.default_rng(7)
        pool = known + STRANGE
        for _ in range(100):
            size = int(draw.integers(1, 5))
            triggers = [list(draw.choice(pool, draw.integers(0, 6))) for _ in range(size)]
            exclude = [list(draw.choice(pool, draw.integers(0, 9))) for _ in range(size)]
            ks = draw.choice([0, 1, 7, 50, 2**31 - 1], size).tolist()
            weights = draw.choice([0.0, 0.3, 1.0, np.nan, -5.0, 7.0, np.inf], size)
            outputs, _ = client.predict(RETRIEVE, request(triggers, weights, ks, exclude))
            check_form(outputs, triggers, ks, exclude)

    def test_rows_of_a_batch_get_the_answers_of_rows_alone(self, client, known):
        triggers = [known[:1], known[1:3], [], ["nobody", *known[2:4]]]
        weights, ks = [0.0, 0.4, 0.5, 1.0], [5, 3, 4, 6]
        together, _ = client.predict(RETRIEVE, request(triggers, weights, ks))
        for row, (ids, scores, *_) in enumerate(rows_of(together)):
            alone, _ = client.predict(RETRIEVE, request([triggers[row]], [weights[row]], [ks[row]]))
            expected = next(rows_of(alone))
            assert ids == expected[0]
            np.testing.assert_allclose(scores, expected[1], atol=1e-5)

    def test_the_default_signature_is_retrieve_without_arguments(self, client, known):
        outputs, _ = client.predict(SERVING_DEFAULT, {"item_id": strings(known[:2])})
        for ids, trigger in zip((row[0] for row in rows_of(outputs)), known, strict=False):
            assert [each.decode() for each in ids] == [result.item_id for result in client.retrieve([trigger]).results]

    @pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
    def test_the_score_is_the_blend_of_the_heads_similarities(self, client, known, weight):
        results = client.retrieve(known[:1], k=10, relevance_weight=weight).results
        vectors = client.embed([known[0], *(result.item_id for result in results)])
        engagement = vectors.engagement_candidate[1:] @ vectors.engagement_trigger[0]
        relevance = vectors.relevance[1:] @ vectors.relevance[0]
        np.testing.assert_allclose([result.engagement_score for result in results], engagement, atol=1e-4)
        np.testing.assert_allclose([result.relevance_score for result in results], relevance, atol=1e-4)
        scores = [result.score for result in results]
        np.testing.assert_allclose(scores, (1 - weight) * engagement + weight * relevance, atol=1e-4)
        if weight in (0.0, 1.0):
            assert scores == sorted(scores, reverse=True)

    def test_embeddings_are_unit_vectors_and_zero_for_strangers(self, client, known):
        vectors = client.embed([*known[:3], "nobody"])
        for array in (vectors.engagement_trigger, vectors.engagement_candidate, vectors.relevance):
            np.testing.assert_allclose(np.linalg.norm(array, axis=1), [1, 1, 1, 0], atol=1e-4)

    @pytest.mark.parametrize("items", [[], ["nobody"], STRANGE[1:]], ids=["none", "unknown", "strange"])
    def test_unknown_triggers_are_answered_with_what_is_popular(self, client, items):
        answer = client.retrieve(items, k=5)
        assert answer.results
        assert answer.is_fallback

    def test_k_and_exclusions(self, client, known):
        assert client.retrieve(known[:1], k=0).results == ()
        first = [result.item_id for result in client.retrieve(known[:1], k=2).results]
        kept = {result.item_id for result in client.retrieve(known[:1], k=2, exclude=first).results}
        assert not kept & set(first)

    def test_filters_hold_what_they_promise(self, client, known):
        try:
            categories = [each.categories for each in client.describe(known)]
            client.retrieve(known[:1], k=1, allow_categories=["x"])
        except MissingSignatureError:
            pytest.skip("the model was exported without titles or without filters")
        one = next((each[0] for each in categories if each), None)
        if one is None:
            pytest.skip("the most popular items have no category")
        for trigger in (known[:1], ["nobody"]):
            for allow, deny in (([one], []), ([], [one]), ([one, "no such category"], [])):
                answer = client.retrieve(trigger, k=20, allow_categories=allow, deny_categories=deny)
                ids = [result.item_id for result in answer.results]
                assert len(set(ids)) == len(ids)
                assert not set(ids) & set(trigger)
                assert all((one in each.categories) == bool(allow) for each in client.describe(ids))
            assert client.retrieve(trigger, k=20, allow_categories=["no such category"]).results == ()
            assert client.retrieve(trigger, k=20, allow_categories=[one], deny_categories=[one]).results == ()

    def test_an_item_that_the_model_never_saw(self, client, known):
        try:
            title = client.describe(known[:1])[0].title
        except MissingSignatureError:
            title = "something"
        answer = client.retrieve_by_content(title or "something", k=5)
        assert 0 < len(answer.results) <= 5
        assert client.retrieve_by_content(k=3).is_fallback

    def test_descriptions_come_in_the_order_asked(self, client, known):
        try:
            there = client.describe([*known[:2], "nobody"])
        except MissingSignatureError:
            pytest.skip("the model was exported without titles")
        assert there[:2] == client.describe(known[:1]) + client.describe(known[1:2])
        assert (there[2].title, there[2].categories) == ("", ())

    def test_the_version_that_answers_can_be_asked_for(self, endpoint, client, known):
        version = client.retrieve(known[:1]).version
        with endpoint.client(version=version) as same:
            assert same.retrieve(known[:1]).version == version
        with endpoint.client(version=2**62) as other, pytest.raises(ServerError) as caught:
            other.retrieve(known[:1])
        assert caught.value.code == grpc.StatusCode.NOT_FOUND

    @pytest.mark.parametrize(
        ("signature", "change"),
        [
            ("nothing", {}),
            (RETRIEVE, {"k": None}),
            (RETRIEVE, {"k": np.array([1.0], np.float32)}),
            (RETRIEVE, {"item_id": np.array([b"a"], object)}),
            (RETRIEVE, {"exclude_id": np.full((1, MAX_EXCLUSIONS + 1), b"", object)}),
            (RETRIEVE, {"more": np.array([1], np.int32)}),
        ],
        ids=["signature", "missing", "dtype", "rank", "exclusions", "extra"],
    )
    def test_a_wrong_request_is_refused(self, client, known, signature, change):
        inputs = {**request([known[:1]], [0.5], [3]), **change}
        with pytest.raises(ServerError) as caught:
            client.predict(signature, {name: array for name, array in inputs.items() if array is not None})
        # TF Serving has called the missing signature both in its history.
        assert caught.value.code in {INVALID, *({grpc.StatusCode.FAILED_PRECONDITION} if signature != RETRIEVE else ())}

    def test_an_unknown_model_is_not_found(self, endpoint):
        with endpoint.client("no-such-model") as client, pytest.raises(ServerError) as caught:
            client.retrieve(["a"])
        assert caught.value.code == grpc.StatusCode.NOT_FOUND

    def test_garbage_is_refused_and_the_server_lives(self, client, known):
        for garbage in (b"\xff" * 50, b"\x0a\xff", bytes(range(256))):
            with pytest.raises(grpc.RpcError):
                client._channel.unary_unary(wire.PREDICT)(garbage, timeout=SECONDS)
        assert client.retrieve(known[:1]).results

    def test_a_deadline_is_kept(self, client, known):
        with pytest.raises(ServerError) as caught:
            client.retrieve(known[:1], timeout=1e-6)
        assert caught.value.code == grpc.StatusCode.DEADLINE_EXCEEDED

    def test_callers_at_once_get_the_answers_of_callers_alone(self, client, known):
        expected = {trigger: client.retrieve([trigger], k=5) for trigger in known[:8]}
        with ThreadPoolExecutor(8) as pool:
            for trigger, answer in pool.map(lambda each: (each, client.retrieve([each], k=5)), known[:8] * 10):
                assert [result.item_id for result in answer.results] == [
                    result.item_id for result in expected[trigger].results
                ]
