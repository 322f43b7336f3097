"""What a step's result depends on besides its input artifacts: contents of files, and code.

TFX's cache keys see parameters and artifacts, neither what stands in the user's files nor in ours. So both enter as
parameters: a hash of the contents, and one of the sources of each package that a step runs.
"""

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from preprocessing.config import InputConfig
from preprocessing.files import open_raw
from preprocessing.sources import find_sources, spans_of

_ROOT: Final = Path(__file__).resolve().parents[1]
_BLOCK: Final = 1 << 20
_DIGITS: Final = 12


def content_fingerprint(config: InputConfig, tables: Mapping[str, Sequence[str]], others: Sequence[str] = ()) -> str:
    """Identifies input files by their order, names and contents; times and sizes don't count.

    Where tables are read in spans, these follow after a blank as JSON, for `tfx_pipeline.run_reasons`: versions by span
    by table.

    Args:
      config: how the files are read.
      tables: patterns by table; one without any is left out.
      others: further files, such as a teacher's.

    Raises:
      UserError: a pattern matches nothing.
    """
    digest = hashlib.sha256()
    spans: dict[str, dict[str, int | None]] = {}
    for table, patterns in sorted(tables.items()):
        sources = find_sources(table, patterns, config) if patterns else ()
        for source in sources:
            digest.update(f"{table}\0{source.path}\0{_hash_file(source.path)}\n".encode())
        if found := spans_of(sources):
            spans[table] = {span.name: span.version for span in found}
    for path in others:
        digest.update(f"other\0{path}\0{_hash_file(path)}\n".encode())
    return f"{digest.hexdigest()} {json.dumps(spans)}" if spans else digest.hexdigest()


def code_version(*parts: str) -> str:
    """Identifies sources: for each package or module the start of its hash, as ``trainer:1f0c… serving:77ab…``.

    Args:
      parts: packages, or modules of a package, by their dotted names.
    """
    return " ".join(f"{part}:{_hash_sources(part)}" for part in parts)


def _hash_file(path: str) -> str:
    digest = hashlib.sha256()
    with open_raw(path) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


@functools.cache
def _hash_sources(part: str) -> str:
    place = _ROOT.joinpath(*part.split("."))
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(_ROOT)}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:_DIGITS]
