"""grpc.health.v1.Health: whether the server answers, asked once or watched."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import grpc
from grpc_health.v1 import health, health_pb2

from serving.server.arrivals import Arrivals
from serving.server.errors import RequestError

_Send = Callable[[Any], None]


class Health:
    """The service, for the services of one server.

    A watch holds no thread, and lasts until its caller or the server ends it.
    """

    def __init__(self, arrivals: Arrivals, services: tuple[str, ...]) -> None:
        """Args: where requests are waited for, and the names under which the server is known; it serves none yet."""
        self._arrivals, self._services = arrivals, services
        self._servicer = health.HealthServicer()
        self._watches: set[_Send] = set()
        self.set_ready(False)

    def handler(self) -> Any:
        """For ``grpc.Server.add_generic_rpc_handlers``."""

        def watch(messages: Iterator[Any], context: Any, send: _Send) -> None:
            request = self._request(messages, context)
            self._watches.add(send)
            if not context.add_callback(lambda: self._watches.discard(send)):
                self._watches.discard(send)

            def send_open(response: Any) -> None:
                # None ends a call: the servicer says it of one that has ended already.
                if response is not None:
                    send(response)

            self._servicer.Watch(request, context, send_open)

        def check(messages: Iterator[Any], context: Any) -> Any:
            return self._servicer.Check(self._request(messages, context), context)

        # What grpc looks at to call without a thread that waits.
        watch.experimental_non_blocking = True  # type: ignore[attr-defined]
        codec: Final = {
            "request_deserializer": health_pb2.HealthCheckRequest.FromString,
            "response_serializer": health_pb2.HealthCheckResponse.SerializeToString,
        }
        methods = {
            "Check": grpc.stream_unary_rpc_method_handler(check, **codec),
            "Watch": grpc.stream_stream_rpc_method_handler(watch, **codec),
        }
        return grpc.method_handlers_generic_handler(health.SERVICE_NAME, methods)

    def _request(self, messages: Iterator[Any], context: Any) -> Any:
        try:
            return self._arrivals.request(messages, context)
        except RequestError as error:
            context.abort(error.code, error.message)

    def set_ready(self, ready: bool) -> None:
        """What is answered from now on."""
        response = health_pb2.HealthCheckResponse
        for service in self._services:
            self._servicer.set(service, response.SERVING if ready else response.NOT_SERVING)

    def announce_stop(self) -> None:
        """Says to all, and for good, that the server does not serve."""
        self._servicer.enter_graceful_shutdown()

    def end(self) -> None:
        """Ends the watches."""
        for send in self._watches.copy():
            send(None)
