"""The record of what was blessed and pushed: what a later run compares with, warm-starts from and refreshes.

One directory a pushed version below the store::

    <version>/baseline.json            what it was made of
    <version>/model/                   weights and description, see `trainer.artefact`
    <version>/snapshot/                how it answers, see `trainer.snapshot`
    <version>/statistics/items/        of the data that it was trained on, as StatisticsGen wrote them
    <version>/statistics/pairs/
    <version>/manifest.json            of those data

A baseline is such a directory, or an empty one where nothing was blessed before.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from preprocessing.errors import UserError
from preprocessing.manifest import load_manifest
from preprocessing.schema import MANIFEST, Manifest
from serving.stores.objects import is_bucket, open_store
from serving.stores.trees import copy_tree, delete_tree, put_tree
from trainer.base import Base

LATEST: Final = "latest"
"""Name of the record that runs on a cluster compare with, in a bucket; local runs look for theirs."""
NONE: Final = "none"
"""Name of the empty baseline in a store."""
IDENTITY: Final = "baseline.json"
MODEL: Final = "model"
SNAPSHOT: Final = "snapshot"
STATISTICS: Final = "statistics"
_KEPT: Final = 5
"""The newest records, which stay whether their versions do or not."""


@dataclasses.dataclass(frozen=True)
class Lineage:
    """Which versions led to what is served.

    Attributes:
      newest: the highest version; None where nothing is served, and then every record counts.
      left: spans of versions that rollbacks have left, each the version gone back to and the rollback itself.
      withdrawn: digests of contents that rollbacks have taken out of service, also those that are removed since.
      standing: versions that are there, and those whose content a rollback among them repeats.
    """

    newest: int | None = None
    left: tuple[tuple[int, int], ...] = ()
    withdrawn: tuple[str, ...] = ()
    standing: frozenset[int] = frozenset()

    def __contains__(self, version: int) -> bool:
        """Whether a version is, or was, served and was not rolled back."""
        return self.newest is None or (
            version <= self.newest and not any(start < version < end for start, end in self.left)
        )


def lineage(base: str | Path) -> Lineage:
    """The lineage of what is served from a directory of versions, or a bucket's URL of them."""
    from serving.push import history

    states = [state for state in reversed(history(base)) if state.status != "incomplete"]
    manifest = states[0].manifest if states else None
    repeated = (state.manifest.rollback_of for state in states if state.manifest)
    found = Lineage(
        states[0].version if states else None,
        withdrawn=manifest.withdrawn if manifest else (),
        standing=frozenset({state.version for state in states} | {each for each in repeated if each is not None}),
    )
    for state in states:
        back = state.manifest.rollback_of if state.manifest else None
        if back is not None and state.version in found:
            found = dataclasses.replace(found, left=(*found.left, (back, state.version)))
    return found


def record(
    store: str | Path,
    version: int,
    identity: Mapping[str, str],
    parts: Mapping[str, Path],
    *,
    served: Lineage,
    digest: str = "",
) -> None:
    """Keeps what was pushed as a version; an earlier record of the version is replaced.

    Old records are removed: of what stands, and of what it was compared with, they stay.

    Args:
      store: the directory of records, or ``s3://bucket/path`` or ``gs://bucket/path``.
      version: as pushed.
      identity: names what its ``data`` and its ``model`` were made of; see `find_baseline`.
      parts: directories and files by their path below the record.
      served: the lineage that the version is the newest of.
      digest: names the version's content; empty where it is not known.
    """
    store = str(store)
    if is_bucket(store):
        with tempfile.TemporaryDirectory(prefix="mtmh-") as scratch:
            _fill(Path(scratch), version, identity, parts, digest)
            put_tree(Path(scratch), f"{store}/{version}", last=IDENTITY)
        point_latest(store, version)
        # Runs on a cluster compare with the latest alone, which is a copy.
        for number in sorted(_bucket_versions(store))[:-_KEPT]:
            if number not in served.standing:
                delete_tree(f"{store}/{number}", first=IDENTITY)
        return
    root = Path(store)
    root.mkdir(parents=True, exist_ok=True)
    staging = root / f".staging-{uuid.uuid4().hex}"
    for old in root.glob(".staging-*"):
        shutil.rmtree(old, ignore_errors=True)
    staging.mkdir()
    _fill(staging, version, identity, parts, digest)
    target = root / str(version)
    shutil.rmtree(target, ignore_errors=True)
    os.rename(staging, target)
    for number in _old(root, {version, *served.standing}, served):
        shutil.rmtree(root / str(number), ignore_errors=True)


