"""The versions that answer, under their numbers and labels: taken by requests, replaced without a gap.

A request holds its version until it is answered; a version that was replaced is closed when nobody holds it.
"""

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import grpc

from serving.server.errors import RequestError, not_found
from serving.server.policy import refuse_unavailable
from serving.server.servable import Servable

LOADING: Final = 20
AVAILABLE: Final = 30
UNLOADING: Final = 40
END: Final = 50
_KEPT_ENDED: Final = 32


@dataclasses.dataclass(frozen=True)
class VersionStatus:
    """Where a version stands: a number of ``serving.wire.STATES`` and, where it failed, a gRPC code and a line."""

    version: int
    state: int
    code: grpc.StatusCode = grpc.StatusCode.OK
    message: str = ""


@dataclasses.dataclass(frozen=True)
class Choice:
    """Which version a request asks for: by number, by label, or the latest."""

    name: str
    version: int | None = None
    label: str = ""


@dataclasses.dataclass
class _Slot:
    loaded: Servable
    users: int = 0
    retired: bool = False


class Roster:
    """The versions of one model that are in memory, and the statuses of those that are not."""

    def __init__(self, name: str, on_idle: Callable[[], None]) -> None:
        """Args: the model's name, and what to call when the last request has left a version that was replaced."""
        self._name, self._on_idle = name, on_idle
        self._lock = threading.Lock()
        self._slots: dict[int, _Slot] = {}
        self._retired: list[_Slot] = []
        self._labels: dict[str, int] = {}
        self._statuses: dict[int, VersionStatus] = {}

    @contextlib.contextmanager
    def acquire(self, choice: Choice) -> Iterator[Servable]:
        """Holds the version that answers a request, so that it is not closed meanwhile.

        Raises:
            RequestError: NOT_FOUND, or FAILED_PRECONDITION for an unknown label, in TF Serving's words.
        """
        with self._lock:
            slot = self._find(choice)
            slot.users += 1
        try:
            yield slot.loaded
        finally:
            with self._lock:
                slot.users -= 1
                idle = slot.retired and not slot.users
            if idle:
                self._on_idle()

    def statuses(self, choice: Choice) -> list[VersionStatus]:
        """Where the versions stand, highest first as TF Serving lists them.

        Raises:
            RequestError: NOT_FOUND, or FAILED_PRECONDITION for an unknown label, in TF Serving's words.
        """
        with self._lock:
            version = self._number(choice)
            known = dict(self._statuses) if choice.name == self._name else {}
        if version is not None and version not in known:
            raise not_found(f"Could not find version {version} of model {choice.name}")
        if not known:
            raise not_found(f"Could not find any versions of model {choice.name}")
        return [known[each] for each in sorted(known, reverse=True) if version in (None, each)]

    def _number(self, choice: Choice) -> int | None:
        if not choice.label:
            return choice.version
        if choice.name != self._name or choice.label not in self._labels:
            raise RequestError(
                grpc.StatusCode.FAILED_PRECONDITION, f"Unrecognized servable version label: {choice.label}"
            )
        return self._labels[choice.label]

    def _find(self, choice: Choice) -> _Slot:
        version = self._number(choice)
        wanted = f"Latest({choice.name})" if version is None else f"Specific({choice.name}, {version})"
        if version is None and self._slots:
            version = max(self._slots)
        if choice.name != self._name or version not in self._slots:
            raise not_found(f"Servable not found for request: {wanted}")
        return self._slots[version]

    # --- what the loader and the operator change ------------------------------------------------------------------

    @property
    def serving(self) -> frozenset[int]:
        """The versions that answer."""
        with self._lock:
            return frozenset(self._slots)

    @property
    def labels(self) -> dict[str, int]:
        """Versions by label."""
        with self._lock:
            return dict(self._labels)

    def relabel(self, labels: Mapping[str, int], *, checked: bool) -> None:
        """Replaces all labels at once.

        Args:
            labels: versions by label.
            checked: whether each version has to answer already.

        Raises:
            RequestError: FAILED_PRECONDITION, one does not; then nothing is changed.
        """
        with self._lock:
            absent = next((each for each in labels.values() if each not in self._slots), None)
            if checked and absent is not None:
                raise refuse_unavailable(self._name, absent)
            self._labels = dict(labels)

    def add(self, loaded: Servable) -> None:
        """Lets a version answer."""
        with self._lock:
            self._slots[loaded.version] = _Slot(loaded)
            self._statuses[loaded.version] = VersionStatus(loaded.version, AVAILABLE)

    def keep(self, versions: frozenset[int]) -> None:
        """Lets only these answer, and those that have a label; the others get no more requests."""
        with self._lock:
            stay = versions.union(self._labels.values())
            for version in [each for each in self._slots if each not in stay]:
                self._retire(version)

    def keep_none(self) -> None:
        """Lets no version answer any more."""
        with self._lock:
            for version in list(self._slots):
                self._retire(version)

    def _retire(self, version: int) -> None:
        slot = self._slots.pop(version)
        slot.retired = True
        self._retired.append(slot)
        self._statuses[version] = VersionStatus(version, UNLOADING)

    def reap(self) -> list[int]:
        """Closes replaced versions that no request holds any more; gives their numbers."""
        with self._lock:
            idle = [slot for slot in self._retired if not slot.users]
            self._retired = [slot for slot in self._retired if slot.users]
        for slot in idle:
            slot.loaded.close()
            with self._lock:
                # The same number may have come back meanwhile.
                status = self._statuses.get(slot.loaded.version)
            if status and status.state == UNLOADING:
                self.note(VersionStatus(slot.loaded.version, END))
        return [slot.loaded.version for slot in idle]

    @property
    def held(self) -> bool:
        """Whether a replaced version still answers a request."""
        with self._lock:
            return bool(self._retired)

    def note(self, status: VersionStatus) -> None:
        """Records where a version stands."""
        with self._lock:
            self._statuses[status.version] = status
            ended = sorted(each for each, known in self._statuses.items() if known.state == END)
            for version in ended[:-_KEPT_ENDED]:
                del self._statuses[version]

    def forget(self, version: int) -> None:
        """Drops the status of a version that failed and is gone."""
        with self._lock:
            self._statuses.pop(version, None)
