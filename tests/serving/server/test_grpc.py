"""The gRPC API with TensorFlow Serving's own stubs."""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from serving.signatures import SIGNATURES
from tests.serving.server.toy_model import predict_request, retrieve_request


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server.address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def model_stub(channel):
    return model_service_pb2_grpc.ModelServiceStub(channel)


def refusal(call, request, **options):
    """Code and message of a call that is refused."""
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=10, **options)
    return caught.value.code(), caught.value.details()


def test_predict(stub):
    response = stub.Predict(retrieve_request("item3", k=3, exclude=("item4",)), timeout=10)
    outputs = {name: tf.make_ndarray(tensor).tolist() for name, tensor in response.outputs.items()}
    assert outputs["item_id"] == [[b"item2", b"item1", b"item5"]]
    assert outputs["count"] == [3]
    assert set(outputs) == {tensor.name for tensor in SIGNATURES["retrieve"].outputs}
    assert response.model_spec.name == "mtmh"
    assert response.model_spec.version.value == 1
    assert response.model_spec.signature_name == "retrieve"


def test_default_signature(stub):
    response = stub.Predict(predict_request(item_id=["item3", "nobody"]), timeout=10)
    assert response.model_spec.signature_name == "serving_default"
    assert tf.make_ndarray(response.outputs["source"])[:, 0].tolist() == [b"both", b"popular"]


def test_specific_version(stub):
    request = retrieve_request("item3")
    request.model_spec.version.value = 1
    assert stub.Predict(request, timeout=10).model_spec.version.value == 1


def test_output_filter(stub):
    request = retrieve_request("item3")
    request.output_filter.extend(["count"])
    assert list(stub.Predict(request, timeout=10).outputs) == ["count"]
    request.output_filter.extend(["count"])
    assert refusal(stub.Predict, request) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "duplicate output tensor alias: count",
    )
    request.output_filter[:] = ["nothing"]
    code, message = refusal(stub.Predict, request)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "output tensor alias not found in signature: nothing" in message


def test_unknown_servables(stub):
    not_found = grpc.StatusCode.NOT_FOUND
    assert refusal(stub.Predict, retrieve_request("a", name="x")) == (
        not_found,
        "Servable not found for request: Latest(x)",
    )
    request = retrieve_request("a")
    request.model_spec.version.value = 9
    assert refusal(stub.Predict, request) == (not_found, "Servable not found for request: Specific(mtmh, 9)")
    request.model_spec.version_label = "canary"
    assert refusal(stub.Predict, request)[0] == grpc.StatusCode.FAILED_PRECONDITION
    assert refusal(stub.Predict, retrieve_request("a", name=""))[0] == grpc.StatusCode.INVALID_ARGUMENT
    request = retrieve_request("a")
    request.ClearField("model_spec")
    assert refusal(stub.Predict, request) == (grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")


def _retrieve(**changes):
    request = retrieve_request("item3")
    for name, value in changes.items():
        if value is None:
            del request.inputs[name]
        else:
            request.inputs[name].CopyFrom(
                value if isinstance(value, tensor_pb2.TensorProto) else tf.make_tensor_proto(value)
            )
    return request


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (predict_request(signature="nope"), 'Serving signature name: "nope" not found in signature def'),
        (
            _retrieve(k=None),
            "input size does not match signature: 3!=4 len({exclude_id,item_id,relevance_weight}) != "
            "len({exclude_id,item_id,k,relevance_weight}). Sent extra: {}. Missing but required: {k}.",
        ),
        (_retrieve(extra=[1]), "Sent extra: {extra}. Missing but required: {}."),
        (_retrieve(k=None, kk=[1]), "input tensor alias not found in signature: kk. Inputs expected to be in the set"),
        (_retrieve(k=np.array([1], np.int64)), "input tensor k is int64, the signature expects int32"),
        (_retrieve(item_id=["item3"]), "input tensor item_id has shape [1], the signature expects [?,?]"),
        (_retrieve(item_id=tensor_pb2.TensorProto(dtype=7, tensor_content=b"\xff")), "tensor parsing error: item_id"),
        (_retrieve(exclude_id=[["x"] * 20]), "too many exclusions"),
    ],
    ids=["signature", "missing", "extra", "alias", "dtype", "rank", "parsing", "model"],
)
def test_wrong_inputs(stub, request_, message):
    code, details = refusal(stub.Predict, request_)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert message in details
    assert "{{" not in details
    assert "Traceback" not in details


@pytest.mark.parametrize("rows", [4097, 1 << 16, 1 << 20, 1 << 60])
def test_rows_are_bounded(stub, rows):
    """A request of few bytes stands for as many rows as it says: the last value is that of all which are left out."""
    tensor = tensor_pb2.TensorProto(dtype=7)
    tensor.tensor_shape.dim.add().size = rows
    request = predict_request()
    request.inputs["item_id"].CopyFrom(tensor)
    assert request.ByteSize() < 60
    code, details = refusal(stub.Predict, request)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert ("4096 a request (--max-rows)" if rows <= 1 << 16 else "too many to repeat") in details
    request.inputs["item_id"].tensor_shape.dim[0].size = 4096
    assert stub.Predict(request, timeout=10).outputs["count"].tensor_shape.dim[0].size == 4096


