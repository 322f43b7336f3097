"""Publishing a version, going back to an earlier one, and what there is: the same for a directory and a bucket."""

import contextlib
import dataclasses
import logging
from collections.abc import Collection
from pathlib import Path

from preprocessing.errors import UserError
from serving.local_shelf import alone
from serving.shelf import Shelf, open_shelf
from serving.stores.objects import is_bucket
from serving.version_manifest import SAVED_MODEL, VersionManifest, describe, differences

logger = logging.getLogger("mtmh.serving")


@dataclasses.dataclass(frozen=True)
class Pushed:
    """What a server is to answer with.

    Attributes:
      version: its number.
      path: its directory, or URL in a bucket.
      new: whether it was published by this call; False where the highest version has that content already.
      digest: names its content, see `serving.version_manifest.VersionManifest.digest`.
      rollback_of: the version whose content a rollback repeated.
    """

    version: int
    path: str
    new: bool
    digest: str
    rollback_of: int | None = None


@dataclasses.dataclass(frozen=True)
class VersionState:
    """One version as it stands.

    Attributes:
      version, path: its number and where it is.
      manifest: what it says of itself; None where that is damaged, or there is no whole version.
      status: ``served`` (the highest complete one), ``kept``, ``withdrawn`` (by a rollback), ``incomplete`` or
        ``damaged``.
      faults: what is wrong with it, a line each.
    """

    version: int
    path: str
    manifest: VersionManifest | None
    status: str
    faults: tuple[str, ...] = ()


def push(
    source: Path, base: str | Path, keep: int | None = None, *, protect: Collection[int] = (), move: bool = False
) -> Pushed:
    """Publishes a SavedModel as the highest version below ``base``, all of it or nothing.

    Where the highest version has the same content, that one is the result: the same files, or others that were built of
    the same weights, items, options and code.

    Args:
      source: the directory that holds ``saved_model.pb``.
      base: a local directory, or ``s3://bucket/path`` or ``gs://bucket/path``.
      keep: how many versions stay, the new one included; None removes none.
      protect: versions that stay whatever their age.
      move: the directory is not needed any more, so that it need not be copied.

    Raises:
      UserError: the source is no SavedModel; a rollback has withdrawn that very content; the store refuses.
    """
    if not (source / SAVED_MODEL).is_file():
        raise UserError(f"{source} is no exported model: {SAVED_MODEL} is missing; `mtmh export` makes one")
    content = describe(source)
    shelf = open_shelf(base)
    with _alone(base):
        shelf.sweep()
        latest = _latest(shelf)
        withdrawn: tuple[str, ...] = ()
        if latest is not None:
            version, manifest = latest
            withdrawn = manifest.withdrawn
            same_files = manifest.files == content.files
            if manifest.digest == content.digest and (same_files or _is_whole(shelf, version, manifest)):
                logger.info("%s has this content already", shelf.path(version))
                return Pushed(version, shelf.path(version), False, content.digest, manifest.rollback_of)
        if content.digest in withdrawn:
            earlier = [number for number in shelf.versions() if _digest(shelf, number) == content.digest]
            how = f" or bring it back with `mtmh rollback --to {earlier[-1]}`" if earlier else ""
            raise UserError(f"a rollback has withdrawn this content from {shelf.base}; push another model{how}")
        version = shelf.put(source, content.stamped(withdrawn=withdrawn), move=move)
        retire(shelf, keep, {version, *protect})
    return Pushed(version, shelf.path(version), True, content.digest)


def rollback(base: str | Path, to: int | None = None) -> Pushed:
    """Publishes the content of an earlier version once more, as the highest.

    A server that answers with the highest version follows by itself, as it follows a push; nothing is taken from under
    one that is loading, a number never means two models, and what was served can be looked at. The content that is left
    is marked, so that no retry of its push brings it back.

    Args:
      base: a local directory or a bucket's URL, as for `push`.
      to: the version to go back to; None for the last one with another content that no rollback has withdrawn.

    Raises:
      UserError: there is no such version, or it is damaged.
    """
    shelf = open_shelf(base)
    with _alone(base):
        current, manifest, target = _way_back(shelf, to)
        wanted = _whole(shelf, target)
        if wanted.digest == manifest.digest and _is_whole(shelf, current, manifest):
            return Pushed(current, shelf.path(current), False, wanted.digest, manifest.rollback_of)
        shelf.sweep()
        # The content that is left comes last; where a damaged copy is left, it is the one that is wanted.
        withdrawn = [digest for digest in manifest.withdrawn if digest != manifest.digest] + [manifest.digest]
        left = [digest for digest in withdrawn if digest != wanted.digest]
        version = shelf.repeat(target, wanted.stamped(target, left))
    return Pushed(version, shelf.path(version), True, wanted.digest, target)


def way_back(base: str | Path, to: int | None = None) -> int:
    """The version that `rollback` would go back to; it raises what that would."""
    shelf = open_shelf(base)
    _, _, target = _way_back(shelf, to)
    _whole(shelf, target)
    return target


