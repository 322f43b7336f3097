"""A port of the REST server whose files of TLS are renewed."""

import asyncio
import errno
import shutil
import socket
import ssl

import pytest
from aiohttp import web

from serving.server import rest_port
from serving.server.rest_port import RestPort
from serving.server.tls import TlsFiles
from tests.serving.server.certificates import Authority
from tests.serving.server.http_get import get


@pytest.fixture
def authority(tmp_path) -> Authority:
    return Authority(tmp_path)


def files_of(authority: Authority) -> TlsFiles:
    own = authority.sign("server")
    return TlsFiles(own.certificate, own.key)


def new_port(tls: TlsFiles, kind: type[RestPort] = RestPort) -> RestPort:
    return kind(web.Application(), tls, grace_seconds=0.1, silence_seconds=5)


def first_line(connection: socket.socket, authority: Authority) -> bytes:
    context = ssl.create_default_context(cafile=str(authority.certificate))
    with context.wrap_socket(connection, server_hostname="localhost") as secure:
        secure.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return secure.recv(100).splitlines()[0]


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_renewal_drops_no_connection_that_comes_meanwhile(authority, turns):
    async def run() -> bytes:
        tls = files_of(authority)
        port = new_port(tls)
        number = await port.listen("127.0.0.1", 0)
        with socket.create_connection(("127.0.0.1", number), timeout=5) as connection:
            for _ in range(turns):
                await asyncio.sleep(0)
            await port.begin_with(tls.context())
            line = await asyncio.to_thread(first_line, connection, authority)
        await port.close()
        return line

    assert asyncio.run(run()) == b"HTTP/1.1 404 Not Found"


def test_a_renewal_that_fails_is_tried_again(authority, tmp_path, monkeypatch):
    class Short(RestPort):
        """Has no descriptor left at first."""

        failed = 0

        async def begin_with(self, context: ssl.SSLContext) -> None:
            if self.failed < 2:
                self.failed += 1
                raise OSError(errno.EMFILE, "Too many open files")
            await super().begin_with(context)

    monkeypatch.setattr(rest_port, "_RENEWAL_SECONDS", 0.05)
    (tmp_path / "new").mkdir()
    new = Authority(tmp_path / "new")

    async def run() -> bool:
        tls, renewed = files_of(authority), files_of(new)
        port = new_port(tls, Short)
        number = await port.listen("127.0.0.1", 0)
        shutil.copy(renewed.certificate, tls.certificate)
        shutil.copy(renewed.key, tls.key)
        context = ssl.create_default_context(cafile=str(new.certificate))
        try:
            for _ in range(100):
                try:
                    await asyncio.to_thread(get, f"https://127.0.0.1:{number}/", context)
                    return True
                except OSError:
                    await asyncio.sleep(0.05)
            return False
        finally:
            await port.close()

    assert asyncio.run(run())
