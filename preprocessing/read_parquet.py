"""Reads Parquet files."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Arrow before 14.0.1 unpickles what a file tells it to (CVE-2023-47248); this switches that off.
import pyarrow_hotfix  # noqa: F401
from pyarrow import parquet

from preprocessing.files import open_raw
from preprocessing.rows import BadRow, FileFault, RawBatch
from preprocessing.texts import TEXT_ROLES, scalar_texts

_BATCH_ROWS: Final = 32_768


def parquet_columns(path: str) -> list[str]:
    """Column names of a Parquet file; raises ``OSError`` or ``pa.ArrowException`` when it is none."""
    with open_raw(path) as stream:
        return list(parquet.ParquetFile(stream).schema_arrow.names)


def read_parquet(path: str, columns: Mapping[str, str], max_field_bytes: int) -> Iterator[RawBatch | FileFault]:
    """Yields the rows of a Parquet file in batches, and at the end what is wrong with the file, if anything.

    Only the configured columns are read; the raw form of a row is a JSON object of them.

    Args:
      path: the file.
      columns: the column's name in the file for each role.
      max_field_bytes: rows with a longer field are bad.
    """
    first = 1
    try:
        with open_raw(path) as stream:
            if not stream.read(1):
                yield FileFault("empty_file", "it holds no data")
                return
            stream.seek(0)
            file = parquet.ParquetFile(stream)
            present = {role: name for role, name in columns.items() if name in file.schema_arrow.names}
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=sorted(set(present.values()))):
                yield _rows(first, batch, present, max_field_bytes)
                first += batch.num_rows
    except (OSError, pa.ArrowException) as error:
        yield FileFault("corrupt_parquet", str(error))


def _rows(first: int, batch: Any, columns: Mapping[str, str], max_field_bytes: int) -> RawBatch:
    values = {role: _column(batch.column(batch.schema.get_field_index(name))) for role, name in columns.items()}
    lines = np.arange(first, first + batch.num_rows, dtype=np.int64)

    def raw(i: int) -> str:
        row = {name: values[role][i] for role, name in columns.items()}
        return json.dumps(row, ensure_ascii=False, default=repr)

    keep: list[int] = []
    rows: list[dict[str, Any]] = []
    bad: list[BadRow] = []
    for i in range(batch.num_rows):
        row, reason, detail = _row({role: column[i] for role, column in values.items()}, max_field_bytes)
        if reason:
            bad.append(BadRow(first + i, reason, detail, raw(i)))
        else:
            keep.append(i)
            rows.append(row)
    return RawBatch(
        lines=lines[keep],
        columns={role: [row[role] for row in rows] for role in columns},
        raw=lambda i: raw(keep[i]),
        bad=bad,
        blank_lines=0,
    )


def _column(array: Any) -> list[Any]:
    kind = array.type
    if pa.types.is_dictionary(kind):
        array = array.dictionary_decode()
        kind = array.type
    if pa.types.is_timestamp(kind):
        # Nanoseconds have no Python type; microseconds are all that unix seconds in a double can hold.
        array = pc.cast(array, pa.timestamp("us", tz=kind.tz), safe=False)
    try:
        return list(array.to_pylist())
    except UnicodeDecodeError:
        return list(pc.cast(array, pa.binary()).to_pylist())


def _row(values: dict[str, Any], max_field_bytes: int) -> tuple[dict[str, Any], str, str]:
    try:
        row = scalar_texts(values)
    except UnicodeError as error:
        return {}, "bad_encoding", str(error)
    except TypeError as error:
        return {}, "wrong_type", str(error)
    for role in TEXT_ROLES:
        text = row.get(role)
        if text is not None and 4 * len(text) > max_field_bytes:
            size = len(text.encode("utf-8"))
            if size > max_field_bytes:
                return {}, "field_too_long", f"{role} has {size} bytes, at most {max_field_bytes} are taken"
    return row, "", ""
