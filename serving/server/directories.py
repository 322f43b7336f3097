"""The version directories under a model's base path, and whether one is still being written."""

from pathlib import Path
from typing import Final

SAVED_MODEL: Final = "saved_model.pb"
_MAX_VERSION: Final = 2**63 - 1

Fingerprint = tuple[tuple[str, int, int], ...]
"""Path, size in bytes and modification time in nanoseconds of every file."""


def find_versions(base: Path) -> dict[int, Path]:
    """The versions under a base path, by number; a directory without ``saved_model.pb`` is not one yet."""
    try:
        children = sorted(base.iterdir())
    except OSError:
        return {}
    return {
        int(child.name): child
        for child in children
        if child.name.isascii()
        and child.name.isdecimal()
        and int(child.name) <= _MAX_VERSION
        and (child / SAVED_MODEL).is_file()
    }


def fingerprint(path: Path) -> Fingerprint:
    """What changes while a directory is written; empty when it cannot be read."""
    try:
        files = sorted(file for file in path.rglob("*") if file.is_file())
        stats = [(file, file.stat()) for file in files]
    except OSError:
        return ()
    return tuple((str(file.relative_to(path)), stat.st_size, stat.st_mtime_ns) for file, stat in stats)
