"""TF Serving's gRPC services over the versions of one model.

The server is grpc's threaded one, not ``grpc.aio``: a call runs in the thread that the model is asked from, where an
event loop would hand it over and back. With 2 kB messages on two busy cores the echo of a threaded server took 0.59 ms
and an event loop's with a hand-over 0.85 ms at one client, and with eight the first answered nearly twice as many.
Requests are parsed in that thread too. The ``Gate`` bounds how many run and wait; the pool has room for all of them,
for calls whose request has not come yet (``Arrivals``) and for status calls beside them.
"""

import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError

from serving import wire
from serving.server.arrivals import MOST_WAITING, Arrivals
from serving.server.errors import RequestError, invalid, unimplemented
from serving.server.gate import Gate
from serving.server.health import Health
from serving.server.metrics import Metrics
from serving.server.policy import read_reload_request, reload_response
from serving.server.predict import predict
from serving.server.roster import Choice
from serving.server.tls import TlsFiles
from serving.server.versions import Versions

_log = logging.getLogger("mtmh.serving")
PREDICTION_SERVICE: Final = "tensorflow.serving.PredictionService"
MODEL_SERVICE: Final = "tensorflow.serving.ModelService"
_SPARE_THREADS: Final = 8
_BESIDE_THREADS: Final = 1024
"""Calls beyond the threads: watches of health, which need none, and what comes while all are taken for a moment."""
_SIGNATURE_DEF: Final = "signature_def"

Handler = Callable[[bytes, Any], bytes]
_StreamHandler = Callable[[Iterator[bytes], Any], bytes]


def asked_for(spec: Any) -> Choice:
    """What a ``ModelSpec`` asks for."""
    return Choice(spec.name, int(spec.version.value) if spec.HasField("version") else None, spec.version_label)


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

    def __init__(
        self, versions: Versions, gate: Gate, metrics: Metrics, name: str, max_rows: int, arrivals: Arrivals
    ) -> None:
        self._versions, self._gate, self._metrics, self._name = versions, gate, metrics, name
        self._max_rows, self._arrivals = max_rows, arrivals

    def predict(self, data: bytes, context: Any) -> bytes:
        """PredictionService.Predict."""
        with self._gate.enter(context.time_remaining()):
            if not context.is_active():
                raise RequestError(grpc.StatusCode.CANCELLED, "the caller has gone")
            request = parse(wire.PredictRequest, data)
            spec = _spec(request)
            started = time.perf_counter()
            with self._versions.roster.acquire(asked_for(spec)) as loaded:
                response = predict(loaded, request, self._max_rows)
                answer = bytes(response.SerializeToString())
                seconds = time.perf_counter() - started
                # While the version is held: what was counted of it goes with it.
                self._metrics.answer(loaded.version, response.model_spec.signature_name, seconds)
            return answer

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
        with self._versions.roster.acquire(asked_for(spec)) as loaded:
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
        for status in self._versions.roster.statuses(asked_for(spec)):
            entry = response.model_version_status.add(version=status.version, state=status.state)
            entry.status.error_code = status.code.value[0]
            entry.status.error_message = status.message
        return bytes(response.SerializeToString())

    def reload_config(self, data: bytes, context: Any) -> bytes:
        """ModelService.HandleReloadConfigRequest: the one model's version policy and labels."""
        request = parse(wire.ReloadConfigRequest, data)
        self._versions.reconfigure(read_reload_request(request, self._name, self._versions.base))
        return bytes(reload_response().SerializeToString())

    def answered(self, method: str, handler: Handler) -> _StreamHandler:
        """A handler that is counted, whose refusals become gRPC statuses and whose faults INTERNAL, told to the log.

        To grpc it is one of a stream of requests, which it begins before the first has come.
        """

        @functools.wraps(handler)
        def answer(messages: Iterator[bytes], context: Any) -> bytes:
            started = time.perf_counter()
            try:
                data = self._arrivals.request(messages, context)
                started = time.perf_counter()
                response = handler(data, context)
            except RequestError as error:
                refusal = error
            except grpc.RpcError:
                raise  # the caller has gone
            except Exception:
                _log.exception("a request failed")
                refusal = RequestError(grpc.StatusCode.INTERNAL, "internal error: see the server's log")
            else:
                self._metrics.request("grpc", method, "OK", time.perf_counter() - started)
                return response
            self._metrics.request("grpc", method, refusal.code.name, time.perf_counter() - started)
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

    def __init__(
        self,
        versions: Versions,
        gate: Gate,
        metrics: Metrics,
        name: str,
        max_message_bytes: int,
        max_rows: int,
        tls: TlsFiles | None = None,
    ) -> None:
        self._arrivals = Arrivals()
        api = ModelApi(versions, gate, metrics, name, max_rows, self._arrivals)
        self._tls = tls
        services: dict[str, dict[str, Handler]] = {
            PREDICTION_SERVICE: {
                "Predict": api.predict,
                "GetModelMetadata": api.get_model_metadata,
                **{method: _refuse(method) for method in ("Classify", "Regress", "MultiInference")},
            },
            MODEL_SERVICE: {
                "GetModelStatus": api.get_model_status,
                "HandleReloadConfigRequest": api.reload_config,
            },
        }
        threads = gate.capacity + MOST_WAITING + _SPARE_THREADS
        self._server = grpc.server(
            ThreadPoolExecutor(threads, thread_name_prefix="mtmh-grpc"),
            # The pool's own queue has no end.
            maximum_concurrent_rpcs=threads + _BESIDE_THREADS,
            options=(
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.max_send_message_length", -1),
                # Clients may look every ten seconds whether an idle connection still stands.
                ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
                # Without it a second server would share the port silently.
                ("grpc.so_reuseport", 0),
            ),
        )
        for service, methods in services.items():
            handlers = {
                method: grpc.stream_unary_rpc_method_handler(api.answered(method, handler))
                for method, handler in methods.items()
            }
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        self._health = Health(self._arrivals, ("", PREDICTION_SERVICE, MODEL_SERVICE))
        self._server.add_generic_rpc_handlers((self._health.handler(),))

    def listen(self, host: str, port: int) -> int:
        """Binds and serves.

        Returns:
            The port.

        Raises:
            OSError: the address is taken or not this machine's.
            UserError: the files of TLS cannot be used.
        """
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if self._tls:
                bound = self._server.add_secure_port(address, self._tls.grpc_credentials())
            else:
                bound = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(str(error)) from error
        if not bound:
            raise OSError(f"cannot bind {address}")
        self._server.start()
        return int(bound)

    def set_ready(self, ready: bool) -> None:
        """What the health service answers."""
        self._health.set_ready(ready)

    def announce_stop(self) -> None:
        """Health says from now on that this server does not serve; calls are still taken."""
        self._health.announce_stop()

    def stop(self, grace_seconds: float) -> threading.Event:
        """Accepts nothing new, and gives calls in flight that long.

        Returns:
            Is set when the last has ended.
        """
        self.announce_stop()
        stopped: threading.Event = self._server.stop(grace_seconds)
        # No answer is due to a watch, nor to a call whose request does not come.
        self._health.end()
        self._arrivals.end(stopped)
        return stopped
