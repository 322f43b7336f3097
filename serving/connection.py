"""How a client's channel is made: options, and credentials where there is TLS."""

import dataclasses
import ssl
from pathlib import Path
from typing import Any, Final

import grpc

from preprocessing.errors import UserError

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", -1),
    # A proxy from the environment is for the web, not for a model server.
    ("grpc.enable_http_proxy", 0),
    # A name that stands for several servers (a headless service): every one is asked in turn.
    ("grpc.lb_policy_name", "round_robin"),
    # gRPC itself would wait up to two minutes before it looks again for a server that restarts.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


@dataclasses.dataclass(frozen=True)
class Tls:
    """TLS to the server, and mutual TLS where the client shows a certificate too. Files are PEM.

    Attributes:
        authority: certificates of the authorities that may have signed the server's; None: those that gRPC brings.
        certificate: the client's own certificate (chain); None for a client without.
        key: its private key.
        server_name: the name in the server's certificate, where it is not the address's.
    """

    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str = ""

    def credentials(self) -> grpc.ChannelCredentials:
        """Reads the files.

        Raises:
            UserError: a file cannot be read, one of certificate and key is missing, or the key is another's.
        """
        if (self.certificate is None) != (self.key is None):
            raise UserError("mutual TLS needs the client's certificate and its key: only one of them is given")
        credentials = grpc.ssl_channel_credentials(
            root_certificates=_read(self.authority, "authority"),
            private_key=_read(self.key, "key"),
            certificate_chain=_read(self.certificate, "certificate"),
        )
        if self.certificate and self.key:
            # gRPC would say of a wrong pair that the server cannot be reached.
            load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), self.certificate, self.key)
        return credentials


def load_pair(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Takes one's own certificate (chain) and its key.

    Raises:
        UserError: they cannot be read, do not belong together, or the key has a password.
    """
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:
        raise UserError(
            f"TLS certificate {certificate} with key {key} cannot be used ({error}): expected PEM files of a "
            "certificate chain and of its key without a password"
        ) from error


def open_channel(address: str, tls: Tls | None, module: Any = grpc) -> Any:
    """A channel to ``host:port``; the connection is made with the first call.

    Args:
        address: where the server listens.
        tls: None for a connection in the clear.
        module: ``grpc``, or ``grpc.aio`` for a channel of the running event loop.

    Raises:
        UserError: a file of ``tls`` cannot be read.
    """
    if tls is None:
        return module.insecure_channel(address, options=_OPTIONS)
    name = (("grpc.ssl_target_name_override", tls.server_name),) if tls.server_name else ()
    return module.secure_channel(address, tls.credentials(), options=(*_OPTIONS, *name))


def _no_password() -> str:
    raise ValueError("the key has a password")


def _read(path: Path | None, what: str) -> bytes | None:
    if path is None:
        return None
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"TLS {what} {path} cannot be read: {error.strerror or error}") from error
    if b"-----BEGIN " not in content:
        raise UserError(f"TLS {what} {path} is no PEM file: expected -----BEGIN ...-----")
    return content
