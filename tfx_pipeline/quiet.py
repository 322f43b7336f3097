"""A run's screen holds our own lines alone: what libraries say goes to a file."""

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_CHATTY: Final = ("absl", "tensorflow", "apache_beam", "ml_metadata")
"""Loggers that call errors what a run then tells in words of its own, or mends."""


def _is_ours(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] not in _CHATTY


@contextlib.contextmanager
def only_our_lines(log: Path) -> Iterator[None]:
    """Keeps standard error for our loggers and progress bars; native code's and libraries' lines go to ``log``.

    Native libraries write to file descriptor 2 whatever Python says: that descriptor is pointed at the file, and what
    Python calls standard error at a copy of the old one.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr.flush()
    kept, screen = os.dup(2), sys.stderr
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    ours = os.fdopen(os.dup(kept), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    handlers = [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream is screen
    ]
    try:
        os.dup2(descriptor, 2)
        sys.stderr = ours
        for handler in handlers:
            handler.setStream(ours)
            handler.addFilter(_is_ours)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        ours.flush()
        sys.stderr = screen
        for handler in handlers:
            handler.setStream(screen)
            handler.removeFilter(_is_ours)
        os.dup2(kept, 2)
        for number in (kept, descriptor):
            os.close(number)
        ours.close()
