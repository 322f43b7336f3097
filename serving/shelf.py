"""Where published versions stand: one contract for a local directory and for a bucket."""

import time
from collections.abc import Collection
from pathlib import Path
from typing import Protocol

from serving.stores.objects import is_bucket, open_store
from serving.version_manifest import VersionManifest


class Shelf(Protocol):
    """Versions of one model below a base path, none of which changes once it can be seen.

    Attributes:
      base: the path as a user would name it.
    """

    base: str

    def versions(self) -> list[int]:
        """The complete versions, ascending: the last one is what a server answers with."""

    def incomplete(self) -> list[int]:
        """Numbers that a push has begun to fill or a removal to empty."""

    def manifest(self, version: int) -> VersionManifest:
        """What a version says of itself; where it says nothing, what is found in it.

        Raises:
          FileNotFoundError: there is no such version.
          ValueError: its manifest is damaged.
        """

    def found(self, version: int) -> VersionManifest:
        """What is in a version now, by reading all of it."""

    def put(self, source: Path, manifest: VersionManifest, *, move: bool = False) -> int:
        """Publishes a local directory as a version above all others; returns its number.

        Args:
          source: the directory.
          manifest: of its files; checked against what has arrived before anybody can see it.
          move: the directory is not needed any more.
        """

    def repeat(self, version: int, manifest: VersionManifest) -> int:
        """Publishes the content of a version once more, above all others; returns the new number."""

    def remove(self, version: int) -> None:
        """Takes a version away; at no moment is a part of it seen as a version."""

    def sweep(self) -> None:
        """Removes what pushes and removals that were killed have left."""

    def path(self, version: int) -> str:
        """Where a version is."""


def open_shelf(base: str | Path) -> Shelf:
    """The shelf of a local directory or of ``s3://bucket/path`` or ``gs://bucket/path``.

    Raises:
      UserError: the URL is of no known store.
    """
    if is_bucket(str(base)):
        from serving.bucket_shelf import BucketShelf

        store, prefix = open_store(str(base))
        return BucketShelf(store, prefix, str(base).rstrip("/"))
    from serving.local_shelf import LocalShelf

    return LocalShelf(Path(base))


def next_version(taken: Collection[int]) -> int:
    """The number of a new version: unix seconds, or one above the highest taken where that is not smaller."""
    return max([int(time.time()), *(number + 1 for number in taken)])
