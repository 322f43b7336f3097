"""The manifest on disk: JSON that is checked field by field when it is read."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, Final

from preprocessing.errors import UserError
from preprocessing.files import exists, read_text, write_text
from preprocessing.schema import LAYOUT_VERSION, MANIFEST, Manifest, OutputFile, TableCounts

_COUNTS: Final = ("num_items", "num_pairs", "num_validation_triggers", "num_triggers", "num_users", "num_annotations")
_TIMES: Final = ("validation_time", "split_time")


def to_json(manifest: Manifest) -> str:
    """The manifest's one and only serialized form."""
    return json.dumps(dataclasses.asdict(manifest), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def from_json(text: str) -> Manifest:
    """Parses what ``to_json`` wrote.

    Raises:
      ValueError: it is no manifest of this layout version.
    """
    fields = json.loads(text)
    if not isinstance(fields, dict):
        raise ValueError("not a JSON object")
    version = fields.get("layout_version")
    if version != LAYOUT_VERSION:
        raise ValueError(f"layout version {version!r}, this code reads {LAYOUT_VERSION}")
    _same_fields(Manifest, fields)
    for name in (*_COUNTS, "content_dimension"):
        _integer(name, fields[name])
    for name in _TIMES:
        if isinstance(fields[name], bool) or not isinstance(fields[name], int | float):
            raise ValueError(f"{name} is not a number")
    if not isinstance(fields["config"], dict) or not isinstance(fields["files"], list):
        raise ValueError("config or files has the wrong type")
    values = fields | {
        "interactions": _table("interactions", fields["interactions"]),
        "items": _table("items", fields["items"]),
        "annotations": _table("annotations", fields["annotations"]),
        "files": tuple(_file(entry) for entry in fields["files"]),
    }
    values |= {name: float(fields[name]) for name in _TIMES}
    return Manifest(**values)


def save_manifest(manifest: Manifest, directory: str) -> None:
    """Writes ``manifest.json`` below ``directory``, as a whole or not at all."""
    write_text(f"{directory.rstrip('/')}/{MANIFEST}", to_json(manifest))


def load_manifest(directory: str) -> Manifest:
    """Reads ``manifest.json`` below ``directory``.

    Raises:
      UserError: it is missing, damaged or of another layout.
    """
    path = f"{directory.rstrip('/')}/{MANIFEST}"
    if not exists(path):
        raise UserError(f"{path} does not exist: {directory} holds no finished preprocessing; run `mtmh preprocess`")
    try:
        return from_json(read_text(path))
    except (ValueError, OSError) as error:
        raise UserError(f"{path} is not a usable manifest: {error}; run `mtmh preprocess` again") from error


def manifest_digest(directory: Path) -> str:
    """SHA-256 of ``manifest.json`` below a local ``directory``: it lists the digests of all else that is there."""
    return hashlib.sha256((directory / MANIFEST).read_bytes()).hexdigest()


def _same_fields(kind: type, fields: dict[str, Any]) -> None:
    expected = {field.name for field in dataclasses.fields(kind)}
    if set(fields) != expected:
        different = ", ".join(sorted(expected ^ set(fields)))
        raise ValueError(f"missing or unknown fields of {kind.__name__}: {different}")


def _integer(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{name} is not a count")
    return value


def _table(name: str, fields: Any) -> TableCounts:
    if not isinstance(fields, dict):
        raise ValueError(f"{name} is not an object")
    _same_fields(TableCounts, fields)
    for column in ("rows_in", "rows_used"):
        _integer(f"{name}.{column}", fields[column])
    for column in ("dead_letters", "dropped", "bad_files"):
        if not isinstance(fields[column], dict):
            raise ValueError(f"{name}.{column} is not an object")
        for reason, count in fields[column].items():
            _integer(f"{name}.{column}.{reason}", count)
    return TableCounts(**fields)


def _file(fields: Any) -> OutputFile:
    if not isinstance(fields, dict):
        raise ValueError("an entry of files is not an object")
    _same_fields(OutputFile, fields)
    for column in ("bytes", "records"):
        _integer(f"files.{column}", fields[column])
    if not isinstance(fields["path"], str) or not isinstance(fields["sha256"], str):
        raise ValueError("an entry of files has no path or no sha256")
    return OutputFile(**fields)
