"""Teacher's vectors by what was encoded, kept between runs: only new and changed texts are encoded again.

A teacher is a directory, named by a fingerprint of all that decides its vectors. Each write adds a pair of files to
it, keys and vectors, under a name that the keys decide; nothing is ever changed in place. A pair takes over smaller
ones, which go once it is there, so that files stay few. A process that is killed loses what it was writing and no more.
The cache may be deleted at any time, and a run that cannot read or write it does without.
"""

import contextlib
import hashlib
import logging
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from preprocessing.files import replacing

_KEY_BYTES: Final = 16
_KEPT: Final = 8
"""Teachers of one kind that are kept, the latest used ones."""
_MOST: Final = 1 << 16
"""Vectors of a pair of files that takes over others."""
_KEYS: Final = ".keys.npy"
_VECTORS: Final = ".vectors.npy"
_LEFT_SECONDS: Final = 86_400.0
"""A file without its other half is nobody's any more after this time."""
_ENTRY: Final = np.dtype([("key", f"S{_KEY_BYTES}"), ("checksum", np.uint32)])
_UNUSABLE: Final = (OSError, ValueError, EOFError, IndexError, KeyError, TypeError)
"""What reading a damaged file raises."""
_LOGGER: Final = logging.getLogger("mtmh.preprocessing")

Entries: TypeAlias = npt.NDArray[np.void]
Vectors: TypeAlias = npt.NDArray[np.float32]


def cache_directory() -> Path:
    """``$XDG_CACHE_HOME/mtmh/teacher``, by default below ``~/.cache``."""
    home = os.path.expanduser("~")  # stays as it is for somebody without a home
    caches = Path(home, ".cache") if os.path.isabs(home) else Path(tempfile.gettempdir())
    return Path(os.environ.get("XDG_CACHE_HOME") or caches) / "mtmh" / "teacher"


class VectorCache:
    """The vectors of one teacher."""

    def __init__(self, kind: str, fingerprint: str, directory: Path | None = None):
        """Args are the teacher's kind, what tells its vectors from others', and the cache's directory."""
        self._root = cache_directory() if directory is None else directory
        self._kind = kind
        self._directory = self._root / f"{kind}-{fingerprint[:32]}"

    def find(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Vectors of n texts, float32 [n, D], and bool [n], which are known; the others' rows are zero."""
        keys = _keys(texts)
        known = np.zeros(len(texts), np.bool_)
        found = np.zeros((len(texts), 0), np.float32)
        seen: set[Path] = set()
        # Another process may have made one part of several meanwhile.
        while parts := [path for path in self._parts() if path not in seen]:
            seen.update(parts)
            for path in parts:
                try:
                    entries, vectors = _load(path)
                    place = np.minimum(np.searchsorted(entries["key"], keys), len(entries) - 1)
                    hits = np.flatnonzero((entries["key"][place] == keys) & ~known)
                    rows, good = _checked(entries, vectors, place[hits])
                    if known.any() and rows.shape[1] != found.shape[1]:
                        raise ValueError(f"{rows.shape[1]} dimensions, {found.shape[1]} elsewhere")
                except _UNUSABLE as error:
                    if path.exists():
                        _LOGGER.warning("teacher cache: %s cannot be used (%s)", path, error)
                    continue
                if not known.any():
                    found = np.zeros((len(texts), rows.shape[1]), np.float32)
                found[hits[good]] = rows[good]
                known[hits[good]] = True
        return found, known

    def store(self, texts: Sequence[str], vectors: npt.NDArray[np.float32]) -> None:
        """Keeps the vectors float32 [n, D] of n distinct texts; where that cannot be done nothing happens."""
        if not len(texts):
            return
        keys = _keys(texts)
        order = np.argsort(keys)
        entries = np.empty(len(keys), _ENTRY)
        entries["key"], entries["checksum"] = keys[order], _checksums(vectors)[order]
        try:
            entries, vectors, absorbed = self._with_smaller(entries, vectors[order])
            path = self._directory / (hashlib.sha256(entries.tobytes()).hexdigest()[:32] + _KEYS)
            with replacing(str(_vectors_of(path))) as stream:
                np.save(stream, vectors)
            # A part is there once its keys are.
            with replacing(str(path)) as stream:
                np.save(stream, entries)
            for other in absorbed:
                if other != path:
                    other.unlink(missing_ok=True)
                    _vectors_of(other).unlink(missing_ok=True)
            self._sweep()
            self._forget_others()
        except OSError as error:
            _LOGGER.info("teacher cache: nothing kept in %s (%s)", self._directory, error)

    def _with_smaller(self, entries: Entries, vectors: Vectors) -> tuple[Entries, Vectors, list[Path]]:
        """A part to be and the parts that hold no more than it, the smallest first, and what these are."""
        absorbed = []
        for _, path in sorted((_size(path), path) for path in self._parts()):
            try:
                others, rows = _load(path)
                if len(others) > min(len(entries), _MOST - len(entries)):
                    break
                rows, good = _checked(others, rows, np.arange(len(others)))
                together = np.concatenate([vectors, rows[good]])
            except _UNUSABLE:
                continue
            joined = np.concatenate([entries, others[good]])
            _, first = np.unique(joined["key"], return_index=True)
            entries, vectors = joined[first], together[first]
            absorbed.append(path)
        return entries, vectors, absorbed

    def _parts(self) -> list[Path]:
        with contextlib.suppress(OSError):
            parts = sorted(self._directory.glob(f"*{_KEYS}"))
            if parts:
                os.utime(self._directory)
            return parts
        return []

    def _sweep(self) -> None:
        """Removes what killed processes have left half written."""
        names = {path.name for path in self._directory.iterdir()}
        for name in names:
            other = name.replace(_KEYS, _VECTORS) if name.endswith(_KEYS) else name.replace(_VECTORS, _KEYS)
            path = self._directory / name
            with contextlib.suppress(FileNotFoundError):
                if (other == name or other not in names) and path.stat().st_mtime < time.time() - _LEFT_SECONDS:
                    path.unlink()

    def _forget_others(self) -> None:
        teachers = [path for path in self._root.glob(f"{self._kind}-*") if path.is_dir()]
        for path in sorted(teachers, key=lambda path: path.stat().st_mtime, reverse=True)[_KEPT:]:
            shutil.rmtree(path, ignore_errors=True)


def fingerprint(*parts: Any) -> str:
    """A digest of values by their ``repr``; equal values give equal ones."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(repr(part).encode("utf-8", "backslashreplace") + b"\0")
    return digest.hexdigest()


def _vectors_of(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(_KEYS) + _VECTORS)


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0


def _load(path: Path) -> tuple[Entries, Vectors]:
    """Keys and, mapped, vectors of a part; raises some of `_UNUSABLE`."""
    return np.load(path), np.load(_vectors_of(path), mmap_mode="r")


def _checked(entries: Entries, vectors: Vectors, place: npt.NDArray[np.intp]) -> tuple[Vectors, npt.NDArray[np.bool_]]:
    """Vectors of a part, float32 [n, D] at the given n places, and which are as they were written."""
    rows = np.array(vectors[place], np.float32)
    return rows, entries["checksum"][place] == _checksums(rows)


def _keys(texts: Sequence[str]) -> npt.NDArray[np.bytes_]:
    digests = [hashlib.blake2b(text.encode("utf-8"), digest_size=_KEY_BYTES).digest() for text in texts]
    return np.array(digests, f"S{_KEY_BYTES}")


def _checksums(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.uint32]:
    return np.array([zlib.crc32(row) for row in np.ascontiguousarray(vectors)], np.uint32)