def same_content(base: str | Path, other: str | Path, version: int) -> list[int]:
    """The versions below ``base`` made of the same as a version below ``other``, ascending."""
    wanted = _digest(open_shelf(other), version)
    shelf = open_shelf(base)
    return [number for number in shelf.versions() if wanted and _digest(shelf, number) == wanted]


def history(base: str | Path, *, verify: bool = False) -> list[VersionState]:
    """The versions below ``base``, ascending, and what stands of them.

    Args:
      base: a local directory or a bucket's URL.
      verify: read every file and compare its SHA-256.
    """
    shelf = open_shelf(base)
    complete = shelf.versions()
    states, withdrawn = [], set[str]()
    for version in reversed(complete):
        try:
            manifest = shelf.manifest(version)
        except (ValueError, OSError) as error:
            states.append(VersionState(version, shelf.path(version), None, "damaged", (str(error),)))
            continue
        faults = tuple(differences(manifest, shelf.found(version))) if verify else ()
        status = "damaged" if faults else "withdrawn" if manifest.digest in withdrawn else "kept"
        if version == complete[-1]:
            withdrawn = set(manifest.withdrawn)
            status = "damaged" if faults else "served"
        states.append(VersionState(version, shelf.path(version), manifest, status, faults))
    for version in shelf.incomplete():
        line = f"{SAVED_MODEL} is missing: no server takes it; later pushes remove it if it is what a push has left"
        states.append(VersionState(version, shelf.path(version), None, "incomplete", (line,)))
    return sorted(states, key=lambda state: state.version)


def origin(base: str | Path) -> int | None:
    """The version that was pushed with the content that is served now: the highest one, unless that is a rollback.

    What is kept of a push under its number (weights, measurements) is found by it. None where nothing is served.
    """
    shelf = open_shelf(base)
    latest = _latest(shelf)
    if latest is None:
        return None
    version, manifest = latest
    while manifest.rollback_of is not None:
        version = manifest.rollback_of
        try:
            manifest = shelf.manifest(version)
        except (OSError, ValueError):  # since removed: a rollback to a rollback leads no further
            break
    return version


def retire(shelf: Shelf, keep: int | None, stay: Collection[int]) -> None:
    """Removes the oldest versions beyond ``keep``, never one of ``stay`` nor the highest; None removes nothing."""
    if keep is None:
        return
    for version in shelf.versions()[: -max(keep, 1)]:
        if version not in stay:
            logger.info("removing version %d: %d are kept", version, keep)
            shelf.remove(version)


def versions(base: str | Path) -> list[int]:
    """The complete versions below ``base``, ascending."""
    return open_shelf(base).versions()


def _alone(base: str | Path) -> contextlib.AbstractContextManager[None]:
    """In a bucket numbers are claimed one by one; there is nothing to lock."""
    return contextlib.nullcontext() if is_bucket(str(base)) else alone(Path(base))


def _latest(shelf: Shelf) -> tuple[int, VersionManifest] | None:
    found = shelf.versions()
    if not found:
        return None
    try:
        return found[-1], shelf.manifest(found[-1])
    except ValueError as error:
        logger.warning("the manifest of %s is damaged (%s): read anew from its files", shelf.path(found[-1]), error)
        return found[-1], shelf.found(found[-1])


def _is_whole(shelf: Shelf, version: int, manifest: VersionManifest) -> bool:
    """Whether the highest version stays where its content is wanted: a damaged one is published anew."""
    wrong = differences(manifest, shelf.found(version))
    if wrong:
        logger.warning("%s is damaged (%s): its content is published again", shelf.path(version), wrong[0])
    return not wrong


def _digest(shelf: Shelf, version: int) -> str | None:
    try:
        return shelf.manifest(version).digest
    except (ValueError, OSError):
        return None


def _way_back(shelf: Shelf, to: int | None) -> tuple[int, VersionManifest, int]:
    """The highest version, its manifest, and the version to go back to."""
    latest = _latest(shelf)
    if latest is None:
        raise UserError(f"{shelf.base} holds no version to go back from; `mtmh run` publishes one")
    current, manifest = latest
    target = to if to is not None else _before(shelf, current, manifest)
    if target not in shelf.versions():
        there = ", ".join(map(str, shelf.versions()))
        raise UserError(f"{shelf.base} holds no version {target}; there are {there}")
    return current, manifest, target


def _before(shelf: Shelf, current: int, manifest: VersionManifest) -> int:
    left = {manifest.digest, *manifest.withdrawn}
    for version in reversed(shelf.versions()):
        if version != current and _digest(shelf, version) not in (None, *left):
            return version
    raise UserError(
        f"{shelf.base} holds no other model than version {current}'s, besides those that rollbacks have withdrawn; "
        "`mtmh versions` lists them, --to names one"
    )


def _whole(shelf: Shelf, version: int) -> VersionManifest:
    try:
        manifest = shelf.manifest(version)
        wrong = differences(manifest, shelf.found(version))
    except ValueError as error:
        wrong = [str(error)]
    if wrong:
        raise UserError(f"{shelf.path(version)} is damaged ({wrong[0]}); name another version with --to")
    return manifest
