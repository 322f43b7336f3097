"""TF Serving's REST API over the versions of one model, on aiohttp in a thread of its own.

The loop only moves bytes; a request is parsed and answered in a pool behind the same ``Gate`` as gRPC's.
"""

import asyncio
import functools
import json
import logging
import re
import threading
import time
from collections.abc import Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from serving import wire
from serving.server import rest_json
from serving.server.errors import RequestError, invalid, unimplemented
from serving.server.gate import Gate
from serving.server.metrics import Metrics
from serving.server.predict import check_rows
from serving.server.rest_port import RestPort
from serving.server.roster import Choice
from serving.server.tls import TlsFiles
from serving.server.versions import Versions

_log = logging.getLogger("mtmh.serving")
_PATH: Final = re.compile(
    r"/v1/models(?:/(?P<name>[^/:]+))?(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
    r"(?P<metadata>/metadata)?(?::(?P<method>classify|regress|predict))?",
    re.IGNORECASE,
)
_MAX_VERSION: Final = 2**63 - 1
_READ_SECONDS: Final = 30.0
_SPARE_THREADS: Final = 4

_Result = TypeVar("_Result")


class RestApi:
    """What is answered, without HTTP: from a path and a body to JSON bytes."""

    def __init__(self, versions: Versions, gate: Gate, metrics: Metrics, max_rows: int) -> None:
        self._versions, self._gate, self._metrics, self._max_rows = versions, gate, metrics, max_rows

    def answer(self, method: str, path: str, body: bytes) -> bytes:
        """Answers one request.

        Raises:
            RequestError: it is malformed, or cannot be answered.
        """
        match = _PATH.fullmatch(path)
        verb = match["method"].lower() if match and match["method"] else None
        if not match or method != ("POST" if verb else "GET") or (verb and match["metadata"]):
            raise invalid(f"Malformed request: {method} {path[:200]}")
        if match["name"] is None:
            raise invalid("Missing model name in request.")
        choice = Choice(match["name"], _version(match["version"]), match["label"] or "")
        if verb == "predict":
            return self._predict(choice, body)
        if verb:
            raise unimplemented(f"{verb} is not offered by the embedded server: use predict")
        return _pretty(self._metadata(choice) if match["metadata"] else self._status(choice))

    def _predict(self, choice: Choice, body: bytes) -> bytes:
        with self._gate.enter():
            started = time.perf_counter()
            with self._versions.roster.acquire(choice) as loaded:
                document = rest_json.parse_body(body)
                signature = loaded.signature(rest_json.signature_name(document))
                row_form = rest_json.is_row_form(document)
                read = rest_json.read_rows if row_form else rest_json.read_columns
                tensors = read(document, signature)
                check_rows(tensors, self._max_rows)
                answer = rest_json.write(loaded.predict(signature, tensors), row_form)
                self._metrics.answer(loaded.version, signature.name, time.perf_counter() - started)
            return answer

    def _status(self, choice: Choice) -> dict[str, Any]:
        return {
            "model_version_status": [
                {
                    "version": str(status.version),
                    "state": wire.STATES[status.state],
                    "status": {"error_code": status.code.name, "error_message": status.message},
                }
                for status in self._versions.roster.statuses(choice)
            ]
        }

    def _metadata(self, choice: Choice) -> dict[str, Any]:
        with self._versions.roster.acquire(choice) as loaded:
            return {
                "model_spec": {"name": choice.name, "signature_name": "", "version": str(loaded.version)},
                "metadata": {"signature_def": loaded.metadata},
            }


def _version(digits: str | None) -> int | None:
    if digits is None:
        return None
    try:
        version = int(digits)
    except ValueError:  # Python reads no more than 4,300 digits
        version = _MAX_VERSION + 1
    if version > _MAX_VERSION:
        raise invalid(f"Failed to convert version: {digits[:40]} to numeric.")
    return version


def _pretty(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=1, ensure_ascii=False).encode()


