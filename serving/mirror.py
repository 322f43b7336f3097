"""Brings the version that a bucket serves to a local directory: for servers that read no bucket of that kind.

TF Serving reads ``gs://`` itself, and ``s3://`` no longer since its 2.7. A process beside it keeps its directory in
step with the bucket: a version arrives under its own number, checked and whole, by one rename.
"""

import logging
import threading
from collections.abc import Collection
from pathlib import Path

from preprocessing.errors import UserError
from serving.local_shelf import LocalShelf, alone, staged
from serving.push import retire
from serving.shelf import Shelf, open_shelf
from serving.stores.objects import is_bucket
from serving.stores.trees import get_tree
from serving.version_manifest import describe, differences

logger = logging.getLogger("mtmh.serving")


def mirror(source: str, base: Path, keep: int | None = None, pinned: Collection[int] = ()) -> int | None:
    """Brings the highest version of a bucket, and those that are pinned, if they are not there yet.

    Args:
      source: ``s3://bucket/path`` or ``gs://bucket/path`` of the versions.
      base: the local directory of versions; nothing else should push there.
      keep: how many versions stay in it.
      pinned: versions that the server holds by number: they stay whatever their age.

    Returns:
      The highest version's number; None where the bucket has none.

    Raises:
      UserError: the source is no bucket, lacks a pinned version that is not there yet, or a version that arrived is not
        what its manifest says, or that is damaged itself.
    """
    if not is_bucket(source):
        raise UserError(f"{source} is no bucket; a server reads a local directory itself, name it there")
    remote, local = open_shelf(source), LocalShelf(base)
    found = remote.versions()
    if not found:
        return None
    highest = found[-1]
    with alone(base):
        local.sweep()
        _bring(remote, local, highest)
        retire(local, keep, {highest, *pinned})
        for version in sorted(set(pinned) - set(local.versions())):
            if version not in found:
                raise UserError(f"{source} holds no version {version}; there are {', '.join(map(str, found))}")
            _bring(remote, local, version)
    return highest


def _bring(remote: Shelf, local: LocalShelf, version: int) -> None:
    if version in local.versions():
        return
    try:
        manifest = remote.manifest(version)
    except ValueError as error:
        raise UserError(
            f"the manifest of {remote.path(version)} is damaged ({error}); push another, or `mtmh rollback`"
        ) from error
    with staged(Path(local.base)) as staging:
        get_tree(remote.path(version), staging / "version")
        wrong = differences(manifest, describe(staging / "version"))
        if wrong:
            raise UserError(f"{remote.path(version)} did not arrive whole ({wrong[0]}); it is tried again")
        if not local.place(staging / "version", version):
            raise UserError(f"{local.path(version)} stands in the way of a version: move it away")
    logger.info("version %d of %s is in %s", version, remote.base, local.base)


def keep_in_step(
    source: str, base: Path, keep: int | None, seconds: float, stop: threading.Event, pinned: Collection[int] = ()
) -> None:
    """Looks at the bucket again and again, whatever went wrong the last time."""
    while not stop.is_set():
        try:
            mirror(source, base, keep, pinned)
        except (UserError, OSError) as error:
            logger.warning("looking at %s failed: %s", source, " ".join(str(error).split()))
        stop.wait(seconds)
