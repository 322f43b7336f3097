"""TLS for gRPC and REST from PEM files; with a client CA both ask callers for a certificate.

Files that are renewed in place are taken without a restart: gRPC looks at them when a connection comes, REST every
other second.
"""

import dataclasses
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

from preprocessing.errors import UserError
from serving.connection import load_pair


@dataclasses.dataclass(frozen=True)
class TlsFiles:
    """PEM files: the certificate chain, its key, and the CA of the callers' certificates, if they must have some."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def context(self) -> ssl.SSLContext:
        """For REST.

        Raises:
            UserError: a file is missing, is no PEM, or the key is not the certificate's.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        load_pair(context, self.certificate, self.key)
        if self.client_ca:
            try:
                context.load_verify_locations(self.client_ca)
            except (OSError, ssl.SSLError) as error:
                raise UserError(
                    f"--tls-client-ca {self.client_ca} cannot be used ({error}): expected a PEM file of CA certificates"
                ) from error
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def watch(self) -> Callable[[], bool]:
        """A function that says whether usable files have taken the place of those that it saw before."""
        taken = self._stamp()

        def renewed() -> bool:
            nonlocal taken
            now = self._stamp()
            if now in ((), taken):
                return False
            try:
                self.context()
            except UserError:  # one of the files is new and the other is not yet
                return False
            taken = now
            return True

        return renewed

    def _stamp(self) -> tuple[int, ...]:
        """What changes when a file is renewed; empty while one is missing."""
        try:
            return tuple(file.stat().st_mtime_ns for file in (self.certificate, self.key, self.client_ca) if file)
        except OSError:
            return ()

    def grpc_credentials(self) -> Any:
        """For gRPC; renewed files are taken with the next connection.

        Raises:
            UserError: as of `context`.
        """
        self.context()
        renewed = self.watch()
        # None says that nothing is new, which the stubs do not know.
        fetch: Any = lambda: self._configuration() if renewed() else None  # noqa: E731
        return grpc.dynamic_ssl_server_credentials(
            self._configuration(),
            fetch,
            require_client_authentication=self.client_ca is not None,
        )

    def _configuration(self) -> Any:
        pairs = [(self.key.read_bytes(), self.certificate.read_bytes())]
        return grpc.ssl_server_certificate_configuration(
            pairs, root_certificates=self.client_ca.read_bytes() if self.client_ca else None
        )
