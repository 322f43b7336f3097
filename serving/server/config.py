"""What the embedded server is told."""

import dataclasses
import os
from pathlib import Path

from preprocessing.errors import UserError
from preprocessing.options import option
from serving.server.tls import TlsFiles
from serving.version_manifest import version_number


@dataclasses.dataclass(frozen=True)
class ServerConfig:
    """Options of ``mtmh serve``."""

    model_base_path: str = option("", "directory whose numeric subdirectories are the versions of the model")
    model_name: str = option("", "name under which the model is served; empty: the last part of model_base_path")
    host: str = option("127.0.0.1", "address to listen on; 0.0.0.0 for every interface")
    port: int = option(8500, "gRPC port; 0 picks a free one")
    rest_port: int = option(8501, "REST port; 0 picks a free one, -1 switches REST off")
    monitoring_port: int = option(
        -1, "port for health and metrics alone, always plain HTTP; 0 picks a free one, -1: only on the REST port"
    )
    poll_seconds: float = option(1.0, "how often model_base_path is looked at for new versions")
    max_message_bytes: int = option(16 << 20, "largest request accepted, over gRPC and REST")
    max_rows: int = option(4096, "most rows of a request; one of more is refused with INVALID_ARGUMENT")
    threads: int = option(0, "requests that the model answers at a time; 0: the number of processors")
    queue: int = option(128, "requests that may wait for a thread; more are refused with RESOURCE_EXHAUSTED")
    queue_milliseconds: float = option(
        5.0,
        "longest wait for a thread that a request may have to expect, but in a burst; beyond three a thread it is "
        "refused otherwise",
    )
    drain_seconds: float = option(
        0.0, "after SIGTERM, how long requests are still taken while health already says no: for load balancers"
    )
    grace_seconds: float = option(10.0, "how long requests in flight may take after that")
    served_versions: int = option(1, "how many of the highest versions answer at a time")
    label: tuple[str, ...] = option((), "NAME=VERSION: a version that is kept and answers under this name; repeatable")
    tls_certificate: str = option("", "PEM file of a certificate chain: gRPC and REST speak TLS alone")
    tls_key: str = option("", "PEM file of its key")
    tls_client_ca: str = option("", "PEM file of CA certificates: callers must have a certificate of one of them")
    explorer: bool = option(False, "serve a page at REST's /explorer that shows people what the model answers")
    require_version: bool = option(False, "fail when no version can be served at the start, instead of waiting")

    def __post_init__(self) -> None:
        """Checks the ranges.

        Raises:
            UserError: a number is out of its range.
        """
        bounds = {
            "port": (0, 65535),
            "rest_port": (-1, 65535),
            "monitoring_port": (-1, 65535),
            "poll_seconds": (0.01, 86400),
            "max_message_bytes": (1024, 2**31 - 1),
            "max_rows": (1, 2**31 - 1),
            "threads": (0, 1024),
            "queue": (0, 1024),
            "queue_milliseconds": (0, 3_600_000),
            "drain_seconds": (0, 3600),
            "grace_seconds": (0, 3600),
            "served_versions": (1, 1000),
        }
        for name, (least, most) in bounds.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise UserError(f"--{name.replace('_', '-')} {value}: expected a number from {least} to {most}")
        if bool(self.tls_certificate) != bool(self.tls_key) or (self.tls_client_ca and not self.tls_key):
            raise UserError(
                "TLS needs both --tls-certificate and --tls-key, and --tls-client-ca besides where callers need one"
            )
        if self.explorer and self.rest_port < 0:
            raise UserError("--explorer is a page of the REST port: leave out --rest-port -1")
        self.labels  # noqa: B018  raises

    @property
    def labels(self) -> dict[str, int]:
        """Versions by label.

        Raises:
            UserError: a label is not of the form NAME=VERSION.
        """
        labels = {}
        for text in self.label:
            name, _, number = text.partition("=")
            version = version_number(number)
            if not name or version is None:
                raise UserError(f"--label {text}: expected NAME=VERSION, such as stable=3")
            labels[name] = version
        return labels

    @property
    def tls(self) -> TlsFiles | None:
        """The files of TLS; None without."""
        if not self.tls_certificate:
            return None
        client_ca = Path(self.tls_client_ca) if self.tls_client_ca else None
        return TlsFiles(Path(self.tls_certificate), Path(self.tls_key), client_ca)

    @property
    def name(self) -> str:
        """The model's name in requests."""
        return self.model_name or Path(os.path.abspath(self.model_base_path)).name

    @property
    def workers(self) -> int:
        """Requests that the model answers at a time."""
        return self.threads or len(os.sched_getaffinity(0))
