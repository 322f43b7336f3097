"""Processes that are measured: the model server, a rival behind the same server, and an echo; on chosen processors.

``python -m benchmarks.servers --answer-bytes N`` is the echo: gRPC's own cost, with nothing behind it.
"""

import argparse
import contextlib
import dataclasses
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc

from serving import wire

_READY: Final = re.compile(r"^ready: .*?gRPC ([^,\s]+)")


@dataclasses.dataclass(frozen=True)
class Started:
    """A server that is ready, and its gRPC address."""

    process: "subprocess.Popen[str]"
    address: str


def started(command: Sequence[str], cpus: frozenset[int]) -> Started:
    """Runs a Python module on some processors, and waits for its ready line.

    Raises:
        SystemExit: it ended without one.
    """
    process = subprocess.Popen(
        ["taskset", "--cpu-list", ",".join(map(str, sorted(cpus))), sys.executable, "-m", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    log: list[str] = []
    reader = threading.Thread(target=lambda: log.extend(process.stderr or ()), daemon=True)
    reader.start()
    line = process.stdout.readline() if process.stdout else ""
    match = _READY.match(line)
    if not match:
        process.terminate()
        process.wait(10)
        reader.join(5)
        raise SystemExit(f"{' '.join(command)} did not become ready:\n{''.join(log)}")
    return Started(process, match[1])


@contextlib.contextmanager
def running(command: Sequence[str], cpus: frozenset[int]) -> Iterator[str]:
    """Runs a Python module on some processors until the block ends; gives the address of its ready line."""
    server = started(command, cpus)
    try:
        yield server.address
    finally:
        server.process.terminate()
        try:
            server.process.wait(30)
        except subprocess.TimeoutExpired:
            server.process.kill()


def model_server(base: str, *options: str, port: int = 0) -> list[str]:
    """The command of ``mtmh serve``, on a free port where none is named, without REST."""
    address = ("--port", str(port), "--rest-port", "-1")
    return ["tfx_pipeline.cli", "serve", "--model-base-path", base, *address, *options]


def main() -> None:
    """Answers every Predict with as many bytes as told."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.servers", description=main.__doc__)
    parser.add_argument("--answer-bytes", type=int, required=True)
    arguments = parser.parse_args()
    answer = os.urandom(arguments.answer_bytes)

    def echo(request: bytes, context: Any) -> bytes:
        return answer

    server = grpc.server(ThreadPoolExecutor(16))
    service, method = wire.PREDICT.strip("/").split("/")
    handlers = {method: grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"ready: echo; gRPC 127.0.0.1:{port}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
