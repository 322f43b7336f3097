"""A candidate version in a server of its own: started, asked, measured and stopped, whatever it does."""

import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from preprocessing.errors import UserError
from serving.own_process import mtmh_command

NAME: Final = "candidate"
_VERSION: Final = "1"
_READY: Final = re.compile(r"ready: .*gRPC (\S+:\d+)")
_STOP_SECONDS: Final = 20.0
_LINES: Final = 3


class CandidateError(UserError):
    """The candidate's server crashed, hung or said no."""


class CandidateServer:
    """A running server.

    Attributes:
      address: of its gRPC API.
      load_seconds: from its start to its readiness.
    """

    def __init__(self, process: "subprocess.Popen[str]", log: Path, limit: float) -> None:
        """Waits until it is ready.

        Raises:
          CandidateError: it ends before, or isn't ready after ``limit`` seconds.
        """
        self._process, self._log = process, log
        started = time.monotonic()
        hung = threading.Event()

        def give_up() -> None:
            hung.set()
            process.kill()

        timer = threading.Timer(limit, give_up)
        timer.start()
        try:
            found = next((match for line in process.stdout or () if (match := _READY.match(line))), None)
        finally:
            timer.cancel()
        if found is None:
            process.wait()
            why = f"did not answer within {limit:g} s" if hung.is_set() else self.ending()
            raise CandidateError(f"the server {why} while it loaded the candidate{self._said()}")
        self.address = found.group(1)
        self.load_seconds = time.monotonic() - started

    def memory_mb(self) -> float:
        """Most memory that it has held so far."""
        try:
            status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        except OSError:
            return 0.0
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        return int(found.group(1)) / 1024 if found else 0.0

    def ending(self) -> str:
        """How it ended, in words; "still runs" where it hasn't."""
        code = self._process.poll()
        if code is None:
            return "still runs"
        return f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"

    def crashed(self) -> bool:
        """Whether it has ended, after the moment that a dying process takes."""
        try:
            self._process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _said(self) -> str:
        lines = [line.strip() for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        return f"; it said: {' / '.join(lines[-_LINES:])[:500]}" if lines else ""


@contextmanager
def running(version: Path, seconds: float) -> Iterator[CandidateServer]:
    """Serves a version directory by the embedded server in a process of its own, on a free port, to the block's end.

    Raises:
      CandidateError: it does not become ready within ``seconds``.
    """
    with tempfile.TemporaryDirectory(prefix="mtmh-candidate-") as directory:
        base = Path(directory) / NAME
        base.mkdir()
        (base / _VERSION).symlink_to(version.resolve(), target_is_directory=True)
        log = Path(directory) / "log"
        words = ["serve", "--model-base-path", str(base), "--require-version", "--port", "0", "--rest-port", "-1"]
        command = mtmh_command(*words, together=True)
        with log.open("w") as errors:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
            )
        try:
            yield CandidateServer(process, log, seconds)
        finally:
            _stop(process)


def _stop(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(timeout=_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout:
        process.stdout.close()
