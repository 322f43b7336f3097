"""The messages of TensorFlow and TensorFlow Serving that MTMH speaks, without TensorFlow.

``import tensorflow_serving.apis.predict_pb2`` imports all of TensorFlow, several seconds. The messages here have the
same names, field numbers and wire format, but live in a descriptor pool of their own, so that they cost milliseconds
and do not clash with the real ones when a process has both. Fields that MTMH has no use for are left out; protobuf
skips them on reading.
"""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS: Final = {
    "bool": _Field.TYPE_BOOL,
    "bytes": _Field.TYPE_BYTES,
    "double": _Field.TYPE_DOUBLE,
    "float": _Field.TYPE_FLOAT,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "string": _Field.TYPE_STRING,
}
_SERVING: Final = "tensorflow.serving"
_DATA_TYPE: Final = "tensorflow.DataType"
_TYPES: Final = (
    *("INVALID", "FLOAT", "DOUBLE", "INT32", "UINT8", "INT16", "INT8", "STRING", "COMPLEX64", "INT64", "BOOL"),
    *("QINT8", "QUINT8", "QINT32", "BFLOAT16", "QINT16", "QUINT16", "UINT16", "COMPLEX128", "HALF", "RESOURCE"),
    *("VARIANT", "UINT32", "UINT64"),
)
"""Values of ``tensorflow.DataType`` from 0 on, without ``DT_``."""


class _F(NamedTuple):
    """One field.

    ``kind`` is a scalar's name, or the full name of a message or an enumeration; ``key`` makes it a map from strings.
    """

    name: str
    number: int
    kind: str
    repeated: bool = False
    key: bool = False
    oneof: str = ""


def _add_field(message: descriptor_pb2.DescriptorProto, package: str, field: _F) -> None:
    proto = message.field.add(name=field.name, number=field.number)
    proto.label = _Field.LABEL_REPEATED if field.repeated or field.key else _Field.LABEL_OPTIONAL
    kind = field.kind
    if field.key:
        entry = message.nested_type.add(name="".join(part.title() for part in field.name.split("_")) + "Entry")
        entry.options.map_entry = True
        _add_field(entry, package, _F("key", 1, "string"))
        _add_field(entry, package, _F("value", 2, kind))
        kind = f"{package}.{message.name}.{entry.name}"
    if kind in _SCALARS:
        proto.type = _SCALARS[kind]
    elif kind == _DATA_TYPE:
        proto.type, proto.type_name = _Field.TYPE_ENUM, f".{kind}"
    else:
        proto.type, proto.type_name = _Field.TYPE_MESSAGE, f".{kind}"
    if field.oneof:
        if not message.oneof_decl:
            message.oneof_decl.add(name=field.oneof)
        proto.oneof_index = 0


def _file(
    name: str, package: str, imports: Iterable[str], messages: dict[str, tuple[_F, ...]]
) -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name=name, package=package, syntax="proto3")
    file.dependency.extend(imports)
    for message_name, fields in messages.items():
        message = file.message_type.add(name=message_name)
        for field in fields:
            _add_field(message, package, field)
    return file


# Enumerations are declared as int32, which is the same on the wire, but where JSON shows the names of their values.
_TENSOR_FILE: Final = _file(
    "mtmh/wire/tensor.proto",
    "tensorflow",
    (),
    {
        "Dim": (_F("size", 1, "int64"), _F("name", 2, "string")),
        "TensorShapeProto": (_F("dim", 2, "tensorflow.Dim", repeated=True), _F("unknown_rank", 3, "bool")),
        "TensorProto": (
            _F("dtype", 1, "int32"),
            _F("tensor_shape", 2, "tensorflow.TensorShapeProto"),
            _F("version_number", 3, "int32"),
            _F("tensor_content", 4, "bytes"),
            _F("float_val", 5, "float", repeated=True),
            _F("double_val", 6, "double", repeated=True),
            _F("int_val", 7, "int32", repeated=True),
            _F("string_val", 8, "bytes", repeated=True),
            _F("int64_val", 10, "int64", repeated=True),
            _F("bool_val", 11, "bool", repeated=True),
        ),
    },
)
_data_type = _TENSOR_FILE.enum_type.add(name="DataType")
for _number, _type in enumerate(_TYPES):
    _data_type.value.add(name=f"DT_{_type}", number=_number)