@pytest.mark.parametrize("long", ["x" * 20_000, "🎬" * 20_000], ids=["x", "film"])
def test_long_names_are_told_of_in_short(stub, model_stub, long):
    """A message is a header, and callers refuse long ones."""
    filtered = retrieve_request("item3")
    filtered.output_filter.append(long)
    invalid, not_found = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = long
    for call, request, code in (
        (stub.Predict, predict_request(signature=long), invalid),
        (stub.Predict, _retrieve(**{long: [1]}), invalid),
        (stub.Predict, filtered, invalid),
        (stub.Predict, retrieve_request("item3", name=long), not_found),
        (model_stub.GetModelStatus, status, not_found),
        (stub.GetModelMetadata, _metadata_request(field=long), invalid),
    ):
        found, details = refusal(call, request)
        assert found == code
        assert details.endswith("…")


def test_a_model_that_fails_answers_and_lives_on(stub):
    request = predict_request(
        signature="retrieve_by_content",
        title=["no number"],
        description=[""],
        categories=[""],
        content_vector=np.zeros((1, 1), np.float32),
        relevance_weight=np.zeros(1, np.float32),
        k=np.ones(1, np.int32),
    )
    code, details = refusal(stub.Predict, request)
    assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL)
    assert "could not correctly convert string" in details
    assert stub.Predict(retrieve_request("item3"), timeout=10)


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x0a\xff", b"hello", bytes(range(256))])
def test_garbage(channel, stub, data):
    for method in ("PredictionService/Predict", "PredictionService/GetModelMetadata", "ModelService/GetModelStatus"):
        code, _ = refusal(channel.unary_unary(f"/tensorflow.serving.{method}"), data)
        assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert stub.Predict(retrieve_request("item3"), timeout=10)


def test_oversize(stub):
    assert refusal(stub.Predict, retrieve_request("x" * (2 << 20)))[0] == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert stub.Predict(retrieve_request("item3"), timeout=10)


def test_methods_not_offered(channel, stub, model_stub):
    unimplemented = grpc.StatusCode.UNIMPLEMENTED
    assert refusal(stub.Classify, classification_pb2.ClassificationRequest())[0] == unimplemented
    assert refusal(stub.Regress, regression_pb2.RegressionRequest())[0] == unimplemented
    assert refusal(stub.MultiInference, inference_pb2.MultiInferenceRequest())[0] == unimplemented
    assert refusal(channel.unary_unary("/tensorflow.serving.PredictionService/Nothing"), b"")[0] == unimplemented


def _metadata_request(name="mtmh", field="signature_def"):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=[field] if field else [])
    request.model_spec.name = name
    return request


def test_metadata(stub):
    response = stub.GetModelMetadata(_metadata_request(), timeout=10)
    assert response.model_spec.version.value == 1
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert set(signatures.signature_def) == set(SIGNATURES)
    for name, signature in SIGNATURES.items():
        definition = signatures.signature_def[name]
        assert set(definition.inputs) == {tensor.name for tensor in signature.inputs}
        assert set(definition.outputs) == {tensor.name for tensor in signature.outputs}


def test_metadata_refusals(stub):
    assert refusal(stub.GetModelMetadata, _metadata_request("x"))[0] == grpc.StatusCode.NOT_FOUND
    assert refusal(stub.GetModelMetadata, _metadata_request(field=""))[0] == grpc.StatusCode.INVALID_ARGUMENT
    assert refusal(stub.GetModelMetadata, _metadata_request(field="x"))[0] == grpc.StatusCode.INVALID_ARGUMENT


def test_status(model_stub):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "mtmh"
    (status,) = model_stub.GetModelStatus(request, timeout=10).model_version_status
    assert (status.version, status.state) == (1, get_model_status_pb2.ModelVersionStatus.AVAILABLE)
    assert (status.status.error_code, status.status.error_message) == (0, "")
    request.model_spec.version.value = 5
    assert refusal(model_stub.GetModelStatus, request) == (
        grpc.StatusCode.NOT_FOUND,
        "Could not find version 5 of model mtmh",
    )
    request.model_spec.name = "x"
    request.model_spec.ClearField("version")
    assert refusal(model_stub.GetModelStatus, request) == (
        grpc.StatusCode.NOT_FOUND,
        "Could not find any versions of model x",
    )


def test_health(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", "tensorflow.serving.PredictionService"):
        response = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
        assert response.status == health_pb2.HealthCheckResponse.SERVING
    assert refusal(stub.Check, health_pb2.HealthCheckRequest(service="x"))[0] == grpc.StatusCode.NOT_FOUND
    watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=10)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()
