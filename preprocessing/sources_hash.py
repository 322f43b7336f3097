"""Which code made something: a hash of the sources of packages and modules."""

import functools
import hashlib
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).resolve().parents[1]
_DIGITS: Final = 12


def code_version(*parts: str) -> str:
    """Identifies sources: for each package or module the start of its hash, as ``trainer:1f0c… serving:77ab…``.

    Args:
      parts: packages, or modules of a package, by their dotted names.
    """
    return " ".join(f"{part}:{_hash_sources(part)}" for part in parts)


@functools.cache
def _hash_sources(part: str) -> str:
    place = _ROOT.joinpath(*part.split("."))
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(_ROOT)}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:_DIGITS]
