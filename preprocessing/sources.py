"""Finds the input files and checks their headers before anything is run."""

import dataclasses
import difflib
import glob
import logging
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Final

from preprocessing.config import Columns, InputConfig
from preprocessing.errors import UserError
from preprocessing.files import filesystems, is_local, without_scheme
from preprocessing.lines import read_lines
from preprocessing.read_csv import csv_delimiter, find_delimiter, parse_header, read_csv
from preprocessing.read_jsonl import parse_object, read_jsonl
from preprocessing.rows import FileFault, RawBatch
from preprocessing.spans import Span, find_spans, has_spans

INTERACTIONS: Final = "interactions"
ITEM_TABLE: Final = "items"
ANNOTATION_TABLE: Final = "annotations"
REQUIRED_ROLES: Final[Mapping[str, tuple[str, ...]]] = {
    INTERACTIONS: ("user_id", "item_id", "timestamp"),
    ITEM_TABLE: ("item_id",),
    ANNOTATION_TABLE: ("trigger_id", "item_id", "grade"),
}
OPTIONAL_ROLES: Final[Mapping[str, tuple[str, ...]]] = {
    INTERACTIONS: ("event", "value", "session_id"),
    ITEM_TABLE: ("title", "description", "categories", "embedding"),
    ANNOTATION_TABLE: (),
}
_OWN_ITEM_ID: Final[Mapping[str, str]] = {ITEM_TABLE: "catalogue_item_id", ANNOTATION_TABLE: "annotation_item_id"}
"""Options that name the item's column in one table alone."""
_FORMATS: Final = {
    ".csv": "csv",
    ".csv.gz": "csv",
    ".tsv": "csv",
    ".tsv.gz": "csv",
    ".jsonl": "jsonl",
    ".jsonl.gz": "jsonl",
    ".ndjson": "jsonl",
    ".ndjson.gz": "jsonl",
    ".json": "jsonl",
    ".json.gz": "jsonl",
    ".parquet": "parquet",
}
_GZIP_RATIO: Final = 4
"""Text in an interaction log shrinks by about this much; only the number of shards follows from it."""
_UNREAD_SHOWN: Final = 20
_READ_BY_RULES: Final = ("event", "value")
_NOT_UTF8: Final = "{} is not UTF-8 text; save it as UTF-8"
_JSON_HEAD_LINES: Final = 100
_JSON_HEAD: Final = f" in its first {_JSON_HEAD_LINES} lines"
_LOGGER: Final = logging.getLogger("mtmh.preprocessing")


@dataclasses.dataclass(frozen=True)
class SourceFile:
    """One input file: its table, place among the table's sorted files, path, format and size in bytes, and its span."""

    table: str
    index: int
    path: str
    format: str
    bytes: int
    span: Span | None = None

    @property
    def text_bytes(self) -> int:
        """Size of the content, estimated for compressed files."""
        return self.bytes * (_GZIP_RATIO if self.path.endswith(".gz") else 1)


def find_sources(table: str, patterns: Sequence[str], config: InputConfig) -> tuple[SourceFile, ...]:
    """Expands files and globs to the sorted files of a table.

    Of a pattern with spans, see `preprocessing.spans`: interactions are read from the last ``input.spans``, annotations
    from all; items, a picture of the catalogue, from the newest.

    Raises:
      UserError: a pattern matches nothing, its spans are not usable, or a file's format cannot be told.
    """
    if isinstance(patterns, str) or not patterns:
        raise UserError(f"no {table} files given; expected at least one path or glob: --{table} PATH")
    sizes: dict[str, int] = {}
    spans: dict[str, Span] = {}
    for pattern in map(without_scheme, patterns):
        if has_spans(pattern):
            newest = {INTERACTIONS: config.spans, ITEM_TABLE: 1}.get(table)
            for span, files in _spans(table, pattern, newest, gaps=config.span_gaps).items():
                sizes.update(files)
                spans.update(dict.fromkeys(files, span))
            continue
        found = _match(pattern)
        if not found and is_local(pattern) and os.path.isdir(pattern):
            ending = next(filter(None, map(_ending, sorted(os.listdir(pattern)))), ".csv")
            raise UserError(
                f"{table}: {pattern} is a directory; name the files in it: {os.path.join(pattern, f'*{ending}')}"
            )
        if not found:
            raise UserError(f"{table}: no file matches {pattern!r}; give an existing file or a glob that matches one")
        sizes.update(found)
    if table == INTERACTIONS and config.spans is not None and not spans:
        raise UserError(
            f"input.spans is {config.spans}, but no path of the interactions has spans: write them into it, such as "
            "'log/span-{SPAN}/*.csv', or leave the option out"
        )
    in_order = sorted(sizes, key=lambda path: (spans[path].number if path in spans else -1, path))
    return tuple(
        SourceFile(table, index, path, _format(path, config), sizes[path], spans.get(path))
        for index, path in enumerate(in_order)
    )


