"""Which versions are in memory: loading in the background, swapping without a gap, draining what was replaced.

TF Serving's policies: the highest version is served (or as many as the policy says), and what was served before it
until the new one is loaded and warm. Beyond that, a version that cannot be loaded does not hide a lower one that can,
and is tried again when its files change; a version with a label stays while it has it; and no version is taken before
it is all there. One that brings a manifest of its push is all there once its files are those that it lists, one that
brings none once its files kept still between two looks. One whose files keep still and are not those of its manifest
has failed, as one that cannot be loaded.
"""

import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import grpc

from serving.server.background import give_way
from serving.server.directories import Fingerprint, find_versions, fingerprint, read_manifest, what_is_wrong
from serving.server.errors import RequestError
from serving.server.metrics import Metrics
from serving.server.policy import ModelSettings, VersionPolicy
from serving.server.roster import END, LOADING, Roster, VersionStatus
from serving.server.servable import LoadedVersion, Servable, short
from serving.server.warmup import replay

_log = logging.getLogger("mtmh.serving")
_PATIENCE: Final = 30
"""Looks at files that keep still and are not those of their manifest, after which nobody is taken to be copying."""


@dataclasses.dataclass
class _Wrong:
    """What is wrong with files, and at how many looks it was."""

    files: Fingerprint
    reason: str
    looks: int = 1


