"""What the embedded server is told."""

import dataclasses
import os
from pathlib import Path

from preprocessing.errors import UserError
from preprocessing.options import option


@dataclasses.dataclass(frozen=True)
class ServerConfig:
    """Options of ``mtmh serve``."""

    model_base_path: str = option("", "directory whose numeric subdirectories are the versions of the model")
    model_name: str = option("", "name under which the model is served; empty: the last part of model_base_path")
    host: str = option("127.0.0.1", "address to listen on; 0.0.0.0 for every interface")
    port: int = option(8500, "gRPC port; 0 picks a free one")
    rest_port: int = option(8501, "REST port; 0 picks a free one, -1 switches REST off")
    poll_seconds: float = option(1.0, "how often model_base_path is looked at for new versions")
    max_message_bytes: int = option(16 << 20, "largest request accepted, over gRPC and REST")
    threads: int = option(0, "requests that the model answers at a time; 0: the number of processors")
    queue: int = option(128, "requests that may wait for a thread; more are refused with RESOURCE_EXHAUSTED")
    grace_seconds: float = option(10.0, "how long requests in flight may take after SIGTERM")
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
            "poll_seconds": (0.01, 86400),
            "max_message_bytes": (1024, 2**31 - 1),
            "threads": (0, 1024),
            "queue": (0, 1024),
            "grace_seconds": (0, 3600),
        }
        for name, (least, most) in bounds.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise UserError(f"--{name.replace('_', '-')} {value}: expected a number from {least} to {most}")
        if self.explorer and self.rest_port < 0:
            raise UserError("--explorer needs REST: leave out --rest-port -1")

    @property
    def name(self) -> str:
        """The model's name in requests."""
        return self.model_name or Path(os.path.abspath(self.model_base_path)).name

    @property
    def workers(self) -> int:
        """Requests that the model answers at a time."""
        return self.threads or len(os.sched_getaffinity(0))