def _spans(table: str, pattern: str, newest: int | None, *, gaps: bool) -> dict[Span, dict[str, int]]:
    try:
        return find_spans(pattern, _match, newest, gaps=gaps)
    except UserError as error:
        raise UserError(f"{table}: {error}") from None


def spans_of(sources: Sequence[SourceFile]) -> tuple[Span, ...]:
    """The spans that files are of, in their order; empty where the pattern names none."""
    return tuple(dict.fromkeys(source.span for source in sources if source.span is not None))


def check_headers(sources: Sequence[SourceFile], config: InputConfig) -> None:
    """Checks that every readable file has the columns that its table needs.

    Files that cannot be read are left to the run, which accounts for them; but some file must be readable. Rows of JSON
    Lines leave out what they have no value for, and only the first are read: the log warns of an optional column.

    Raises:
      UserError: a column is missing or named twice, or no file has any data.
    """
    table = sources[0].table
    _check_distinct(table, config.columns)
    faults: list[str] = []
    found: set[str] = set()
    for source in sources:
        names = column_names(source, config)
        if isinstance(names, FileFault):
            faults.append(f"{source.path}: {names.reason} ({names.detail})")
            continue
        found.update(names)
        for role in (*REQUIRED_ROLES[table], *_needed_by_rules(table, config)):
            name = _column(table, role, config.columns)
            if name not in names:
                missing = _missing(source, role, config.columns, names)
                if source.format != "jsonl" or role in REQUIRED_ROLES[table]:
                    raise UserError(missing)
                _LOGGER.warning("%s: %s", table, missing)
        for role in (*REQUIRED_ROLES[table], *OPTIONAL_ROLES[table]):
            name = _column(table, role, config.columns)
            if names.count(name) > 1:
                raise UserError(f"{source.path} has {names.count(name)} columns named {name!r}; rename all but one")
    if len(faults) == len(sources):
        raise UserError(f"no {table} file can be read: {'; '.join(faults[:3])}; give files with data in them")
    _check_renamed(sources, config.columns, found)
    unread = sorted(found - set(_columns(table, config.columns).values()))
    if unread:
        more = f" and {len(unread) - _UNREAD_SHOWN} more" if len(unread) > _UNREAD_SHOWN else ""
        shown = ", ".join(map(repr, unread[:_UNREAD_SHOWN]))
        _LOGGER.info("%s: not read, as no option below input.columns names them: %s%s", table, shown, more)


def _check_renamed(sources: Sequence[SourceFile], columns: Columns, found: Set[str]) -> None:
    """Checks that optional columns that have been given a name are in some file."""
    table = sources[0].table
    defaults = Columns()
    for role in OPTIONAL_ROLES[table]:
        name = getattr(columns, role)
        if name != getattr(defaults, role) and name not in found:
            lines = any(source.format == "jsonl" for source in sources)
            where = _JSON_HEAD if lines else ""
            missing = (
                f"input.columns.{role} is {name!r}, but no {table} file has that column{where}; "
                f"found: {', '.join(sorted(found))}"
            )
            if not lines:
                raise UserError(missing)
            _LOGGER.warning("%s", missing)


def column_names(source: SourceFile, config: InputConfig) -> list[str] | FileFault:
    """Names of the columns of a file, or why they cannot be read."""
    if source.format == "parquet":
        return _parquet_names(source.path)
    for block in read_lines(source.path):
        if isinstance(block, FileFault):
            return block
        if block.fault == "line_too_long" and source.format == "jsonl":
            continue
        if block.fault:
            return FileFault(block.fault, "its first line cannot be read")
        lines = block.data.split(b"\n", _JSON_HEAD_LINES)[:_JSON_HEAD_LINES]
        return _csv_names(source, lines[0], config) if source.format == "csv" else _json_names(source.path, lines)
    return FileFault("line_too_long", "none of its lines can be read")


def _csv_names(source: SourceFile, header: bytes, config: InputConfig) -> list[str]:
    try:
        names = _columns(source.table, config.columns).values()
        return parse_header(header, csv_delimiter(config.delimiter) or find_delimiter(header, names))
    except UnicodeDecodeError as error:
        raise UserError(_NOT_UTF8.format(source.path)) from error
    except ValueError as error:
        raise UserError(f"{source.path}: its first line is no CSV header: {error}") from error


def _json_names(path: str, lines: Sequence[bytes]) -> list[str]:
    names: dict[str, None] = {}
    undecodable = False
    for line in lines:
        try:
            names.update(dict.fromkeys(parse_object(line.decode("utf-8"))))
        except UnicodeDecodeError:
            undecodable = True
        except ValueError:
            continue
    if not names and undecodable:
        raise UserError(_NOT_UTF8.format(path))
    if not names:
        raise UserError(
            f"{path}: none of its first lines is a JSON object; expected JSON Lines, one object a line and no "
            "list around them (`jq -c .[]` makes them of a list)"
        )
    return list(names)