_SIGNATURE_FILE: Final = _file(
    "mtmh/wire/signature.proto",
    "tensorflow",
    (_TENSOR_FILE.name,),
    {
        "TensorInfo": (
            _F("name", 1, "string", oneof="encoding"),
            _F("dtype", 2, _DATA_TYPE),
            _F("tensor_shape", 3, "tensorflow.TensorShapeProto"),
        ),
        "SignatureDef": (
            _F("inputs", 1, "tensorflow.TensorInfo", key=True),
            _F("outputs", 2, "tensorflow.TensorInfo", key=True),
            _F("method_name", 3, "string"),
            _F("defaults", 4, "tensorflow.TensorProto", key=True),
        ),
        "MetaGraphDef": (_F("signature_def", 5, "tensorflow.SignatureDef", key=True),),
    },
)
_SESSION_FILE: Final = _file(
    "mtmh/wire/session.proto",
    "tensorflow",
    (),
    {
        "RewriterConfig": (
            _F("meta_optimizer_iterations", 12, "int32"),
            _F("optimizers", 100, "string", repeated=True),
        ),
        "GraphOptions": (_F("rewrite_options", 10, "tensorflow.RewriterConfig"),),
        "ConfigProto": (_F("graph_options", 10, "tensorflow.GraphOptions"),),
        "RunOptions": (_F("inter_op_thread_pool", 3, "int32"),),
    },
)
_SERVING_FILE: Final = _file(
    "mtmh/wire/serving.proto",
    _SERVING,
    ("google/protobuf/any.proto", "google/protobuf/wrappers.proto", _TENSOR_FILE.name, _SIGNATURE_FILE.name),
    {
        "ModelSpec": (
            _F("name", 1, "string"),
            _F("version", 2, "google.protobuf.Int64Value", oneof="version_choice"),
            _F("version_label", 4, "string", oneof="version_choice"),
            _F("signature_name", 3, "string"),
        ),
        "PredictRequest": (
            _F("model_spec", 1, f"{_SERVING}.ModelSpec"),
            _F("inputs", 2, "tensorflow.TensorProto", key=True),
            _F("output_filter", 3, "string", repeated=True),
        ),
        "PredictResponse": (
            _F("outputs", 1, "tensorflow.TensorProto", key=True),
            _F("model_spec", 2, f"{_SERVING}.ModelSpec"),
        ),
        "PredictLog": (_F("request", 1, f"{_SERVING}.PredictRequest"),),
        "PredictionLog": (_F("predict_log", 6, f"{_SERVING}.PredictLog"),),
        "StatusProto": (_F("error_code", 1, "int32"), _F("error_message", 2, "string")),
        "GetModelStatusRequest": (_F("model_spec", 1, f"{_SERVING}.ModelSpec"),),
        "ModelVersionStatus": (
            _F("version", 1, "int64"),
            _F("state", 2, "int32"),
            _F("status", 3, f"{_SERVING}.StatusProto"),
        ),
        "GetModelStatusResponse": (_F("model_version_status", 1, f"{_SERVING}.ModelVersionStatus", repeated=True),),
        "GetModelMetadataRequest": (
            _F("model_spec", 1, f"{_SERVING}.ModelSpec"),
            _F("metadata_field", 2, "string", repeated=True),
        ),
        "GetModelMetadataResponse": (
            _F("model_spec", 1, f"{_SERVING}.ModelSpec"),
            _F("metadata", 2, "google.protobuf.Any", key=True),
        ),
        "SignatureDefMap": (_F("signature_def", 1, "tensorflow.SignatureDef", key=True),),
        "Latest": (_F("num_versions", 1, "int32"),),
        "All": (),
        "Specific": (_F("versions", 1, "int64", repeated=True),),
        "ServableVersionPolicy": (
            _F("latest", 100, f"{_SERVING}.Latest", oneof="policy_choice"),
            _F("all", 101, f"{_SERVING}.All", oneof="policy_choice"),
            _F("specific", 102, f"{_SERVING}.Specific", oneof="policy_choice"),
        ),
        "ModelConfig": (
            _F("name", 1, "string"),
            _F("base_path", 2, "string"),
            _F("model_platform", 4, "string"),
            _F("model_version_policy", 7, f"{_SERVING}.ServableVersionPolicy"),
            _F("version_labels", 8, "int64", key=True),
        ),
        "ModelConfigList": (_F("config", 1, f"{_SERVING}.ModelConfig", repeated=True),),
        "ModelServerConfig": (
            _F("model_config_list", 1, f"{_SERVING}.ModelConfigList", oneof="config"),
            _F("custom_model_config", 2, "google.protobuf.Any", oneof="config"),
        ),
        "ReloadConfigRequest": (_F("config", 1, f"{_SERVING}.ModelServerConfig"),),
        "ReloadConfigResponse": (_F("status", 1, f"{_SERVING}.StatusProto"),),
    },
)


