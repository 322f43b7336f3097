"""Brings the version that a bucket serves to a local directory: for servers that read no bucket of that kind.

TF Serving reads ``gs://`` itself, and ``s3://`` no longer since its 2.7. A process beside it keeps its directory in
step with the bucket: a version arrives under its own number, checked and whole, by one rename.
"""

import logging
import threading
from pathlib import Path

from preprocessing.errors import UserError
from serving.local_shelf import LocalShelf, alone, staged
from serving.push import retire
from serving.shelf import open_shelf
from serving.stores.objects import is_bucket
from serving.stores.trees import get_tree
from serving.version_manifest import describe, differences

logger = logging.getLogger("mtmh.serving")


def mirror(source: str, base: Path, keep: int | None = None) -> int | None:
    """Brings the highest version of a bucket, if it is not there yet.

    Args:
      source: ``s3://bucket/path`` or ``gs://bucket/path`` of the versions.
      base: the local directory of versions; nothing else should push there.
      keep: how many versions stay in it.

    Returns:
      The version's number; None where the bucket has none.

    Raises:
      UserError: the source is no bucket, or the version that arrived is not what its manifest says.
    """
    if not is_bucket(source):
        raise UserError(f"{source} is no bucket; a server reads a local directory itself, name it there")
    remote, local = open_shelf(source), LocalShelf(base)
    found = remote.versions()
    if not found:
        return None
    version = found[-1]
    with alone(base):
        local.sweep()
        if version not in local.versions():
            manifest = remote.manifest(version)
            with staged(base) as staging:
                get_tree(remote.path(version), staging / "version")
                wrong = differences(manifest, describe(staging / "version"))
                if wrong:
                    raise UserError(f"{remote.path(version)} did not arrive whole ({wrong[0]}); it is tried again")
                if not local.place(staging / "version", version):
                    raise UserError(f"{local.path(version)} stands in the way of a version: move it away")
            logger.info("version %d of %s is in %s", version, source, base)
        retire(local, keep, {version})
    return version


def keep_in_step(source: str, base: Path, keep: int | None, seconds: float, stop: threading.Event) -> None:
    """Looks at the bucket again and again, whatever went wrong the last time."""
    while not stop.is_set():
        try:
            mirror(source, base, keep)
        except (UserError, OSError) as error:
            logger.warning("looking at %s failed: %s", source, " ".join(str(error).split()))
        stop.wait(seconds)
