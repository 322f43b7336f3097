"""Processes that are measured: the model server, a rival behind the same server, and an echo; on chosen processors.

``python -m benchmarks.servers --answer-bytes N`` is the echo: gRPC's own cost, with nothing behind it.
"""

import argparse
import contextlib
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


@contextlib.contextmanager
def running(command: Sequence[str], cpus: frozenset[int]) -> Iterator[str]:
    """Runs a Python module on some processors until the block ends; gives the address of its ready line."""
    process = subprocess.Popen(
        ["taskset", "--cpu-list", ",".join(map(str, sorted(cpus))), sys.executable, "-m", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    log: list[str] = []
    reader = threading.Thread(target=lambda: log.extend(process.stderr or ()), daemon=True)
    reader.start()
    try:
        line = process.stdout.readline() if process.stdout else ""
        match = _READY.match(line)
        if not match:
            process.wait(10)
            reader.join(5)
            raise SystemExit(f"{' '.join(command)} did not become ready:\n{''.join(log)}")
        yield match[1]
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def model_server(base: str, *options: str) -> list[str]:
    """The command of ``mtmh serve`` on a free port, without REST."""
    return ["tfx_pipeline.cli", "serve", "--model-base-path", base, "--port", "0", "--rest-port", "-1", *options]


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
