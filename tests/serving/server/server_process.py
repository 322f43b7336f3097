"""A server in a process of its own, as tests start it."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

_MAIN = """
import json, sys
from preprocessing.errors import UserError
from serving.server.config import ServerConfig
from serving.server.serve import serve
try:
    sys.exit(serve(ServerConfig(**json.loads(sys.argv[1]))))
except UserError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
"""
_LISTENING = re.compile(r"listening on gRPC ([^\s,]+), REST ([^\s,]+)(?:, monitoring ([^\s,]+))?")


def wait_for(condition: Callable[[], object], seconds: float = 180.0, what: str = "the condition") -> None:
    """Polls until the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not come true in {seconds} s"
        time.sleep(0.02)


@dataclasses.dataclass
class ServerProcess:
    """A running ``serve``; ``lines`` is its log so far."""

    process: subprocess.Popen[str]
    lines: list[str]
    output: list[str]

    @classmethod
    def start(cls, base: Path, **options: object) -> "ServerProcess":
        """Starts it; ``address`` and ``rest`` can be read at once, ``wait_ready`` waits for a version."""
        options = {"port": 0, "rest_port": 0, "poll_seconds": 0.1, "model_base_path": str(base), **options}
        process = subprocess.Popen(
            [sys.executable, "-c", _MAIN, json.dumps(options)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.getcwd()},
        )
        server = cls(process, [], [])
        for stream, lines in ((process.stderr, server.lines), (process.stdout, server.output)):
            threading.Thread(target=lambda s, into: into.extend(iter(s.readline, "")), args=(stream, lines)).start()
        return server

    def _listening(self) -> re.Match[str] | None:
        assert self.process.poll() is None, "".join(self.lines)
        return next((match for line in list(self.lines) if (match := _LISTENING.search(line))), None)

    @property
    def address(self) -> str:
        """``host:port`` of gRPC."""
        wait_for(self._listening)
        return self._listening()[1]

    @property
    def rest(self) -> str:
        """Base URL of REST."""
        wait_for(self._listening)
        return self._listening()[2]

    @property
    def monitoring(self) -> str:
        """Base URL of health and metrics, where they have a port of their own."""
        wait_for(self._listening)
        return self._listening()[3]

    def wait_ready(self) -> "ServerProcess":
        """Waits for the ready line."""
        wait_for(lambda: self.output or self.process.poll() is not None, what="the ready line")
        assert self.output, "".join(self.lines)
        return self

    def log(self) -> str:
        """The log so far."""
        return "".join(self.lines)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal and returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(30)