def _json(body: bytes, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json")


def _error(message: str, status: int) -> web.Response:
    return _json(json.dumps({"error": message}, ensure_ascii=False).encode(errors="replace"), status)


def _method_of(path: str) -> str:
    """What a path asks for, in one of few words."""
    match = _PATH.fullmatch(path)
    if not match or not match["name"]:
        return "other"
    return (match["method"] or "").lower() or ("metadata" if match["metadata"] else "status")


def _counted(metrics: Metrics) -> Middleware:
    @web.middleware
    async def counted(request: web.Request, handler: Handler) -> web.StreamResponse:
        started, status = time.perf_counter(), "gone"
        try:
            response = await handler(request)
            status = str(response.status)
            return response
        except ConnectionError:
            return _error("the caller has gone", 499)  # to nobody; aiohttp would tell the log of a fault
        finally:
            metrics.request("rest", _method_of(request.path), status, time.perf_counter() - started)

    return counted


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except RequestError as error:
        return _error(error.message, error.http_status)
    except asyncio.TimeoutError:
        return _error(f"the request's body did not arrive within {_READ_SECONDS:.0f} s", 408)
    except web.HTTPRequestEntityTooLarge as error:
        return _error(f"the request's body is too large: {error.text}", 413)
    except web.RequestPayloadError as error:
        return _error(f"Malformed request: the body cannot be read: {error}", 400)
    except web.HTTPException as error:
        return _error(f"Malformed request: {request.method} {request.path[:200]}: {error.reason}", error.status)
    except (ConnectionError, asyncio.CancelledError):
        raise
    except Exception:
        _log.exception("a request failed")
        return _error("internal error: see the server's log", 500)


class RestServer:
    """The listening server."""

    def __init__(
        self,
        versions: Versions,
        gate: Gate,
        metrics: Metrics,
        max_message_bytes: int,
        max_rows: int,
        grace_seconds: float,
        tls: TlsFiles | None = None,
        silence_seconds: float = _READ_SECONDS,
    ) -> None:
        self._api = RestApi(versions, gate, metrics, max_rows)
        self._metrics, self._tls = metrics, tls
        self._pool = ThreadPoolExecutor(gate.capacity + _SPARE_THREADS, thread_name_prefix="mtmh-rest")
        self._max_message_bytes = max_message_bytes
        self._port = functools.partial(RestPort, grace_seconds=grace_seconds, silence_seconds=silence_seconds)
        self._thread: threading.Thread | None = None
        self._ports: list[RestPort] = []

    def listen(self, host: str, port: int, routes: Iterable[web.AbstractRouteDef] = ()) -> int:
        """Binds and serves the API.

        Args:
            host: address.
            port: 0 for a free one.
            routes: what is answered beside it; they come before the API's.

        Returns:
            The port.

        Raises:
            OSError: the address is taken or not this machine's.
            UserError: the files of TLS cannot be used.
        """
        app = web.Application(
            client_max_size=self._max_message_bytes, middlewares=[_counted(self._metrics), _errors_as_json]
        )
        app.router.add_routes(routes)
        app.router.add_route("*", "/{path:.*}", self._handle)
        return self._call(self._listen(self._port(app, self._tls), host, port))

    def listen_plain(self, host: str, port: int, routes: Iterable[web.AbstractRouteDef]) -> int:
        """Binds another port and serves these routes alone, without TLS.

        Returns:
            The port.

        Raises:
            OSError: the address is taken or not this machine's.
        """
        app = web.Application()
        app.router.add_routes(routes)
        return self._call(self._listen(self._port(app, None), host, port))

    def _call(self, coroutine: Coroutine[Any, Any, _Result]) -> _Result:
        if self._thread is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._run, name="mtmh-rest-loop", daemon=True)
            self._thread.start()
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _run(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            if left:
                self._loop.run_until_complete(asyncio.wait(left))
            self._loop.close()

    async def _listen(self, listening: RestPort, host: str, port: int) -> int:
        bound = await listening.listen(host, port)
        self._ports.append(listening)
        return bound

    async def _handle(self, request: web.Request) -> web.Response:
        if (request.content_length or 0) > self._max_message_bytes:
            raise web.HTTPRequestEntityTooLarge(self._max_message_bytes, request.content_length or 0)
        body = await asyncio.wait_for(request.read(), _READ_SECONDS)
        call = functools.partial(self._api.answer, request.method, request.path, body)
        return _json(await asyncio.wrap_future(self._pool.submit(call)))

    def stop(self) -> None:
        """Accepts nothing new, gives requests in flight the grace, and ends."""
        for port in self._ports:
            self._call(port.close())
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._thread = None