def read_source(source: SourceFile, config: InputConfig, *, embedding: bool = False) -> Iterator[RawBatch | FileFault]:
    """Yields the rows of a file in batches, and at the end what is wrong with the file, if anything.

    Of typed formats only what somebody reads: a column of another type would make its rows bad, for nothing.

    Args:
      source: the file.
      config: its columns and format.
      embedding: whether the vectors that items bring are wanted; reading them costs more than all the rest.
    """
    columns = _columns(source.table, config.columns)
    if not embedding:
        columns.pop("embedding", None)
    if source.format == "csv":
        # Here all is text, and a line end in one of these tells that a quote is never closed.
        return read_csv(source.path, columns, csv_delimiter(config.delimiter), config.max_field_bytes)
    needed = _needed_by_rules(source.table, config)
    columns = {role: name for role, name in columns.items() if role not in _READ_BY_RULES or role in needed}
    if source.format == "jsonl":
        return read_jsonl(source.path, columns, config.max_field_bytes)
    from preprocessing.read_parquet import read_parquet

    return read_parquet(source.path, columns, config.max_field_bytes)


def _match(pattern: str) -> dict[str, int]:
    """Paths and sizes of the files that a path or glob stands for."""
    if is_local(pattern):
        # A plain path may hold glob characters; Beam's matcher would not find it.
        paths = [pattern] if os.path.isfile(pattern) else glob.glob(pattern, recursive=True)
        return {path: os.path.getsize(path) for path in paths if os.path.isfile(path)}
    try:
        (result,) = filesystems().match([pattern])
    except Exception as error:
        raise UserError(f"cannot list {pattern}: {error}") from error
    return {metadata.path: metadata.size_in_bytes for metadata in result.metadata_list}


def _format(path: str, config: InputConfig) -> str:
    if config.format != "auto":
        return config.format
    ending = _ending(path)
    if ending is None:
        raise UserError(
            f"cannot tell the format of {path} by its name; expected one of {', '.join(_FORMATS)}: leave the file out "
            "of the glob, or say what all tables are: --set input.format=csv"
        )
    return _FORMATS[ending]


def _ending(path: str) -> str | None:
    name = path.rsplit("/", 1)[-1].lower()
    return next((ending for ending in _FORMATS if name.endswith(ending)), None)


def _needed_by_rules(table: str, config: InputConfig) -> tuple[str, ...]:
    """Optional columns that the configuration's filters read."""
    if table != INTERACTIONS:
        return ()
    return (*(("event",) if config.events else ()), *(("value",) if config.min_value is not None else ()))


def _columns(table: str, columns: Columns) -> dict[str, str]:
    """Names of a table's columns by role."""
    return {role: _column(table, role, columns) for role in (*REQUIRED_ROLES[table], *OPTIONAL_ROLES[table])}


def _column(table: str, role: str, columns: Columns) -> str:
    """Name of the column that a role has in a table."""
    own: str | None = getattr(columns, _own_option(table, role))
    shared: str = getattr(columns, role)
    return shared if own is None else own


def _own_option(table: str, role: str) -> str:
    """The option below ``input.columns`` that names a role's column in this table and, if it can be, in no other."""
    return _OWN_ITEM_ID.get(table, role) if role == "item_id" else role


def _check_distinct(table: str, columns: Columns) -> None:
    """Checks that no column stands for two things that every row needs."""
    roles: dict[str, str] = {}
    for role in REQUIRED_ROLES[table]:
        name, option = _column(table, role, columns), _own_option(table, role)
        if name in roles:
            raise UserError(
                f"input.columns.{roles[name]} and input.columns.{option} both name the column {name!r}; "
                "name a column of its own for each"
            )
        roles[name] = option


def _missing(source: SourceFile, role: str, columns: Columns, names: Sequence[str]) -> str:
    name = _column(source.table, role, columns)
    where = _JSON_HEAD if source.format == "jsonl" else ""
    found = f"{source.path} has no column {name!r}{where}; found: {', '.join(map(repr, names)) or 'none'}"
    other = next((mark for mark in (",", ";", "\t", "|") if len(names) == 1 and mark in names[0]), None)
    if source.format == "csv" and other:
        return (
            f"{found}; the fields are separated by another character than input.delimiter: with "
            "--set input.delimiter=auto each file's own is found"
        )
    taken = set(_columns(source.table, columns).values())
    lower = {other.lower(): other for other in reversed(names) if other not in taken}
    part = next((other for other in lower if other and (other in name.lower() or name.lower() in other)), None)
    close = [part] if part else difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.4)
    only = next(iter(lower.values())) if len(lower) == 1 else "NAME"
    nearest = lower[close[0]] if close else only
    option = shlex.quote(f"input.columns.{_own_option(source.table, role)}={nearest}")
    return f"{found}; say which one it is: --set {option}"


def _parquet_names(path: str) -> list[str] | FileFault:
    import pyarrow as pa

    from preprocessing.read_parquet import parquet_columns

    try:
        return parquet_columns(path)
    except (OSError, pa.ArrowException) as error:
        return FileFault("corrupt_parquet", str(error))


def total_text_bytes(sources: Sequence[SourceFile]) -> int:
    """Estimated size of all files' content."""
    return sum(source.text_bytes for source in sources)
