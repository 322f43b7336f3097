"""Versions in a local directory: staged beside their place, synced, renamed."""

import contextlib
import errno
import fcntl
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from preprocessing.errors import UserError
from serving.shelf import next_version
from serving.version_manifest import (
    MANIFEST,
    SAVED_MODEL,
    VersionManifest,
    describe,
    differences,
    version_number,
)

logger = logging.getLogger("mtmh.serving")

_STAGING: Final = ".staging-"
_UNCLAIMED: Final = ".unclaimed-"
_TRASH: Final = ".trash-"
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)
_UNCLAIMED_SECONDS: Final = 3600
"""A directory is claimed within microseconds of its making; one that never was is removed at this age."""


class LocalShelf:
    """A directory of versions, see `serving.shelf.Shelf`."""

    def __init__(self, base: Path) -> None:
        """Args: the directory; made by the first push."""
        self.base = str(base)
        self._base = base

    def versions(self) -> list[int]:
        """The complete versions, ascending."""
        return [number for number in self._numbers() if (self._base / str(number) / SAVED_MODEL).is_file()]

    def incomplete(self) -> list[int]:
        """Directories with a version's name and no model."""
        return [number for number in self._numbers() if not (self._base / str(number) / SAVED_MODEL).is_file()]

    def manifest(self, version: int) -> VersionManifest:
        """What a version says of itself."""
        directory = self._directory(version)
        try:
            return VersionManifest.from_json((directory / MANIFEST).read_bytes())
        except FileNotFoundError:
            return describe(directory)

    def found(self, version: int) -> VersionManifest:
        """What is in a version now."""
        return describe(self._directory(version))

    def put(self, source: Path, manifest: VersionManifest, *, move: bool = False) -> int:
        """Publishes a directory."""
        try:
            return self._put(source, manifest, move)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            why = f"{error.strerror} for a version of {manifest.size / 1e6:,.1f} MB"
            raise OSError(error.errno, why, self.base) from error

    def _put(self, source: Path, manifest: VersionManifest, move: bool) -> int:
        with staged(self._base) as staging:
            version = staging / "version"
            if not (move and _renamed(source, version)):
                _copy(source, version)
            (version / MANIFEST).unlink(missing_ok=True)
            wrong = differences(manifest, describe(version))
            if wrong:
                raise UserError(f"{source} changed or was damaged while it was pushed ({wrong[0]}); push it again")
            (version / MANIFEST).parent.mkdir(exist_ok=True)
            (version / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
            return self._publish(version)

    def repeat(self, version: int, manifest: VersionManifest) -> int:
        """Publishes the content of a version once more."""
        return self.put(self._directory(version), manifest)

    def remove(self, version: int) -> None:
        """Takes a version away."""
        trash = self._base / f"{_TRASH}{version}-{uuid.uuid4().hex}"
        with contextlib.suppress(FileNotFoundError):  # another push was quicker
            os.rename(self._base / str(version), trash)
        _sync(self._base)
        shutil.rmtree(trash, ignore_errors=True)

    def sweep(self) -> None:
        """Removes what was left by the killed."""
        if self._base.is_dir():
            _sweep(self._base)

    def path(self, version: int) -> str:
        """Where a version is."""
        return str(self._base / str(version))

    def _numbers(self) -> list[int]:
        if not self._base.is_dir():
            return []
        found = (version_number(path.name) for path in self._base.iterdir() if path.is_dir())
        return sorted(number for number in found if number is not None)

    def _directory(self, version: int) -> Path:
        directory = self._base / str(version)
        if not directory.is_dir():
            raise FileNotFoundError(f"{directory} is not there")
        return directory

    def place(self, staging: Path, version: int) -> bool:
        """Gives a staged directory a number, in one step; False where something stands there."""
        for directory, _, names in os.walk(staging):
            for name in names:
                _sync(Path(directory) / name)
            _sync(Path(directory))
        return self._renamed_to(staging, version)

    def _publish(self, staging: Path) -> int:
        version = next_version(self._numbers())
        while not self.place(staging, version):
            version += 1  # another push was quicker
        return version

    def _renamed_to(self, staging: Path, version: int) -> bool:
        target = self._base / str(version)
        # Onto an empty directory a rename would succeed: nothing may stand there.
        if os.path.lexists(target):
            return False
        try:
            os.rename(staging, target)
        except OSError:
            if not target.exists():
                raise
            return False
        _sync(self._base)
        return True


@contextmanager
def staged(base: Path) -> Iterator[Path]:
    """Gives a new directory below ``base`` that no server takes for a version; it is gone at the end of the block.

    It is claimed while the process lives, however that ends: what the killed have left is removed by the next.
    """
    base.mkdir(parents=True, exist_ok=True)
    _sweep(base)
    identity = uuid.uuid4().hex
    unclaimed, directory = base / f"{_UNCLAIMED}{identity}", base / f"{_STAGING}{identity}"
    unclaimed.mkdir()
    claim = _claim(unclaimed)
    try:
        os.rename(unclaimed, directory)  # only now: nobody sweeps it away before it is claimed
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        if claim is not None:
            os.close(claim)


@contextmanager
def alone(base: Path) -> Iterator[None]:
    """Lets one push or rollback at a time look at what is published and add to it; the others wait."""
    base.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(base, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a network filesystem without locks: versions still never mix
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _renamed(source: Path, target: Path) -> bool:
    try:
        os.rename(source, target)
    except OSError:  # on another filesystem
        return False
    return True


def _copy(source: Path, target: Path) -> None:
    """Copies a directory.

    Raises:
        OSError: the first fault, which `shutil.Error` would tell without its number.
    """
    faults: list[OSError] = []

    def copy(file: str, to: str) -> None:
        try:
            shutil.copy2(file, to)
        except OSError as error:
            faults.append(error)
            raise

    try:
        shutil.copytree(source, target, copy_function=copy)
    except shutil.Error:
        if not faults:
            raise
        raise faults[0] from None


def _claim(directory: Path) -> int | None:
    """Claims a directory until the descriptor is closed, by this process or its end; None where another has it."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _sweep(base: Path) -> None:
    for path in base.glob(f"{_TRASH}*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in base.glob(f"{_UNCLAIMED}*"):
        with contextlib.suppress(OSError):  # just claimed, or removed
            if time.time() - path.stat().st_mtime > _UNCLAIMED_SECONDS:
                path.rmdir()
    for path in base.glob(f"{_STAGING}*"):
        with contextlib.suppress(OSError):  # just removed by its owner
            claim = _claim(path)
            if claim is not None:
                logger.info("removing %s, left by a push that did not end", path)
                shutil.rmtree(path, ignore_errors=True)
                os.close(claim)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
