"""A directory on this machine that is written beside the one it replaces, and takes its name when all is written.

It is claimed while its process lives, however that ends: what the killed have left is put right by whoever comes next.
"""

import contextlib
import fcntl
import glob
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

_STAGED = ".tmp"
_OLD = ".old"
_ID_LENGTH = 12


@contextlib.contextmanager
def exchanging(output: Path) -> Iterator[Path]:
    """Gives a new directory that replaces ``output`` when the block ends without an exception; else it is removed.

    Raises:
      OSError: it cannot be made, or not put in place; then an earlier output stays.
    """
    place = followed(str(output))
    sweep(place)
    directory = staged_name(place)
    lock = claim(directory)
    try:
        yield Path(directory)
        exchange(directory, place)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        release(lock)


def followed(output: str) -> str:
    """Where an output really is: a symbolic link stays one, and what it points at is replaced."""
    return os.path.realpath(output) if os.path.islink(output) else output


def staged_name(output: str) -> str:
    """A new name beside an output, which `sweep` knows."""
    parent, name = os.path.split(output)
    return os.path.join(parent, f".{name}.{uuid.uuid4().hex[:_ID_LENGTH]}{_STAGED}")


def claim(directory: str) -> int:
    """Makes a directory with a staged name, and gives what `release` takes; raises ``OSError``."""
    # It takes its name when it is claimed, so that no other run sweeps it away before.
    unclaimed = directory.removesuffix(_STAGED)
    os.makedirs(unclaimed)
    lock = _lock(unclaimed)
    os.rename(unclaimed, directory)
    return lock


def release(lock: int) -> None:
    """Gives up a claim; so does the end of the process, however it ends."""
    if lock >= 0:
        os.close(lock)


def exchange(directory: str, output: str) -> None:
    """Puts a claimed directory in an output's place; raises ``OSError``, and then the earlier output is there still."""
    if os.path.isdir(output):
        old = f"{directory}{_OLD}"
        os.rename(output, old)
        try:
            os.rename(directory, output)
        except OSError:
            os.rename(old, output)
            raise
        shutil.rmtree(old, ignore_errors=True)
        return
    os.rename(directory, output)


def sweep(output: str) -> None:
    """Removes what runs that were killed have left beside an output; where they have left none, the earlier is back."""
    output = followed(output)
    parent, name = os.path.split(output)
    pattern = os.path.join(glob.escape(parent), f".{glob.escape(name)}.{'[0-9a-f]' * _ID_LENGTH}{_STAGED}")
    for path in glob.glob(pattern):
        with contextlib.suppress(OSError), _locked(path) as mine:
            if mine:
                # Killed between the two renames of an exchange, a run leaves the earlier output under this name.
                if os.path.isdir(path + _OLD) and not os.path.lexists(output):
                    os.rename(path + _OLD, output)
                shutil.rmtree(path, ignore_errors=True)
    for old in glob.glob(pattern + _OLD):
        if not os.path.lexists(old.removesuffix(_OLD)):
            shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def _locked(directory: str) -> Iterator[bool]:
    """Whether nobody has a claim to a directory; then it is this block's."""
    lock = _lock(directory)
    try:
        yield lock >= 0
    finally:
        release(lock)


def _lock(directory: str) -> int:
    """Claims a staging directory until the process ends; -1 where it is claimed, or such locks are unknown."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return -1
    return descriptor
