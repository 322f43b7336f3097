"""Publishes a version directory in one step: staged beside its place, synced, renamed."""

import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

logger = logging.getLogger("mtmh.serving")

_STAGING: Final = ".staging-"
_ABANDONED_SECONDS: Final = 24 * 3600
"""Age from which a staging directory is taken for the remains of an export that was killed."""
_MAX_VERSION: Final = 2**63 - 1


@contextmanager
def staged(base: Path) -> Iterator[Path]:
    """Gives a new directory below ``base`` that no server takes for a version; it is gone at the end of the block.

    What an export that was killed left behind a day ago or earlier is removed.
    """
    base.mkdir(parents=True, exist_ok=True)
    _sweep(base)
    directory = base / f"{_STAGING}{uuid.uuid4().hex}"
    directory.mkdir()
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def publish(staging: Path, base: Path) -> Path:
    """Moves a complete staging directory to a new numeric version below ``base``, all of it or nothing.

    Versions are unix seconds, or one above the latest version where that is not smaller.
    """
    for directory, _, names in os.walk(staging):
        for name in names:
            _sync(Path(directory) / name)
        _sync(Path(directory))
    version = max([int(time.time()), *(1 + existing for existing in versions(base))])
    while True:
        target = base / str(version)
        try:
            os.rename(staging, target)
        except OSError:
            if not target.exists():
                raise
            version += 1  # another export was quicker
            continue
        _sync(base)
        return target


def versions(base: Path) -> list[int]:
    """The published versions, ascending."""
    return sorted(
        int(path.name)
        for path in base.iterdir()
        if path.name.isascii() and path.name.isdigit() and int(path.name) < _MAX_VERSION and path.is_dir()
    )


def _sweep(base: Path) -> None:
    for path in base.glob(f"{_STAGING}*"):
        with suppress(OSError):  # it is another export's to remove, or was just removed
            if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                logger.info("removing %s, left by an export that did not end", path)
                shutil.rmtree(path, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
