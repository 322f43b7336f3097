"""A gRPC server that answers `describe` as a test tells it to, in the test's own process."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np

from serving import wire
from serving.tensors import fill

Step = Callable[[Any], None]
"""What is done to a call, given its context, before it is answered; after the last step calls are answered at once."""


def refuse(code: grpc.StatusCode, details: str = "no") -> Step:
    return lambda context: context.abort(code, details)


def delay(seconds: float) -> Step:
    def step(context: Any) -> None:
        end = time.monotonic() + seconds
        while context.is_active() and time.monotonic() < end:
            time.sleep(0.005)

    return step


class ScriptedServer:
    """``calls`` holds when each call came, ``specs`` the model that each asked for."""

    def __init__(self, *steps: Step, credentials: grpc.ServerCredentials | None = None) -> None:
        self.calls: list[float] = []
        self.specs: list[Any] = []
        self._steps = list(steps)
        self._lock = threading.Lock()
        self._server = grpc.server(ThreadPoolExecutor(4))
        handlers = {"Predict": grpc.unary_unary_rpc_method_handler(self._predict)}
        service = wire.PREDICT.split("/")[1]
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        if credentials is None:
            port = self._server.add_insecure_port("127.0.0.1:0")
        else:
            port = self._server.add_secure_port("127.0.0.1:0", credentials)
        self.address = f"127.0.0.1:{port}"

    def __enter__(self) -> "ScriptedServer":
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()

    def _predict(self, data: bytes, context: Any) -> bytes:
        request = wire.PredictRequest.FromString(data)
        with self._lock:
            number = len(self.calls)
            self.calls.append(time.monotonic())
            self.specs.append(request.model_spec)
        if number < len(self._steps):
            self._steps[number](context)
        response = wire.PredictResponse()
        for name in ("title", "categories"):
            fill(response.outputs[name], np.array([f"{name} {number}".encode()], object))
        return response.SerializeToString()
