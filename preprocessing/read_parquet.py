"""Reads Parquet files."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa

# Arrow before 14.0.1 unpickles what a file tells it to (CVE-2023-47248); this switches that off.
import pyarrow_hotfix  # noqa: F401
from pyarrow import parquet

from preprocessing.files import open_raw
from preprocessing.rows import BadRow, FileFault, RawBatch, shown
from preprocessing.texts import TEXT_ROLES, length_fault, scalar_texts

_BATCH_ROWS: Final = 32_768
_PER_SECOND: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_DAY_SECONDS: Final = 86_400


def parquet_columns(path: str) -> list[str]:
    """Column names of a Parquet file; raises ``OSError`` or ``pa.ArrowException`` when it is none."""
    with open_raw(path) as stream:
        return list(parquet.ParquetFile(stream).schema_arrow.names)


def read_parquet(path: str, columns: Mapping[str, str], max_field_bytes: int) -> Iterator[RawBatch | FileFault]:
    """Yields the rows of a Parquet file in batches, and at the end what is wrong with the file, if anything.

    Only the configured columns are read; the raw form of a row is a JSON object of them. Where a row group is damaged,
    the rows of it that cannot be read are bad, and the reading goes on with the next.

    Args:
      path: the file.
      columns: the column's name in the file for each role.
      max_field_bytes: rows with a longer field are bad.
    """
    first = 1
    fault: FileFault | None = None
    try:
        with open_raw(path) as stream:
            if not stream.read(1):
                yield FileFault("empty_file", "it holds no data")
                return
            stream.seek(0)
            file = parquet.ParquetFile(stream)
            present = {role: name for role, name in columns.items() if name in file.schema_arrow.names}
            for group in range(file.num_row_groups):
                end = first + file.metadata.row_group(group).num_rows
                try:
                    for batch in file.iter_batches(_BATCH_ROWS, [group], sorted(set(present.values()))):
                        yield _rows(first, batch, present, max_field_bytes)
                        first += batch.num_rows
                except (OSError, pa.ArrowException) as error:
                    reason, detail = _why(error)
                    fault = fault or FileFault(reason, f"row group {group + 1}: {detail}")
                    yield from _unreadable(first, end, reason, detail)
                first = end
    except (OSError, pa.ArrowException) as error:
        fault = fault or FileFault("corrupt_parquet", str(error))
    if fault:
        yield fault


def _why(error: Exception) -> tuple[str, str]:
    """Why a row group cannot be read: the reason as a word and in detail."""
    if "Expected all lists to be of size" in str(error):
        detail = "a column of lists of one fixed size has rows without any, which Arrow cannot read; write it as a list"
        return "unreadable_lists", detail
    return "corrupt_parquet", str(error)


def _unreadable(first: int, end: int, reason: str, detail: str) -> Iterator[RawBatch]:
    """Rows that the file says it has and nobody can read."""
    for begin in range(first, end, _BATCH_ROWS):
        lines = range(begin, min(begin + _BATCH_ROWS, end))
        bad = [BadRow(line, reason, detail, "") for line in lines]
        yield RawBatch(np.zeros(0, np.int64), {}, lambda i: "", bad, 0)


def _rows(first: int, batch: Any, columns: Mapping[str, str], max_field_bytes: int) -> RawBatch:
    arrays = {role: batch.column(batch.schema.get_field_index(name)) for role, name in columns.items()}
    values = {role: _vectors(array) if role == "embedding" else _column(array) for role, array in arrays.items()}
    lines = np.arange(first, first + batch.num_rows, dtype=np.int64)

    def raw(i: int) -> str:
        row = {name: values[role][i] for role, name in columns.items()}
        return json.dumps(row, ensure_ascii=False, default=_shown)

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


def _vectors(array: Any) -> list[Any]:
    """Lists of numbers as arrays of numpy: as objects of Python they would take eight times the memory."""
    kind = array.type
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not lists or not (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)):
        return _column(array)
    # A number that is missing becomes NaN, which the validation refuses.
    return [scalar.values.to_numpy(zero_copy_only=False) if scalar.is_valid else None for scalar in array]


def _column(array: Any) -> list[Any]:
    kind = array.type
    if pa.types.is_dictionary(kind):
        array = array.dictionary_decode()
        kind = array.type
    # Times become unix seconds here: neither nanoseconds nor years after 9999 have a type in Python.
    if pa.types.is_timestamp(kind) or pa.types.is_date64(kind):
        per_second = _PER_SECOND["ms" if pa.types.is_date64(kind) else kind.unit]
        return [None if value is None else value / per_second for value in array.cast(pa.int64()).to_pylist()]
    if pa.types.is_date32(kind):
        return [None if day is None else float(day * _DAY_SECONDS) for day in array.cast(pa.int32()).to_pylist()]
    try:
        return list(array.to_pylist())
    except UnicodeDecodeError:
        return [_value(scalar) for scalar in array]


def _value(scalar: Any) -> Any:
    """A value of a column in which something is not UTF-8: that comes as bytes."""
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        names = scalar.values if hasattr(scalar, "values") else pa.array([scalar.as_buffer().to_pybytes()])
        return b"|".join(name or b"" for name in names.cast(pa.binary()).to_pylist())


def _shown(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return shown(value) if isinstance(value, bytes) else str(value)


def _row(values: dict[str, Any], max_field_bytes: int) -> tuple[dict[str, Any], str, str]:
    try:
        row = scalar_texts(values)
    except UnicodeError as error:
        return {}, "bad_encoding", str(error)
    except TypeError as error:
        return {}, "wrong_type", str(error)
    detail = length_fault(((role, row.get(role)) for role in TEXT_ROLES), max_field_bytes)
    return ({}, "field_too_long", detail) if detail else (row, "", "")
