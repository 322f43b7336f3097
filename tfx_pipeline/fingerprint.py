"""What a step's result depends on besides its input artifacts: contents of files.

TFX's cache keys see parameters and artifacts, neither what stands in the user's files nor in ours. So both enter as
parameters: a hash of the contents, and one of the sources of each package that a step runs, see
`preprocessing.sources_hash`.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Final

from preprocessing.config import InputConfig
from preprocessing.files import open_raw
from preprocessing.sources import find_sources, spans_of

_BLOCK: Final = 1 << 20


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


def _hash_file(path: str) -> str:
    digest = hashlib.sha256()
    with open_raw(path) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
