"""``mtmh serve``: the embedded model server, from a configuration to an exit code.

A stand-in for TF Serving in development, tests and small deployments: one model, the same gRPC and REST API, version
directories with hot swap after warm-up. Batching, many models and configuration files stay TF Serving's.
"""

import functools
import logging
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from preprocessing.errors import UserError
from serving.server.config import ServerConfig
from serving.server.explorer import PATH, Explorer
from serving.server.gate import Gate
from serving.server.grpc_api import GrpcServer
from serving.server.metrics import Metrics
from serving.server.monitoring import monitoring_routes
from serving.server.policy import ModelSettings, VersionPolicy
from serving.server.rest_api import RestServer
from serving.server.servable import LoadedVersion, Servable
from serving.server.versions import Versions
from serving.stores.objects import is_bucket

_log = logging.getLogger("mtmh.serving")


Loader = Callable[[int, Path], Servable]


class _Server:
    """The parts of a running server, and what stops it."""

    def __init__(self, config: ServerConfig, load: Loader) -> None:
        self._config = config
        self.stopping = threading.Event()
        self.empty = False
        self._ready = False
        metrics = self._metrics = Metrics()
        gate = Gate(config.workers, config.queue, config.queue_milliseconds / 1000.0, metrics.waited)
        metrics.watch(lambda: gate.inside, self.is_ready)
        self._versions = Versions(
            Path(config.model_base_path),
            config.name,
            config.poll_seconds,
            ModelSettings(VersionPolicy(config.served_versions), config.labels),
            metrics,
            self._on_ready,
            self._on_nothing,
            load,
            gate.indulgent,
        )
        self._grpc = GrpcServer(
            self._versions, gate, metrics, config.name, config.max_message_bytes, config.max_rows, config.tls
        )
        self._rest = RestServer(
            self._versions,
            gate,
            metrics,
            config.max_message_bytes,
            config.max_rows,
            config.grace_seconds,
            config.tls,
        )
        self._addresses = ""

    def is_ready(self) -> bool:
        """Whether a version answers and the server is not stopping."""
        return self._ready and not self.stopping.is_set()

    def start(self) -> None:
        """Listens, then begins to load.

        Raises:
            UserError: a port is taken, the host is not this machine's, or the files of TLS cannot be used.
        """
        config, host = self._config, self._config.host
        scheme = "https" if config.tls else "http"
        routes = monitoring_routes(self._metrics, self.is_ready)
        explorer = Explorer(self._versions.roster, config.name, Path(config.model_base_path)).routes()
        port = _listen(self._grpc.listen, host, config.port, "--port")
        self._addresses = f"gRPC {host}:{port}"
        if config.rest_port >= 0:
            rest = functools.partial(self._rest.listen, routes=[*routes, *(explorer if config.explorer else ())])
            rest_port = _listen(rest, host, config.rest_port, "--rest-port")
            self._addresses += f", REST {scheme}://{host}:{rest_port}"
            if config.explorer:
                _log.info("explorer: %s://%s:%d%s", scheme, host, rest_port, PATH)
        if config.monitoring_port >= 0:
            plain = functools.partial(self._rest.listen_plain, routes=routes)
            plain_port = _listen(plain, host, config.monitoring_port, "--monitoring-port")
            self._addresses += f", monitoring http://{host}:{plain_port}"
        _log.info("model %s from %s: listening on %s", config.name, config.model_base_path, self._addresses)
        self._versions.start()

    def drain(self) -> bool:
        """Says that it stops, refuses new requests, lets those in flight finish within the grace, and closes.

        Returns:
            False when something still runs.
        """
        config = self._config
        self._grpc.announce_stop()
        if config.drain_seconds and not self.empty:
            _log.info("stopping: requests are taken for %.0f s more", config.drain_seconds)
            time.sleep(config.drain_seconds)
        _log.info("stopping: requests in flight have %.0f s", config.grace_seconds)
        finished = self._grpc.stop(config.grace_seconds)
        self._rest.stop()
        clean = finished.wait(config.grace_seconds + 1)
        clean = self._versions.stop(0.5) and clean
        _log.info("stopped" if clean else "stopped, with work unfinished")
        return clean

    def _on_ready(self, version: int) -> None:
        if self._ready:
            return
        self._ready = True
        self._grpc.set_ready(True)
        # For the program that started the server: standard output has this one line.
        print(f"ready: model {self._config.name} version {version}; {self._addresses}", flush=True)

    def _on_nothing(self) -> None:
        if self._config.require_version:
            self.empty = True
            self.stopping.set()


def _listen(bind: Callable[[str, int], int], host: str, port: int, option: str) -> int:
    try:
        return bind(host, port)
    except OSError as error:
        raise UserError(
            f"cannot listen on {host}:{port}: is another server running there? Stop it, or choose another port with "
            f"{option} (0 picks a free one) or another address with --host"
        ) from error


@contextmanager
def _signals(stopping: threading.Event) -> Iterator[None]:
    """SIGTERM and SIGINT stop gracefully, the second one at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        if stopping.is_set():
            os._exit(128 + number)
        stopping.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _log_to_stderr() -> None:
    if not _log.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(message)s", "%H:%M:%S"))
        _log.addHandler(handler)
        _log.setLevel(logging.INFO)
        # TensorFlow's absl gives the root logger a handler: each line would come twice.
        _log.propagate = False


def _allow_connections() -> None:
    """As many open files as the machine admits: connections that are held open are one each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def serve(config: ServerConfig, load: Loader = LoadedVersion) -> int:
    """Serves until SIGTERM or SIGINT.

    Once a version answers, one line goes to standard output:
    ``ready: model NAME version N; gRPC HOST:PORT, REST http://HOST:PORT``.

    Args:
        config: options.
        load: makes a version of its number and directory; for benchmarks of what is no SavedModel.

    Returns:
        The exit code, 0.

    Raises:
        UserError: the base path is no directory, a port is taken, or ``require_version`` is on and there is none.
    """
    if is_bucket(config.model_base_path):
        raise UserError(
            f"--model-base-path {config.model_base_path} is a bucket, which this server does not read: bring versions "
            f"to a directory with `mtmh mirror --source {config.model_base_path} --model-base-path DIR --every 30`"
        )
    if not config.model_base_path or not Path(config.model_base_path).is_dir():
        raise UserError(
            f"--model-base-path {config.model_base_path or '(empty)'}: no such directory; expected the directory whose "
            "numeric subdirectories hold exported models, as WORKDIR/serving/mtmh after `mtmh run --workdir WORKDIR`"
        )
    _log_to_stderr()
    _allow_connections()
    server = _Server(config, load)
    with _signals(server.stopping):
        server.start()
        server.stopping.wait()
        clean = server.drain()
    if server.empty:
        raise UserError(
            f"no version under {config.model_base_path} can be served: expected a numeric directory with a "
            "saved_model.pb that loads; export one with `mtmh run` or `mtmh export`, or leave out --require-version"
        )
    if not clean:
        # A thread that is still in TensorFlow would keep the interpreter from ending, or crash it on the way out.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    return 0
