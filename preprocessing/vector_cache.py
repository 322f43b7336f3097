"""Teacher's vectors by what was encoded, kept between runs: only new and changed texts are encoded again.

A teacher is a directory, named by a fingerprint of all that decides its vectors. Each write adds a pair of files to
it, keys and vectors, under a name that the keys decide; nothing is ever changed in place. The cache may be deleted at
any time, and a run that cannot read or write it does without.
"""

import contextlib
import hashlib
import logging
import os
import shutil
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from preprocessing.files import replacing

_KEY_BYTES: Final = 16
_KEPT: Final = 8
"""Teachers of one kind that are kept, the latest used ones."""
_KEYS: Final = ".keys.npy"
_VECTORS: Final = ".vectors.npy"
_ENTRY: Final = np.dtype([("key", f"S{_KEY_BYTES}"), ("checksum", np.uint32)])
_LOGGER: Final = logging.getLogger("mtmh.preprocessing")


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
        for path in self._parts():
            try:
                entries = np.load(path, mmap_mode=None)
                vectors = np.load(_vectors_of(path), mmap_mode="r")
                place = np.minimum(np.searchsorted(entries["key"], keys), len(entries) - 1)
                hits = np.flatnonzero((entries["key"][place] == keys) & ~known)
                rows = np.array(vectors[place[hits]], np.float32)
                good = entries["checksum"][place[hits]] == _checksums(rows)
                if known.any() and rows.shape[1] != found.shape[1]:
                    raise ValueError(f"{rows.shape[1]} dimensions, {found.shape[1]} elsewhere")
            except (OSError, ValueError, EOFError, IndexError, KeyError, TypeError) as error:
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
        path = self._directory / (hashlib.sha256(entries.tobytes()).hexdigest()[:32] + _KEYS)
        try:
            with replacing(str(_vectors_of(path))) as stream:
                np.save(stream, vectors[order])
            # A part is there once its keys are.
            with replacing(str(path)) as stream:
                np.save(stream, entries)
            self._forget_others()
        except OSError as error:
            _LOGGER.info("teacher cache: nothing kept in %s (%s)", self._directory, error)

    def _parts(self) -> list[Path]:
        with contextlib.suppress(OSError):
            parts = sorted(self._directory.glob(f"*{_KEYS}"))
            if parts:
                os.utime(self._directory)
            return parts
        return []

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


def _keys(texts: Sequence[str]) -> npt.NDArray[np.bytes_]:
    digests = [hashlib.blake2b(text.encode("utf-8"), digest_size=_KEY_BYTES).digest() for text in texts]
    return np.array(digests, f"S{_KEY_BYTES}")


def _checksums(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.uint32]:
    return np.array([zlib.crc32(row) for row in np.ascontiguousarray(vectors)], np.uint32)
