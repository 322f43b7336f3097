"""The private messages against TensorFlow Serving's own."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as npst
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
    predict_pb2,
    prediction_log_pb2,
)

from serving import wire
from serving.tensors import TensorError, fill, to_array
from tests.serving.server import toy_model

REAL = {
    "PredictRequest": predict_pb2.PredictRequest,
    "PredictResponse": predict_pb2.PredictResponse,
    "ModelSpec": model_pb2.ModelSpec,
    "PredictionLog": prediction_log_pb2.PredictionLog,
    "GetModelStatusRequest": get_model_status_pb2.GetModelStatusRequest,
    "GetModelStatusResponse": get_model_status_pb2.GetModelStatusResponse,
    "GetModelMetadataRequest": get_model_metadata_pb2.GetModelMetadataRequest,
    "GetModelMetadataResponse": get_model_metadata_pb2.GetModelMetadataResponse,
    "ReloadConfigRequest": model_management_pb2.ReloadConfigRequest,
    "ReloadConfigResponse": model_management_pb2.ReloadConfigResponse,
    "MetaGraphDef": meta_graph_pb2.MetaGraphDef,
    "ConfigProto": config_pb2.ConfigProto,
    "RunOptions": config_pb2.RunOptions,
    "SignatureDefMap": get_model_metadata_pb2.SignatureDefMap,
    "TensorProto": tf.make_tensor_proto(0).__class__,
}

shapes = npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
arrays = st.one_of(
    npst.arrays(np.float32, shapes),
    npst.arrays(np.float64, shapes),
    npst.arrays(np.int32, shapes),
    npst.arrays(np.int64, shapes),
    npst.arrays(np.bool_, shapes),
    npst.arrays(object, shapes, elements=st.binary(max_size=8), fill=st.nothing()),
)


def _fields(private, real):
    """Compares number, label and wire type of every private field with the real one, into nested messages."""
    for field in private.fields:
        twin = real.fields_by_name[field.name]
        same_type = field.type == twin.type or (
            field.type == field.TYPE_INT32 and twin.type in (twin.TYPE_ENUM, twin.TYPE_UINT32)
        )
        assert (field.number, field.label) == (twin.number, twin.label), field.full_name
        assert same_type, field.full_name
        if field.message_type and field.message_type is not private:
            _fields(field.message_type, twin.message_type)


@pytest.mark.parametrize("name", sorted(REAL))
def test_fields_are_those_of_tensorflow_serving(name):
    _fields(getattr(wire, name).DESCRIPTOR, REAL[name].DESCRIPTOR)


def test_states_are_those_of_tensorflow_serving():
    real = get_model_status_pb2.ModelVersionStatus.State.DESCRIPTOR
    assert {value.number: value.name for value in real.values} == wire.STATES


def test_types_are_those_of_tensorflow():
    private = wire.MetaGraphDef.DESCRIPTOR.file.pool.FindEnumTypeByName("tensorflow.DataType")
    assert {value.name: value.number for value in private.values}.items() <= dict(types_pb2.DataType.items()).items()
    assert len(private.values) == 24


def test_request_bytes_are_the_same():
    real = toy_model.predict_request("mtmh", "retrieve", item_id=[["", "a", "é"]], k=np.array([1, 2], np.int32))
    real.model_spec.version.value = 7
    real.output_filter.extend(["score", "count"])
    private = wire.PredictRequest()
    private.model_spec.name, private.model_spec.signature_name = "mtmh", "retrieve"
    private.model_spec.version.value = 7
    fill(private.inputs["item_id"], np.array([["", "a", "é"]], object))
    fill(private.inputs["k"], np.array([1, 2], np.int32))
    private.output_filter.extend(["score", "count"])
    assert private.SerializeToString(deterministic=True) == real.SerializeToString(deterministic=True)


def test_label_and_version_exclude_each_other():
    spec = wire.ModelSpec(version_label="canary")
    spec.version.value = 3
    assert not spec.version_label


@given(arrays)
def test_tensorflow_reads_what_we_write(array):
    proto = wire.TensorProto()
    fill(proto, array)
    read = tf.make_ndarray(REAL["TensorProto"].FromString(proto.SerializeToString()))
    np.testing.assert_array_equal(read, array)
    assert read.shape == array.shape


@given(arrays)
def test_we_read_what_tensorflow_writes(array):
    real = tf.make_tensor_proto(array, shape=array.shape, dtype=tf.string if array.dtype == object else None)
    np.testing.assert_array_equal(to_array(wire.TensorProto.FromString(real.SerializeToString())), array)
    np.testing.assert_array_equal(to_array(real), array)


@pytest.mark.parametrize("value", [[1.5, 2.5], [1, 2], [True, False], [b"a", b"bc"]])
def test_val_fields_are_read(value):
    real = tf.make_tensor_proto(value)
    if real.tensor_content:
        array = tf.make_ndarray(real)
        real.ClearField("tensor_content")
        getattr(real, {1: "float_val", 3: "int_val", 10: "bool_val"}[real.dtype]).extend(array.tolist())
    assert to_array(real).tolist() == value


def test_last_value_stands_for_those_left_out():
    real = tf.make_tensor_proto(3, shape=[2, 2], dtype=tf.int32)
    assert len(real.int_val) == 1
    assert to_array(real).tolist() == [[3, 3], [3, 3]]


def test_strings_in_tensor_content():
    long = b"x" * 300
    proto = wire.TensorProto(dtype=7, tensor_content=bytes([2, 0, 0xAC, 2]) + b"ab" + long)
    proto.tensor_shape.dim.add().size = 3
    assert to_array(proto).tolist() == [b"ab", b"", long]


def _broken(**fields):
    sizes = fields.pop("sizes", [2])
    proto = wire.TensorProto(**fields)
    for size in sizes:
        proto.tensor_shape.dim.add().size = size
    return proto


@pytest.mark.parametrize(
    "proto",
    [
        _broken(dtype=1, sizes=[1 << 40], float_val=[1.0]),
        _broken(dtype=1, sizes=[1 << 31, 1 << 31, 1 << 31]),
        _broken(dtype=7, sizes=[1 << 40], tensor_content=b"abc"),
        _broken(dtype=1, sizes=[-1], float_val=[1.0]),
        _broken(dtype=7, sizes=[0, 1 << 62]),
        _broken(dtype=1, sizes=[1 << 40, 0]),
        _broken(dtype=1, tensor_content=b"abc"),
        _broken(dtype=1, float_val=[1.0, 2.0, 3.0]),
        _broken(dtype=7, tensor_content=b"\xff\xff"),
        _broken(dtype=7, tensor_content=b"\x05\x05ab"),
        _broken(dtype=19),
        _broken(dtype=0),
        _broken(dtype=1, sizes=[1] * 40, float_val=[1.0]),
    ],
    ids=lambda proto: str(proto).replace("\n", " ")[:40],
)
def test_a_tensor_that_contradicts_itself_is_refused(proto):
    with pytest.raises(TensorError):
        to_array(proto)
