"""TF Serving's REST API over the versions of one model, on aiohttp in a thread of its own.

The loop only moves bytes; a request is parsed and answered in a pool behind the same ``Gate`` as gRPC's.
"""

import asyncio
import functools
import json
import logging
import re
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc
from aiohttp import web

from serving import wire
from serving.server import rest_json
from serving.server.errors import RequestError, invalid, unimplemented
from serving.server.explorer import Explorer
from serving.server.gate import Gate
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

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class RestApi:
    """What is answered, without HTTP: from a path and a body to JSON bytes."""

    def __init__(self, versions: Versions, gate: Gate) -> None:
        self._versions, self._gate = versions, gate

    def answer(self, method: str, path: str, body: bytes) -> bytes:
        """Answers one request.

        Raises:
            RequestError: it is malformed, or cannot be answered.
        """
        match = _PATH.fullmatch(path)
        verb = match["method"].lower() if match and match["method"] else None
        if not match or method != ("POST" if verb else "GET") or (verb and match["metadata"]):
            raise invalid(f"Malformed request: {method} {path[:200]}")
        name, version = match["name"], int(match["version"]) if match["version"] else None
        if name is None:
            raise invalid("Missing model name in request.")
        if version is not None and version > _MAX_VERSION:
            raise invalid(f"Failed to convert version: {match['version'][:40]} to numeric.")
        if match["label"]:
            raise RequestError(
                grpc.StatusCode.FAILED_PRECONDITION, f"Unrecognized servable version label: {match['label']}"
            )
        if verb == "predict":
            return self._predict(name, version, body)
        if verb:
            raise unimplemented(f"{verb} is not offered by the embedded server: use predict")
        return _pretty(self._metadata(name, version) if match["metadata"] else self._status(name, version))

    def _predict(self, name: str, version: int | None, body: bytes) -> bytes:
        with self._gate.enter(), self._versions.acquire(name, version) as loaded:
            document = rest_json.parse_body(body)
            signature = loaded.signature(rest_json.signature_name(document))
            row_form = rest_json.is_row_form(document)
            read = rest_json.read_rows if row_form else rest_json.read_columns
            return rest_json.write(loaded.predict(signature, read(document, signature)), row_form)

    def _status(self, name: str, version: int | None) -> dict[str, Any]:
        return {
            "model_version_status": [
                {
                    "version": str(status.version),
                    "state": wire.STATES[status.state],
                    "status": {"error_code": status.code.name, "error_message": status.message},
                }
                for status in self._versions.statuses(name, version)
            ]
        }

    def _metadata(self, name: str, version: int | None) -> dict[str, Any]:
        with self._versions.acquire(name, version) as loaded:
            return {
                "model_spec": {"name": name, "signature_name": "", "version": str(loaded.version)},
                "metadata": {"signature_def": loaded.metadata},
            }


def _pretty(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=1, ensure_ascii=False).encode()


def _json(body: bytes, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json")


def _error(message: str, status: int) -> web.Response:
    return _json(json.dumps({"error": message}, ensure_ascii=False).encode(errors="replace"), status)


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
        max_message_bytes: int,
        grace_seconds: float,
        explorer: Explorer | None = None,
    ) -> None:
        self._api = RestApi(versions, gate)
        self._explorer = explorer
        self._pool = ThreadPoolExecutor(gate.capacity + _SPARE_THREADS, thread_name_prefix="mtmh-rest")
        self._max_message_bytes, self._grace_seconds = max_message_bytes, grace_seconds
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mtmh-rest-loop", daemon=True)
        self._runner: web.AppRunner | None = None

    def listen(self, host: str, port: int) -> int:
        """Binds and serves.

        Returns:
            The port.

        Raises:
            OSError: the address is taken or not this machine's.
        """
        self._thread.start()
        return asyncio.run_coroutine_threadsafe(self._listen(host, port), self._loop).result()

    async def _listen(self, host: str, port: int) -> int:
        app = web.Application(client_max_size=self._max_message_bytes, middlewares=[_errors_as_json])
        if self._explorer:
            self._explorer.add_routes(app, self._pool)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            handler_cancellation=True,
            shutdown_timeout=self._grace_seconds,
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        return int(self._runner.addresses[0][1])

    async def _handle(self, request: web.Request) -> web.Response:
        body = await asyncio.wait_for(request.read(), _READ_SECONDS)
        call = functools.partial(self._api.answer, request.method, request.path, body)
        return _json(await asyncio.wrap_future(self._pool.submit(call)))

    def stop(self) -> None:
        """Accepts nothing new, gives requests in flight the grace, and ends."""
        if self._runner:
            asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._loop.call_soon_threadsafe(self._loop.stop)
