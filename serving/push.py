"""Publishes a version directory in one step: staged beside its place, synced, renamed."""

import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def staged(base: Path) -> Iterator[Path]:
    """Gives a new directory below ``base`` that no server takes for a version; it is gone at the end of the block."""
    base.mkdir(parents=True, exist_ok=True)
    directory = base / f".staging-{uuid.uuid4().hex}"
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
            version += 1
            continue
        _sync(base)
        return target


def versions(base: Path) -> list[int]:
    """The published versions, ascending."""
    return sorted(
        int(path.name) for path in base.iterdir() if path.name.isascii() and path.name.isdigit() and path.is_dir()
    )


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
