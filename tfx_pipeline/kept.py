"""What earlier runs have left that a run must not take from the cache, which doesn't see the world around it.

TFX takes outputs from its cache as long as they are there. So what doesn't count any more is removed before a run:

- what a server has refused: a crash, a slow start or late answers may have been this machine's, at that moment;
- a push whose version isn't there any more, or which a rollback has withdrawn.
"""

import dataclasses
import json
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tfx_pipeline.verdict import load_verdict
from tfx_pipeline.workdir import write_whole

if TYPE_CHECKING:
    from serving.push import VersionState

UNSEEN: Final = "unseen"
"""Figure of a verdict that refuses a version without having looked at it: that stays so."""
_REFUSED: Final = "*/blessing/*/INFRA_NOT_BLESSED"
_PLACES: Final = "pushed.json"
_GONE: Final = ".gone"


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a content was pushed.

    Attributes:
      base: the directory of versions, or its URL in a bucket.
      version: its number.
      digest: names its content, see `serving.version_manifest.VersionManifest.digest`.
    """

    base: str
    version: int
    digest: str

    def stands(self) -> bool:
        """Whether it is served, or something that was published after it is, and no rollback has withdrawn it."""
        served = served_at(self.base)
        if served is None or served.version < self.version:
            return False
        return served.manifest is None or self.digest not in served.manifest.withdrawn


def served_at(base: str) -> "VersionState | None":
    """The version that servers of a directory or a bucket answer with; None where there is none."""
    from serving.push import history

    return next((state for state in reversed(history(base)) if state.status != "incomplete"), None)


def save_places(places: Sequence[Place], directory: Path) -> None:
    """Notes below the artifact of a push where it went."""
    text = json.dumps([dataclasses.asdict(place) for place in places], indent=2)
    write_whole(directory / _PLACES, f"{text}\n")


def load_places(directory: Path) -> list[Place]:
    """Reads what `save_places` has written; empty where nothing was pushed."""
    file = directory / _PLACES
    return [Place(**place) for place in json.loads(file.read_text(encoding="utf-8"))] if file.is_file() else []


def forget(root: Path) -> None:
    """Removes below the pipeline's root what does not count any more."""
    for left in root.glob(f"*/*/*{_GONE}"):
        shutil.rmtree(left)
    for marker in list(root.glob(_REFUSED)):
        if not _figures(marker.parent).get(UNSEEN):
            remove(marker.parent)
    for file in list(root.glob(f"Pusher/pushed_model/*/{_PLACES}")):
        if not _stands(file.parent):
            remove(file.parent)


def _stands(directory: Path) -> bool:
    """Whether all of a push stands; one whose note is damaged does not."""
    try:
        places = load_places(directory)
    except (OSError, ValueError, TypeError, KeyError):
        return False
    return all(place.stands() for place in places)


def remove(directory: Path) -> None:
    """Removes an artifact in one step to the cache, which takes a directory with any files left in it for whole."""
    gone = directory.with_name(f".{directory.name}.{uuid.uuid4().hex}{_GONE}")
    directory.rename(gone)
    shutil.rmtree(gone)


def _figures(directory: Path) -> dict[str, Any]:
    """What a gate of ours has measured; TFX's InfraValidator leaves nothing."""
    try:
        return load_verdict(directory).figures
    except (OSError, ValueError, KeyError):
        return {}
