"""TF Serving's gRPC services over the versions of one model.

The server is grpc's threaded one, not ``grpc.aio``: a call runs in the thread that the model is asked from, where an
event loop would hand it over and back. With 2 kB messages on two busy cores the echo of a threaded server took 0.59 ms
and an event loop's with a hand-over 0.85 ms at one client, and with eight the first answered nearly twice as many.
Requests are parsed in that thread too. The ``Gate`` bounds how many run and wait; the pool has room for all of them
and for status calls beside them.
"""

import functools
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from serving import wire
from serving.server.errors import RequestError, invalid, unimplemented
from serving.server.gate import Gate
from serving.server.predict import predict
from serving.server.versions import Versions

_log = logging.getLogger("mtmh.serving")
PREDICTION_SERVICE: Final = "tensorflow.serving.PredictionService"
MODEL_SERVICE: Final = "tensorflow.serving.ModelService"
_SPARE_THREADS: Final = 8
_SIGNATURE_DEF: Final = "signature_def"

Handler = Callable[[bytes, Any], bytes]


def asked_version(spec: Any) -> int | None:
    """The version of a ``ModelSpec``; None for the latest.

    Raises:
        RequestError: FAILED_PRECONDITION where the spec has a label, of which the embedded server has none.
    """
    if spec.version_label:
        raise RequestError(
            grpc.StatusCode.FAILED_PRECONDITION, f"Unrecognized servable version label: {spec.version_label}"
        )
    return int(spec.version.value) if spec.HasField("version") else None


def parse(message: Any, data: bytes) -> Any:
    """A message from a request's bytes.

    Raises:
        RequestError: INVALID_ARGUMENT, they are none.
    """
    try:
        return message.FromString(data)
    except DecodeError as error:
        raise invalid("the request is not a valid message") from error


class ModelApi:
    """The methods of PredictionService and ModelService, from request bytes to response bytes."""

    def __init__(self, versions: Versions, gate: Gate, name: str) -> None:
        self._versions, self._gate, self._name = versions, gate, name

    def predict(self, data: bytes, context: Any) -> bytes:
        """PredictionService.Predict."""
        with self._gate.enter(context.time_remaining()):
            if not context.is_active():
                raise RequestError(grpc.StatusCode.CANCELLED, "the caller has gone")
            request = parse(wire.PredictRequest, data)
            spec = _spec(request)
            with self._versions.acquire(spec.name, asked_version(spec)) as loaded:
                return bytes(predict(loaded, request).SerializeToString())

    def get_model_metadata(self, data: bytes, context: Any) -> bytes:
        """PredictionService.GetModelMetadata, field ``signature_def``."""
        request = parse(wire.GetModelMetadataRequest, data)
        spec = _spec(request)
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != _SIGNATURE_DEF:
                raise invalid(f"Metadata field {field} is not supported")
        response = wire.GetModelMetadataResponse()
        with self._versions.acquire(spec.name, asked_version(spec)) as loaded:
            response.model_spec.name = spec.name
            response.model_spec.version.value = loaded.version
            packed = response.metadata[_SIGNATURE_DEF]
            packed.type_url = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
            packed.value = loaded.signature_def_map
        return bytes(response.SerializeToString())

    def get_model_status(self, data: bytes, context: Any) -> bytes:
        """ModelService.GetModelStatus."""
        spec = _spec(parse(wire.GetModelStatusRequest, data))
        response = wire.GetModelStatusResponse()
        for status in self._versions.statuses(spec.name, asked_version(spec)):
            entry = response.model_version_status.add(version=status.version, state=status.state)
            entry.status.error_code = status.code.value[0]
            entry.status.error_message = status.message
        return bytes(response.SerializeToString())

    def answered(self, handler: Handler) -> Handler:
        """A handler whose refusals become gRPC statuses and whose faults become INTERNAL, told to the log only."""

        @functools.wraps(handler)
        def answer(data: bytes, context: Any) -> bytes:
            try:
                return handler(data, context)
            except RequestError as error:
                refusal = error
            except Exception:
                _log.exception("a request failed")
                refusal = RequestError(grpc.StatusCode.INTERNAL, "internal error: see the server's log")
            if refusal.code == grpc.StatusCode.NOT_FOUND:
                context.set_trailing_metadata(((wire.MODELS_KEY, self._name),))
            context.abort(refusal.code, refusal.message)
            raise AssertionError("abort raises")

        return answer


def _spec(request: Any) -> Any:
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    if not request.model_spec.name:
        raise invalid("ModelSpec has no name specified.")
    return request.model_spec


def _refuse(method: str) -> Handler:
    def refuse(data: bytes, context: Any) -> bytes:
        raise unimplemented(f"{method} is not offered by the embedded server")

    return refuse


class GrpcServer:
    """The listening server: PredictionService, ModelService and grpc.health.v1.Health."""

    def __init__(self, versions: Versions, gate: Gate, name: str, max_message_bytes: int) -> None:
        api = ModelApi(versions, gate, name)
        services: dict[str, dict[str, Handler]] = {
            PREDICTION_SERVICE: {
                "Predict": api.predict,
                "GetModelMetadata": api.get_model_metadata,
                **{method: _refuse(method) for method in ("Classify", "Regress", "MultiInference")},
            },
            MODEL_SERVICE: {
                "GetModelStatus": api.get_model_status,
                "HandleReloadConfigRequest": _refuse("HandleReloadConfigRequest"),
            },
        }
        self._server = grpc.server(
            ThreadPoolExecutor(gate.capacity + _SPARE_THREADS, thread_name_prefix="mtmh-grpc"),
            options=(
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.max_send_message_length", -1),
                # Without it a second server would share the port silently.
                ("grpc.so_reuseport", 0),
            ),
        )
        for service, methods in services.items():
            handlers = {
                method: grpc.unary_unary_rpc_method_handler(api.answered(handler))
                for method, handler in methods.items()
            }
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self.set_ready(False)

    def listen(self, host: str, port: int) -> int:
        """Binds and serves.

        Returns:
            The port.

        Raises:
            OSError: the address is taken or not this machine's.
        """
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            bound = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(str(error)) from error
        if not bound:
            raise OSError(f"cannot bind {address}")
        self._server.start()
        return int(bound)

    def set_ready(self, ready: bool) -> None:
        """What the health service answers."""
        response = health_pb2.HealthCheckResponse
        for service in ("", PREDICTION_SERVICE, MODEL_SERVICE):
            self._health.set(service, response.SERVING if ready else response.NOT_SERVING)

    def stop(self, grace_seconds: float) -> Any:
        """Accepts nothing new, and gives calls in flight that long.

        Returns:
            A ``threading.Event`` that is set when the last has ended.
        """
        self._health.enter_graceful_shutdown()
        return self._server.stop(grace_seconds)
