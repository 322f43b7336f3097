"""Keeps what TensorFlow's native code prints on being imported out of an operator's log."""

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Final

_CHATTER: Final = (
    b"Unable to register cu",
    b"computation placer already registered",
    b"All log messages before absl::",
)
"""Lines that TensorFlow prints on machines without a GPU before its log level is in force."""
_STDERR: Final = 2


@contextlib.contextmanager
def without_import_chatter() -> Iterator[None]:
    """Passes standard error on, of all threads and of native code, without the lines that say nothing to anyone."""
    saved = os.dup(_STDERR)
    reading, writing = os.pipe()
    os.dup2(writing, _STDERR)
    os.close(writing)
    thread = threading.Thread(target=_forward, args=(reading, saved), daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.dup2(saved, _STDERR)
        thread.join(timeout=5.0)
        if not thread.is_alive():
            os.close(saved)


def _forward(reading: int, target: int) -> None:
    with os.fdopen(reading, "rb") as lines:
        for line in lines:
            if not any(mark in line for mark in _CHATTER):
                os.write(target, line)