def _old(store: Path, standing: Collection[int], served: Lineage) -> list[int]:
    """Records of what does not stand, nor was what a run that made something that stands is compared with.

    By what such a run is compared with it finds its own results in the cache, also when refreshes were published since.
    """
    numbers = sorted(_versions(store))
    stay: set[int | None] = {*numbers[-_KEPT:], *standing}
    for number in standing:
        with contextlib.suppress(UserError):
            identity = identity_of(store / str(number))
            then = dataclasses.replace(served, newest=number)
            stay |= {_before(store, part, name, then) for part, name in identity.items()}
    return [number for number in numbers if number not in stay]


def _fill(directory: Path, version: int, identity: Mapping[str, str], parts: Mapping[str, Path], digest: str) -> None:
    for name, source in parts.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, directory / name)
        else:
            shutil.copy2(source, directory / name)
    document = {"version": version, "digest": digest, "identity": dict(identity)}
    (directory / IDENTITY).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def point_latest(store: str, version: int) -> None:
    """Makes the record of a version what runs on a cluster compare with: ``latest`` in a bucket of records.

    Raises:
      UserError: there is no such record.
    """
    if not copy_tree(f"{store}/{version}", f"{store}/{LATEST}", last=IDENTITY):
        raise UserError(f"{store} holds no record of version {version}: nothing to compare the next run with")


def with_models(store: Path, first: int) -> list[Path]:
    """The records that hold a model: that of version ``first``, where it is there, then the others, newest first."""
    numbers = sorted(_versions(store), key=lambda number: (number == first, number), reverse=True)
    return [store / str(number) for number in numbers if (store / str(number) / MODEL).is_dir()]


def identity_of(directory: Path) -> dict[str, str]:
    """What a record was made of.

    Raises:
      UserError: it is damaged.
    """
    try:
        document: Any = json.loads((directory / IDENTITY).read_text(encoding="utf-8"))
        return {str(part): str(name) for part, name in document["identity"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{directory} holds no usable record of a push ({error}); remove it") from error


def find_baseline(store: Path, part: str, identity: str, served: Lineage) -> Path:
    """The record that a run compares with: the newest of another identity that led to what is served.

    Data are not compared with themselves, nor a model with what an earlier run of the same inputs, configuration and
    code has pushed: otherwise no unchanged run would find its own results in the cache. What was rolled back is none,
    after later pushes too.

    Args:
      store: the directory of records.
      part: what is compared, ``data`` or ``model``, or begun with, ``training``.
      identity: of the run's part.
      served: which versions count, see `lineage`.

    Returns:
      The directory of the record, or an empty one.
    """
    version = _before(store, part, identity, served)
    if version is not None:
        return store / str(version)
    none = store / NONE
    none.mkdir(parents=True, exist_ok=True)
    return none


def _before(store: Path, part: str, identity: str, served: Lineage) -> int | None:
    for version in sorted(_versions(store), reverse=True):
        if version not in served:
            continue
        try:
            document: Any = json.loads((store / str(version) / IDENTITY).read_text(encoding="utf-8"))
            other = document["identity"].get(part)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        # A record of before they named their content counts by its version alone.
        if other != identity and document.get("digest", "") not in served.withdrawn:
            return version
    return None


def warm_start_base(baseline: Path) -> Base | None:
    """The model of a record to begin a training with; None where nothing was blessed before.

    Raises:
      UserError: the record is damaged.
    """
    if not (baseline / IDENTITY).is_file():
        return None
    try:
        version = json.loads((baseline / IDENTITY).read_text(encoding="utf-8"))["version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{baseline} holds no usable record of a push ({error}); remove it") from error
    return Base(baseline / MODEL, f"version {version}")


def earlier_statistics(baseline: Path, branch: str) -> Any:
    """Statistics of a branch of the last blessed data; None where there are none."""
    from tfx_pipeline.data_gate import read_statistics

    directory = baseline / STATISTICS / branch
    return read_statistics(directory) if directory.is_dir() else None


def earlier_manifest(baseline: Path) -> Manifest | None:
    """The manifest of the last blessed data; None where there are none, or they are of another layout."""
    if not (baseline / MANIFEST).is_file():
        return None
    try:
        return load_manifest(str(baseline))
    except UserError:
        return None


def _versions(store: Path) -> list[int]:
    if not store.is_dir():
        return []
    return [int(path.name) for path in store.iterdir() if path.name.isascii() and path.name.isdigit()]


def _bucket_versions(store: str) -> set[int]:
    bucket, key = open_store(store)
    heads = {name.removeprefix(f"{key}/").partition("/")[0] for name in bucket.sizes(f"{key}/")}
    return {int(head) for head in heads if head.isascii() and head.isdigit()}
