"""One process at a time in a directory."""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from preprocessing.errors import UserError

logger = logging.getLogger("mtmh.run")


@contextmanager
def alone(directory: Path, work: str, lock: Path | None = None) -> Iterator[None]:
    """Holds a directory for this process, and makes it; a kill lets go of it.

    The lock is a file, by default beside the directory, so that it holds for whatever takes the directory's place.

    Args:
      directory: where the work is done.
      work: what it is, for the one that finds another at it.
      lock: the file, for a directory whose place nothing takes and beside which nobody need be allowed to write.

    Raises:
      UserError: another process holds it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    lock = lock or directory.with_name(f".{directory.name}.lock")
    descriptor = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another {work} is at work in {directory}; wait for it, or end it") from None
        except OSError as error:
            logger.warning("%s has no locks (%s): see that no other %s is at work in it", directory, error, work)
        yield
    finally:
        os.close(descriptor)