class Versions:
    """Keeps the roster of one model in step with its directory, by a thread of its own.

    Attributes:
        base: the directory.
        roster: the versions that answer.
    """

    def __init__(
        self,
        base: Path,
        name: str,
        poll_seconds: float,
        settings: ModelSettings,
        metrics: Metrics,
        on_ready: Callable[[int], None],
        on_nothing: Callable[[], None],
        load: Callable[[int, Path], Servable] = LoadedVersion,
        beside_requests: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> None:
        """Prepares; ``start`` begins to load.

        Args:
            base: the directory of version directories.
            name: the model's name.
            poll_seconds: how often the directory is looked at.
            settings: policy and labels to begin with; labelled versions need not be there yet.
            metrics: where loads are counted.
            on_ready: called with the highest version after a look that changed what answers.
            on_nothing: called after a look that leaves nothing to serve and nothing to wait for.
            load: makes a version of its number and directory.
            beside_requests: entered while a version is loaded and another answers.
        """
        self.base, self._poll = base, poll_seconds
        self._on_ready, self._on_nothing = on_ready, on_nothing
        self._load_version, self._metrics = load, metrics
        self._beside_requests = beside_requests
        self._wake = threading.Event()
        self.roster = Roster(name, self._wake.set)
        self.roster.relabel(settings.labels, checked=False)
        self._policy = settings.policy
        self._stopping = False
        self._failed: dict[int, Fingerprint] = {}
        self._seen: dict[int, Fingerprint] = {}
        self._wrong: dict[int, _Wrong] = {}
        self._unsettled = False
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
        self.roster.keep_none()
        self.roster.reap()
        return not self.roster.held

    def reconfigure(self, settings: ModelSettings) -> None:
        """Takes another policy and other labels: the labels at once, the policy with the next look.

        Raises:
            RequestError: FAILED_PRECONDITION, a label is for a version that does not answer; then nothing is changed.
        """
        self.roster.relabel(settings.labels, checked=True)
        self._policy = settings.policy
        _log.info("policy %s, labels %s", settings.policy, dict(settings.labels))
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._look()
            except Exception:
                _log.exception("looking at %s failed: trying again", self.base)
            self._wake.wait(self._poll)
            self._wake.clear()

    def _look(self) -> None:
        """Loads what shall answer and does not yet, then lets go of what shall no longer."""
        self._reap()
        found = find_versions(self.base)
        self._forget(found)
        before = self.roster.serving
        self._unsettled = False
        answering = self._ensure(found, self._policy)
        if self._stopping:
            return
        if answering:
            self.roster.keep(answering)
        now = self.roster.serving
        if now != before:
            self._said = ""
            self._metrics.serving(now)
            self._on_ready(max(now))
        self._reap()
        if before and not answering and not self._unsettled:
            why = "the policy asks for other versions" if before & found.keys() else "its directory is gone"
            self._say(f"version {max(before)}: {why} and none can be served: kept")
        elif not now and not self._unsettled:
            self._say(
                f"no version under {self.base} can be served: waiting for a numeric directory with saved_model.pb"
            )
            self._on_nothing()

    def _ensure(self, found: dict[int, Path], policy: VersionPolicy) -> frozenset[int]:
        """Loads by policy and labels; gives those of the policy that answer."""
        answering: set[int] = set()
        wanted = sorted(found, reverse=True)
        most = len(wanted)
        if policy.specific is not None:
            wanted = [version for version in wanted if version in policy.specific]
        elif not policy.every:
            most = policy.latest
        looked_at: set[int] = set()
        for version in wanted:
            if len(answering) < most:
                looked_at.add(version)
                if self._answers(version, found[version]):
                    answering.add(version)
        labelled = set(self.roster.labels.values()) & found.keys()
        for version in sorted(labelled - looked_at, reverse=True):
            self._answers(version, found[version])
        return frozenset(answering)

    def _answers(self, version: int, path: Path) -> bool:
        """Whether the version answers, loaded now if it can be."""
        if version in self.roster.serving:
            return True
        files = fingerprint(path)
        if self._stopping or self._failed.get(version) == files:
            return False
        if not self._is_whole(version, path, files):
            wrong = self._wrong.get(version)
            if wrong and wrong.looks >= _PATIENCE:
                self._fail(version, path, files, grpc.StatusCode.FAILED_PRECONDITION, f"is not whole: {wrong.reason}")
            else:
                self._unsettled = True
            return False
        if not self.roster.serving:
            return self._load(version, path, files)
        give_way()
        with self._beside_requests():
            return self._load(version, path, files)

    def _is_whole(self, version: int, path: Path, files: Fingerprint) -> bool:
        seen, self._seen[version] = self._seen.get(version), files
        known = self._wrong.get(version)
        if known and known.files == files:
            known.looks += 1
            return False
        self._wrong.pop(version, None)
        try:
            manifest = read_manifest(path)
            if manifest is None:
                return seen == files
            wrong = what_is_wrong(path, manifest)
        except ValueError as error:
            wrong = str(error)
        if wrong:
            self._wrong[version] = _Wrong(files, wrong)
            self._say(f"version {version}: {wrong}: waiting until {path} is as its manifest says")
        # What was written while it was read is looked at once more.
        return not wrong and fingerprint(path) == files

    def _forget(self, found: dict[int, Path]) -> None:
        for version in [each for each in self._failed if each not in found]:
            del self._failed[version]
            self.roster.forget(version)
        self._seen = {version: files for version, files in self._seen.items() if version in found}
        self._wrong = {version: files for version, files in self._wrong.items() if version in found}

    def _load(self, version: int, path: Path, files: Fingerprint) -> bool:
        _log.info("version %d: loading %s", version, path)
        self.roster.note(VersionStatus(version, LOADING))
        start = time.perf_counter()
        loaded = None
        try:
            loaded = self._load_version(version, path)
            warm_start = time.perf_counter()
            requests = replay(loaded, path)
        except Exception as error:
            if loaded is not None:
                loaded.close()
            step = "loaded" if loaded is None else "warmed up"
            code = error.code if isinstance(error, RequestError) else grpc.StatusCode.UNKNOWN
            self._fail(version, path, files, code, f"could not be {step}: {short(error)}")
            return False
        end = time.perf_counter()
        _log.info(
            "version %d: loaded in %.1f s, %d warm-up requests in %.2f s",
            version,
            warm_start - start,
            requests,
            end - warm_start,
        )
        self._metrics.loaded(end - start)
        self._failed.pop(version, None)
        self.roster.add(loaded)
        _log.info("version %d: available", version)
        return True

    def _fail(self, version: int, path: Path, files: Fingerprint, code: grpc.StatusCode, reason: str) -> None:
        """Says so, and lets it be until its files change."""
        message = f"version {version} {reason}"
        self._failed[version] = files
        self.roster.note(VersionStatus(version, END, code, message))
        self._metrics.loaded(None)
        _log.error("%s (%s)", message, path)

    def _reap(self) -> None:
        unloaded = self.roster.reap()
        for version in unloaded:
            _log.info("version %d: unloaded", version)
        if unloaded:
            # Its last requests were counted after it was replaced.
            self._metrics.serving(self.roster.serving)

    def _say(self, line: str) -> None:
        if line != self._said:
            self._said = line
            _log.warning(line)
