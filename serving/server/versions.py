"""Which version answers: loading in the background, swapping without a gap, draining what was replaced.

TF Serving's *latest* policy: the highest version is served, and the one before it until the new one is loaded and
warm. Beyond it, a version that cannot be loaded does not hide a lower one that can, and is tried again when its files
change; a version is loaded once its files kept still between two looks and are all that its manifest lists, so that a
copy in progress is not taken.
"""

import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import grpc

from serving.server.directories import Fingerprint, find_versions, fingerprint, what_is_missing
from serving.server.errors import RequestError, not_found
from serving.server.servable import LoadedVersion, short
from serving.server.warmup import replay

_log = logging.getLogger("mtmh.serving")
_KEPT_ENDED: Final = 32

LOADING: Final = 20
AVAILABLE: Final = 30
UNLOADING: Final = 40
END: Final = 50


@dataclasses.dataclass(frozen=True)
class VersionStatus:
    """Where a version stands: a number of ``serving.wire.STATES`` and, where it failed, a gRPC code and a line."""

    version: int
    state: int
    code: grpc.StatusCode = grpc.StatusCode.OK
    message: str = ""


@dataclasses.dataclass
class _Slot:
    loaded: LoadedVersion
    users: int = 0
    retired: bool = False


class Versions:
    """The versions of one model, kept in step with its directory by a thread of its own."""

    def __init__(
        self,
        base: Path,
        name: str,
        poll_seconds: float,
        on_available: Callable[[int], None],
        on_nothing: Callable[[], None],
    ) -> None:
        """Prepares; ``start`` begins to load.

        Args:
            base: the directory of version directories.
            name: the model's name.
            poll_seconds: how often the directory is looked at.
            on_available: called with the number of a version when it begins to answer.
            on_nothing: called after a look that leaves nothing to serve and nothing to wait for.
        """
        self._base, self._name, self._poll = base, name, poll_seconds
        self._on_available, self._on_nothing = on_available, on_nothing
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._current: _Slot | None = None
        self._retired: list[_Slot] = []
        self._statuses: dict[int, VersionStatus] = {}
        self._failed: dict[int, Fingerprint] = {}
        self._seen: dict[int, Fingerprint] = {}
        self._said = ""
        self._thread = threading.Thread(target=self._run, name="mtmh-versions", daemon=True)

    def start(self) -> None:
        """Begins to look and load."""
        self._thread.start()

    def stop(self, seconds: float) -> bool:
        """Stops looking, and closes what is loaded.

        Returns:
            False when the thread is still busy after that many seconds, or a request still runs.
        """
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(seconds)
        if self._thread.is_alive():
            return False
        with self._lock:
            if self._current:
                self._retire(self._current)
                self._current = None
        self._reap()
        return not self._retired

    @contextlib.contextmanager
    def acquire(self, name: str, version: int | None = None) -> Iterator[LoadedVersion]:
        """Holds the version that answers a request, so that it is not closed meanwhile.

        Args:
            name: the model's name in the request.
            version: the version asked for; None for the latest.

        Raises:
            RequestError: NOT_FOUND in TF Serving's words.
        """
        with self._lock:
            slot = self._current
            if slot is None or name != self._name or (version is not None and version != slot.loaded.version):
                wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
                raise not_found(f"Servable not found for request: {wanted}")
            slot.users += 1
        try:
            yield slot.loaded
        finally:
            with self._lock:
                slot.users -= 1
                if slot.retired and not slot.users:
                    self._wake.set()

    def statuses(self, name: str, version: int | None = None) -> list[VersionStatus]:
        """Where the versions stand, highest first as TF Serving lists them.

        Raises:
            RequestError: NOT_FOUND in TF Serving's words.
        """
        with self._lock:
            known = dict(self._statuses) if name == self._name else {}
        if version is not None and version not in known:
            raise not_found(f"Could not find version {version} of model {name}")
        if not known:
            raise not_found(f"Could not find any versions of model {name}")
        return [known[each] for each in sorted(known, reverse=True) if version in (None, each)]

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._look()
            except Exception:
                _log.exception("looking at %s failed: trying again", self._base)
            self._wake.wait(self._poll)
            self._wake.clear()

    def _look(self) -> None:
        """Loads the best version that is not served yet, if there is one."""
        self._reap()
        found = find_versions(self._base)
        self._forget(found)
        serving = self._current.loaded.version if self._current else None
        unsettled = False
        for version in sorted(found, reverse=True):
            if version == serving or self._stopping:
                return
            files = fingerprint(found[version])
            if self._failed.get(version) == files:
                continue
            if self._seen.get(version) != files:
                self._seen[version] = files
                unsettled = True
                continue
            missing = what_is_missing(found[version])
            if missing:
                self._say(f"version {version}: {missing}: waiting for the rest of {found[version]}")
                unsettled = True
                continue
            if self._load(version, found[version], files):
                return
        if serving is not None and serving not in found:
            self._say(f"version {serving}: its directory is gone and no other can be served: kept")
        elif serving is None and not unsettled:
            self._say(
                f"no version under {self._base} can be served: waiting for a numeric directory with saved_model.pb"
            )
            self._on_nothing()

    def _forget(self, found: dict[int, Path]) -> None:
        for version in [each for each in self._failed if each not in found]:
            del self._failed[version]
            with self._lock:
                self._statuses.pop(version, None)
        self._seen = {version: files for version, files in self._seen.items() if version in found}

    def _load(self, version: int, path: Path, files: Fingerprint) -> bool:
        _log.info("version %d: loading %s", version, path)
        self._set(VersionStatus(version, LOADING))
        start = time.perf_counter()
        loaded = None
        try:
            loaded = LoadedVersion(version, path)
            warm_start = time.perf_counter()
            requests = replay(loaded, path)
        except Exception as error:
            if loaded is not None:
                loaded.close()
            step = "loaded" if loaded is None else "warmed up"
            code = error.code if isinstance(error, RequestError) else grpc.StatusCode.UNKNOWN
            message = f"version {version} could not be {step}: {short(error)}"
            self._failed[version] = files
            self._set(VersionStatus(version, END, code, message))
            _log.error("%s (%s)", message, path)
            return False
        _log.info(
            "version %d: loaded in %.1f s, %d warm-up requests in %.2f s",
            version,
            warm_start - start,
            requests,
            time.perf_counter() - warm_start,
        )
        self._swap(_Slot(loaded))
        return True

    def _swap(self, new: _Slot) -> None:
        with self._lock:
            old, self._current = self._current, new
            self._statuses[new.loaded.version] = VersionStatus(new.loaded.version, AVAILABLE)
            if old:
                self._retire(old)
        self._said = ""
        _log.info("version %d: available", new.loaded.version)
        self._on_available(new.loaded.version)
        self._reap()

    def _retire(self, slot: _Slot) -> None:
        slot.retired = True
        self._retired.append(slot)
        self._statuses[slot.loaded.version] = VersionStatus(slot.loaded.version, UNLOADING)

    def _reap(self) -> None:
        """Closes replaced versions that no request uses any more."""
        with self._lock:
            idle = [slot for slot in self._retired if not slot.users]
            self._retired = [slot for slot in self._retired if slot.users]
        for slot in idle:
            slot.loaded.close()
            # The same number may have come back meanwhile.
            if self._statuses[slot.loaded.version].state == UNLOADING:
                self._set(VersionStatus(slot.loaded.version, END))
            _log.info("version %d: unloaded", slot.loaded.version)

    def _set(self, status: VersionStatus) -> None:
        with self._lock:
            self._statuses[status.version] = status
            ended = sorted(each for each, known in self._statuses.items() if known.state == END)
            for version in ended[:-_KEPT_ENDED]:
                del self._statuses[version]

    def _say(self, line: str) -> None:
        if line != self._said:
            self._said = line
            _log.warning(line)
