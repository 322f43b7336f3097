"""Artifacts as local directories, wherever their URIs point.

The functions that components wrap read and write local files. A local URI is used as it is; a remote one (a bucket, on
Kubeflow) is copied to a temporary directory and back.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tfx.dsl.io import fileio
from tfx.types.artifact import Artifact
from tfx.types.artifact_utils import get_single_instance

from preprocessing.files import is_local

Artifacts = dict[str, list[Artifact]]


def only(artifacts: Artifacts, key: str) -> Artifact:
    """The one artifact of a channel."""
    return get_single_instance(artifacts[key])


@contextlib.contextmanager
def readable(artifacts: Artifacts, key: str) -> Iterator[Path]:
    """A local directory with an input artifact's files."""
    uri = str(only(artifacts, key).uri)
    if is_local(uri):
        yield Path(uri)
        return
    with tempfile.TemporaryDirectory(prefix="mtmh-") as directory:
        _copy_tree(uri, directory)
        yield Path(directory)


@contextlib.contextmanager
def writable(artifacts: Artifacts, key: str) -> Iterator[Path]:
    """A local directory that becomes an output artifact's when the block ends without an exception."""
    uri = str(only(artifacts, key).uri)
    if is_local(uri):
        os.makedirs(uri, exist_ok=True)
        yield Path(uri)
        return
    with tempfile.TemporaryDirectory(prefix="mtmh-") as directory:
        yield Path(directory)
        _copy_tree(directory, uri)


def link_tree(source: Path, target: Path) -> None:
    """Makes ``target`` hold the same files as ``source``, as hard links where the filesystem has them.

    What reads or replaces files on one side does not touch the other; nothing here is ever changed in place.
    """
    shutil.copytree(source, target, copy_function=_link, dirs_exist_ok=True)


def _link(source: str, target: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.remove(target)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _copy_tree(source: str, target: str) -> None:
    """Copies all files below a directory; either side may be remote."""
    for directory, _, names in fileio.walk(source):
        below = os.path.relpath(directory, source)
        place = target if below == os.curdir else os.path.join(target, below)
        fileio.makedirs(place)
        for name in names:
            fileio.copy(os.path.join(directory, name), os.path.join(place, name), overwrite=True)
