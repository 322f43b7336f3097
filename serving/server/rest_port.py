"""A port of the REST server.

Connections that say nothing, or do not take their answers, are closed; renewed files of TLS are taken; and what comes
and is no HTTP is told in one line.
"""

import asyncio
import contextlib
import logging
import math
import socket
import ssl
import sys
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from serving.server.tls import TlsFiles

_RENEWAL_SECONDS: Final = 2.0
_BACKLOG: Final = 128

_log = logging.getLogger("mtmh.serving")


class _PortLog(logging.LoggerAdapter):  # type: ignore[type-arg]  # generic in the stubs alone
    """What aiohttp has to say; what is no HTTP, of the callers' making, without a traceback."""

    def exception(self, msg: object, *args: object, exc_info: Any = True, **options: Any) -> None:
        if isinstance(exc_info, HttpProcessingError):
            # aiohttp's reason: its first line says what, the others hold the bytes.
            reason = exc_info.message.strip().partition("\n")[0].rstrip(": ")
            self.warning("what %s sent is no HTTP/1 request (%s): is the REST port meant?", args[0], reason)
        else:
            super().exception(msg, *args, exc_info=exc_info, **options)


class RestPort:
    """What one application answers on one port. Its methods run in one event loop."""

    def __init__(
        self, app: web.Application, tls: TlsFiles | None, *, grace_seconds: float, silence_seconds: float
    ) -> None:
        """Prepares.

        Args:
            app: what answers.
            tls: None for plain HTTP.
            grace_seconds: how long requests in flight may take after `close`.
            silence_seconds: how long a connection may stand without a request, or, on Linux, its caller not take an
                answer.
        """
        self._tls, self._silence_seconds = tls, silence_seconds
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            handler_cancellation=True,
            shutdown_timeout=grace_seconds,
            keepalive_timeout=silence_seconds,
            logger=_PortLog(_log, {}),
        )
        self._listening: list[asyncio.Server] = []
        self._renewal: asyncio.Task[None] | None = None

    async def listen(self, host: str, port: int) -> int:
        """Binds and serves.

        Args:
            host: address.
            port: 0 for a free one.

        Returns:
            The port.

        Raises:
            OSError: the address is taken or not this machine's.
            UserError: the files of TLS cannot be used.
        """
        renewed = self._tls.watch() if self._tls else None
        context = self._tls.context() if self._tls else None
        await self._runner.setup()
        server = await self._serve(context, host=host, port=port)
        self._listening = [server]
        if self._tls and renewed:
            self._renewal = asyncio.create_task(self._renew(self._tls, renewed))
        return int(server.sockets[0].getsockname()[1])

    async def _serve(self, context: ssl.SSLContext | None, **where: Any) -> asyncio.Server:
        server = await asyncio.get_running_loop().create_server(
            self._runner.server,  # type: ignore[arg-type]  # set up, it is not None
            ssl=context,
            ssl_handshake_timeout=self._silence_seconds if context else None,
            backlog=_BACKLOG,
            **where,
        )
        if sys.platform == "linux":
            # Of each connection that comes: what it does not take for so long is not held for it.
            patience = math.ceil(self._silence_seconds * 1000)
            for listening in server.sockets:
                listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, patience)
        return server

    async def _renew(self, tls: TlsFiles, renewed: Callable[[], bool]) -> None:
        waiting = False
        while True:
            await asyncio.sleep(_RENEWAL_SECONDS)
            try:
                # What could not be taken, for want of descriptors say, is tried again.
                waiting = renewed() or waiting
                if waiting:
                    await self.begin_with(tls.context())
                    waiting = False
            except Exception:
                _log.exception("renewed files of TLS could not be taken")

    async def begin_with(self, context: ssl.SSLContext) -> None:
        """Lets connections begin with this from now on.

        A context keeps the authorities that it has once taken, and sessions that callers of theirs may resume.

        Raises:
            OSError: there is no descriptor left; connections begin as before.
        """
        before, begun = self._listening, list[asyncio.Server]()
        try:
            for server in before:
                for listener in server.sockets:
                    # Of the same queue of connections: none is refused meanwhile.
                    with contextlib.ExitStack() as undo:
                        again = listener.dup()
                        undo.callback(again.close)
                        begun.append(await self._serve(context, sock=again))
                        undo.pop_all()
        except BaseException:
            await _end(begun)
            raise
        self._listening = begun
        await _end(before)

    async def close(self) -> None:
        """Accepts nothing new, gives requests in flight the grace, and ends."""
        if self._renewal:
            self._renewal.cancel()
        for server in self._listening:
            server.close()
        await self._runner.cleanup()


async def _end(servers: list[asyncio.Server]) -> None:
    """Ends servers, and drops no connection that they have accepted."""
    loop = asyncio.get_running_loop()
    for server in servers:
        for listener in server.sockets:
            loop.remove_reader(listener.fileno())
    try:
        # What is accepted already joins its server in the next turn of the loop: one that is closed would lose it.
        await asyncio.sleep(0)
    finally:
        for server in servers:
            server.close()
