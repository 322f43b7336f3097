"""Versions in a bucket, which has no rename: ``saved_model.pb`` arrives last and leaves first.

A version of a bucket is a number below which there is a ``saved_model.pb``. A push

1. uploads all files below a name that is no number, reads them back and compares their SHA-256;
2. claims a number that nobody has used, by an object that can be created only once;
3. copies the files to it within the store, ``saved_model.pb`` last;
4. removes claim and staging.

Killed before the last copy, it leaves a number without ``saved_model.pb``: our server takes it for no version, TF
Serving finds that it cannot load it and stays with the one it has. The next push has a higher number.
"""

import logging
import uuid
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Final

from preprocessing.errors import UserError
from serving.shelf import next_version
from serving.stores.objects import ObjectStore, read
from serving.version_manifest import (
    MANIFEST,
    MODEL_CARD,
    SAVED_MODEL,
    VersionFile,
    VersionManifest,
    content_of,
    differences,
    digest_of,
    version_number,
)

logger = logging.getLogger("mtmh.serving")

_STAGING: Final = ".staging-"
_CLAIMS: Final = ".claims/"
ABANDONED_SECONDS: Final = 6 * 3600.0
"""Age of its youngest object from which what is incomplete is taken for the remains of a push that was killed."""


class BucketShelf:
    """Versions below a name of a bucket, see `serving.shelf.Shelf`."""

    def __init__(self, store: ObjectStore, prefix: str, base: str, abandoned_seconds: float | None = None) -> None:
        """Args are the bucket, the name in it, how a user names both, and the age from which remains are swept."""
        self.base = base
        self._store = store
        self._prefix = f"{prefix}/" if prefix else ""
        self._abandoned_seconds = ABANDONED_SECONDS if abandoned_seconds is None else abandoned_seconds

    def versions(self) -> list[int]:
        """The complete versions, ascending."""
        return sorted(number for number, files in self._numbers().items() if SAVED_MODEL in files)

    def incomplete(self) -> list[int]:
        """Numbers without ``saved_model.pb``."""
        return sorted(number for number, files in self._numbers().items() if SAVED_MODEL not in files)

    def manifest(self, version: int) -> VersionManifest:
        """What a version says of itself."""
        try:
            return VersionManifest.from_json(read(self._store, f"{self._prefix}{version}/{MANIFEST}"))
        except FileNotFoundError:
            return self.found(version)

    def found(self, version: int) -> VersionManifest:
        """What is in a version now."""
        found = self._described(f"{self._prefix}{version}/")
        if not found.files:
            raise FileNotFoundError(f"{self.path(version)} is not there")
        return found

    def put(self, source: Path, manifest: VersionManifest, *, move: bool = False) -> int:
        """Publishes a local directory."""
        staging = f"{self._prefix}{_STAGING}{uuid.uuid4().hex}/"
        try:
            for file in manifest.files:
                self._store.upload(source / file.path, staging + file.path)
            wrong = differences(manifest, self._described(staging))
            if wrong:
                raise UserError(f"{source} changed or was damaged while it was pushed ({wrong[0]}); push it again")
            return self._publish(staging, manifest)
        finally:
            self._store.delete(list(self._store.sizes(staging)))

    def repeat(self, version: int, manifest: VersionManifest) -> int:
        """Publishes the content of a version once more."""
        return self._publish(f"{self._prefix}{version}/", manifest)

    def remove(self, version: int) -> None:
        """Takes a version away."""
        self._remove(f"{self._prefix}{version}/")

    def sweep(self) -> None:
        """Removes what was left by the killed, once it is old: stagings, claims, and numbers without a model.

        Such a number goes only where a claim or a manifest says that it is ours: a directory that merely looks like a
        version, such as a year's logs, is somebody else's.
        """
        groups: dict[str, dict[str, float]] = {}
        for name, age in self._store.ages(self._prefix).items():
            groups.setdefault(self._group(name), {})[name] = age
        for group, ages in groups.items():
            names = self._remains(group, ages.keys())
            if names and min(ages.values()) >= self._abandoned_seconds:
                logger.info("removing %s/%s, left by a push or a removal that did not end", self.base, group)
                self._store.delete(names)

    def path(self, version: int) -> str:
        """Where a version is."""
        return f"{self.base}/{version}"

    def _publish(self, source: str, manifest: VersionManifest) -> int:
        version = next_version([*self._numbers(), *self._claimed()])
        while not self._claim(version):
            version += 1  # another push was quicker
        target = f"{self._prefix}{version}/"
        for file in _loader_first_last(manifest.files):
            if file.path == SAVED_MODEL:
                self._store.write(target + MANIFEST, manifest.to_json().encode("utf-8"))
                self._check_arrived(target, manifest)
            self._store.copy(source + file.path, target + file.path)
        self._store.delete([self._claim_name(version)])
        return version

    def _check_arrived(self, target: str, manifest: VersionManifest) -> None:
        sizes = self._store.sizes(target)
        for file in manifest.files:
            if file.path != SAVED_MODEL and sizes.get(target + file.path) != file.size:
                raise UserError(f"{self.base}: {target + file.path} did not arrive whole; push again")

    def _claim(self, version: int) -> bool:
        """Claims a number that no push uses or has used."""
        if not self._store.create(self._claim_name(version), uuid.uuid4().hex.encode()):
            return False
        if self._store.sizes(f"{self._prefix}{version}/"):  # published, and its claim given up, since we looked
            self._store.delete([self._claim_name(version)])
            return False
        return True

    def _claim_name(self, version: int) -> str:
        return f"{self._prefix}{_CLAIMS}{version}"

    def _claimed(self) -> list[int]:
        start = f"{self._prefix}{_CLAIMS}"
        numbers = (version_number(name.removeprefix(start)) for name in self._store.sizes(start))
        return [number for number in numbers if number is not None]

    def _numbers(self) -> dict[int, set[str]]:
        """Names of the files below each number."""
        numbers: dict[int, set[str]] = {}
        for name in self._store.sizes(self._prefix):
            head, _, rest = name.removeprefix(self._prefix).partition("/")
            number = version_number(head)
            if number is not None and rest:
                numbers.setdefault(number, set()).add(rest)
        return numbers

    def _group(self, name: str) -> str:
        """What a name belongs to: a version's number, whose claim does too, or a staging."""
        rest = name.removeprefix(self._prefix)
        return rest.removeprefix(_CLAIMS).partition("/")[0]

    def _remains(self, group: str, names: Collection[str]) -> list[str]:
        """What a push or a removal has left of a group, in the order in which it may go; nothing of what is whole."""
        claim, below = f"{self._prefix}{_CLAIMS}{group}", f"{self._prefix}{group}/"
        if group.startswith(_STAGING):
            return list(names)
        if version_number(group) is None:
            return []
        if below + SAVED_MODEL in names:
            return [claim] if claim in names else []
        marks = [mark for mark in (below + MANIFEST, claim) if mark in names]
        return [*(name for name in names if name not in marks), *marks] if marks else []

    def _described(self, prefix: str) -> VersionManifest:
        names = [name.removeprefix(prefix) for name in self._store.sizes(prefix)]
        chunks: Callable[[str], Iterable[bytes]] = self._store.chunks
        files = [digest_of(name, chunks(prefix + name)) for name in names if name and name != MANIFEST]
        content = content_of(read(self._store, prefix + MODEL_CARD)) if MODEL_CARD in names else ""
        return VersionManifest(tuple(sorted(files, key=lambda file: file.path)), content=content)

    def _remove(self, prefix: str) -> None:
        """Deletes the file that a loader opens first before all others, and last what says that the rest is ours."""
        order = {prefix + SAVED_MODEL: 0, prefix + MANIFEST: 2}
        self._store.delete(sorted(self._store.sizes(prefix), key=lambda name: order.get(name, 1)))


def _loader_first_last(files: Iterable[VersionFile]) -> list[VersionFile]:
    """The files in an order in which the one that a loader opens first comes last."""
    return sorted(files, key=lambda file: file.path == SAVED_MODEL)
