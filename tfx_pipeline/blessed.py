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

import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from preprocessing.errors import UserError
from preprocessing.manifest import load_manifest
from preprocessing.schema import MANIFEST, Manifest

NONE: Final = "none"
"""Name of the empty baseline in a store."""
IDENTITY: Final = "baseline.json"
MODEL: Final = "model"
SNAPSHOT: Final = "snapshot"
STATISTICS: Final = "statistics"
_KEPT: Final = 5


def record(store: Path, version: int, identity: Mapping[str, str], parts: Mapping[str, Path]) -> Path:
    """Keeps what was pushed as a version; an earlier record of the version is replaced.

    Args:
      store: the directory of records.
      version: as pushed.
      identity: names what its ``data`` and its ``model`` were made of; see `find_baseline`.
      parts: directories and files by their path below the record.
    """
    store.mkdir(parents=True, exist_ok=True)
    staging = store / f".staging-{uuid.uuid4().hex}"
    for left in store.glob(".staging-*"):
        shutil.rmtree(left, ignore_errors=True)
    staging.mkdir()
    for name, source in parts.items():
        (staging / name).parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, staging / name)
        else:
            shutil.copy2(source, staging / name)
    document = {"version": version, "identity": dict(identity)}
    (staging / IDENTITY).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    target = store / str(version)
    shutil.rmtree(target, ignore_errors=True)
    os.rename(staging, target)
    for old in sorted(_versions(store))[:-_KEPT]:
        shutil.rmtree(store / str(old), ignore_errors=True)
    return target


def find_baseline(store: Path, part: str, identity: str, served: int | None) -> Path:
    """The record that a run compares with: the newest of another identity that is not newer than what is served.

    Data are not compared with themselves, nor a model with what an earlier run of the same inputs, configuration and
    code has pushed: otherwise no unchanged run would find its own results in the cache. Versions above the one that is
    served were rolled back.

    Args:
      store: the directory of records.
      part: what is compared, ``data`` or ``model``.
      identity: of the run's part.
      served: the newest version that is served; None where nothing is.

    Returns:
      The directory of the record, or an empty one.
    """
    for version in sorted(_versions(store), reverse=True):
        if served is not None and version > served:
            continue
        try:
            document: Any = json.loads((store / str(version) / IDENTITY).read_text(encoding="utf-8"))
            other = document["identity"][part]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if other != identity:
            return store / str(version)
    none = store / NONE
    none.mkdir(parents=True, exist_ok=True)
    return none


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
