"""The warm-up file as TF Serving reads it."""

import pytest
from tensorflow_serving.apis import prediction_log_pb2

from preprocessing.backend import tf
from serving.config import ServingConfig
from serving.signatures import RETRIEVE_FILTERED, SIGNATURES
from serving.warmup import WARMUP_FILE, write_warmup

TF_SERVING_LIMIT = 1000


def logs(directory):
    records = tf.data.TFRecordDataset(str(directory / WARMUP_FILE)).as_numpy_iterator()
    return [prediction_log_pb2.PredictionLog.FromString(record) for record in records]


def test_one_request_of_each_signature_for_each_trigger(tmp_path):
    categories = [("red", "blue"), ("red",), ()]
    assert write_warmup(tmp_path, "mtmh", ["a", "b", "ü"], 6, categories) == 18
    found = logs(tmp_path)
    assert {log.predict_log.request.model_spec.name for log in found} == {"mtmh"}
    assert [log.predict_log.request.model_spec.signature_name for log in found[:6]] == list(SIGNATURES)
    for log in found:
        request = log.predict_log.request
        signature = SIGNATURES[request.model_spec.signature_name]
        assert set(request.inputs) == {tensor.name for tensor in signature.inputs}
        for tensor in signature.inputs:
            proto = request.inputs[tensor.name]
            assert tf.dtypes.as_dtype(proto.dtype).name == tensor.dtype
            assert len(proto.tensor_shape.dim) == len(tensor.shape)
    filters = [
        tuple(log.predict_log.request.inputs[name].string_val[0] for name in ("allow_category", "deny_category"))
        for log in found
        if log.predict_log.request.model_spec.signature_name == RETRIEVE_FILTERED
    ]
    assert filters == [(b"red", b""), (b"", b"red"), (b"", b"")]


def test_no_requests(tmp_path):
    assert write_warmup(tmp_path, "mtmh", [], 6) == 0
    assert logs(tmp_path) == []


def test_only_the_signatures_that_there_are(tmp_path):
    assert write_warmup(tmp_path, "mtmh", ["a", "b"], 6, names=(RETRIEVE_FILTERED,)) == 2
    asked = [log.predict_log.request.model_spec.signature_name for log in logs(tmp_path)]
    assert asked == [RETRIEVE_FILTERED] * 2


def test_never_more_than_tf_serving_takes():
    """A version with more records than 1000 would be refused at load."""
    most = next(
        field.metadata["maximum"]
        for field in ServingConfig().export.__dataclass_fields__.values()
        if field.name == "warmup_requests"
    )
    assert most * len(SIGNATURES) <= TF_SERVING_LIMIT


def test_every_recorded_request_is_answered(exported):
    loaded = tf.saved_model.load(str(exported.directory))
    found = logs(exported.directory)
    assert len(found) == len(SIGNATURES) * exported.config.export.warmup_requests
    for log in found:
        request = log.predict_log.request
        inputs = {name: tf.constant(tf.make_ndarray(proto)) for name, proto in request.inputs.items()}
        outputs = loaded.signatures[request.model_spec.signature_name](**inputs)
        if "count" in outputs:
            assert outputs["count"].numpy().tolist() == [7]


@pytest.mark.parametrize("kind", ["exact", "tree"])
def test_triggers_are_the_most_popular(kind, request, trained):
    exported = request.getfixturevalue(f"exported_{kind}")
    asked = [
        log.predict_log.request.inputs["item_id"].string_val[0].decode()
        for log in logs(exported.directory)
        if log.predict_log.request.model_spec.signature_name == "embed"
    ]
    assert asked == trained.items.ids[: len(asked)]