def _pool() -> Any:
    pool: Any = descriptor_pool.DescriptorPool()
    for module in (any_pb2, wrappers_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    for file in (_TENSOR_FILE, _SIGNATURE_FILE, _SESSION_FILE, _SERVING_FILE):
        pool.AddSerializedFile(file.SerializeToString())
    return pool


_POOL: Final = _pool()
_FACTORY: Final = message_factory.MessageFactory(_POOL)


def _message(full_name: str) -> Any:
    return _FACTORY.GetPrototype(_POOL.FindMessageTypeByName(full_name))


# Classes made at run time have no static type: Any is all that a checker can be told.
TensorShapeProto: Any = _message("tensorflow.TensorShapeProto")
TensorProto: Any = _message("tensorflow.TensorProto")
MetaGraphDef: Any = _message("tensorflow.MetaGraphDef")
ConfigProto: Any = _message("tensorflow.ConfigProto")
RunOptions: Any = _message("tensorflow.RunOptions")
ModelSpec: Any = _message(f"{_SERVING}.ModelSpec")
PredictRequest: Any = _message(f"{_SERVING}.PredictRequest")
PredictResponse: Any = _message(f"{_SERVING}.PredictResponse")
PredictionLog: Any = _message(f"{_SERVING}.PredictionLog")
StatusProto: Any = _message(f"{_SERVING}.StatusProto")
GetModelStatusRequest: Any = _message(f"{_SERVING}.GetModelStatusRequest")
GetModelStatusResponse: Any = _message(f"{_SERVING}.GetModelStatusResponse")
GetModelMetadataRequest: Any = _message(f"{_SERVING}.GetModelMetadataRequest")
GetModelMetadataResponse: Any = _message(f"{_SERVING}.GetModelMetadataResponse")
SignatureDefMap: Any = _message(f"{_SERVING}.SignatureDefMap")
ReloadConfigRequest: Any = _message(f"{_SERVING}.ReloadConfigRequest")
ReloadConfigResponse: Any = _message(f"{_SERVING}.ReloadConfigResponse")

PREDICT: Final = "/tensorflow.serving.PredictionService/Predict"
GET_MODEL_METADATA: Final = "/tensorflow.serving.PredictionService/GetModelMetadata"
GET_MODEL_STATUS: Final = "/tensorflow.serving.ModelService/GetModelStatus"
RELOAD_CONFIG: Final = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"

MODELS_KEY: Final = "mtmh-models"
"""Trailing metadata that the embedded server adds to NOT_FOUND: the name that it serves."""

STATES: Final = {0: "UNKNOWN", 10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}
"""``ModelVersionStatus.State``: number to name."""
