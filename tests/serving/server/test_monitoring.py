"""Health over HTTP and metrics, on the REST port and on one of their own."""

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tensorflow_serving.apis import prediction_service_pb2_grpc

from serving.client import Client
from tests.serving.server import toy_model
from tests.serving.server.http_get import get


@pytest.fixture(params=["rest", "monitoring"])
def url(server, request) -> str:
    return getattr(server, request.param)


def samples(url: str) -> dict[tuple[str, ...], float]:
    """Values by name and sorted label values."""
    status, text = get(f"{url}/metrics")
    assert status == 200
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_health(url):
    assert get(f"{url}/healthz") == (200, "alive\n")
    assert get(f"{url}/readyz") == (200, "ready\n")


def test_metrics_count_what_was_answered_and_refused(server, url):
    before = samples(url)
    with Client(server.address) as client:
        for _ in range(3):
            client.retrieve(["item3"])
    with grpc.insecure_channel(server.address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        with pytest.raises(grpc.RpcError):
            predict(toy_model.predict_request(signature="x" * 50), timeout=10)
    assert get(f"{server.rest}/v1/models/mtmh")[0] == 200
    assert get(f"{server.rest}/v1/models/nothing")[0] == 404
    after = samples(url)

    def grown(*key: str) -> float:
        return after[key] - before.get(key, 0.0)

    assert grown("mtmh_requests_total", "grpc", "OK", "Predict") == 3
    assert grown("mtmh_requests_total", "grpc", "INVALID_ARGUMENT", "Predict") == 1
    assert grown("mtmh_requests_total", "rest", "200", "status") == 1
    assert grown("mtmh_requests_total", "rest", "404", "status") == 1
    assert grown("mtmh_request_seconds_count", "grpc", "Predict") == 4
    assert grown("mtmh_model_seconds_count", "retrieve", "1") == 3
    assert grown("mtmh_queue_seconds_count") == 4
    assert after["mtmh_version_available", "1"] == after["mtmh_ready",] == 1
    assert after["mtmh_version_loads_total", "loaded"] == 1
    assert after["mtmh_requests_inside",] == 0
    assert after["process_resident_memory_bytes",] > 1e7


def test_metrics_are_where_tf_serving_has_them(server):
    status, text = get(f"{server.rest}/monitoring/prometheus/metrics")
    assert status == 200
    assert "mtmh_requests_total" in text


def test_the_port_of_its_own_answers_nothing_else(server):
    assert get(f"{server.monitoring}/v1/models/mtmh")[0] == 404
