"""Reads JSON Lines files."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import numpy as np

from preprocessing.lines import read_lines
from preprocessing.rows import RAW_BYTES, BadRow, FileFault, RawBatch, shown
from preprocessing.texts import TEXT_ROLES, length_fault, scalar_texts


def parse_object(text: str) -> dict[str, Any]:
    """One line as a JSON object; raises ``ValueError`` when it is none."""
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def read_jsonl(path: str, columns: Mapping[str, str], max_field_bytes: int) -> Iterator[RawBatch | FileFault]:
    """Yields the rows of a JSON Lines file in batches, and at the end what is wrong with the file, if anything.

    Args:
      path: the file, plain or gzip.
      columns: the key in the file for each role; a row without the key has no value there.
      max_field_bytes: rows with a longer field are bad.
    """
    for block in read_lines(path):
        if isinstance(block, FileFault):
            yield block
        elif block.fault:
            yield _broken(block.first, block.data, block.fault)
        else:
            yield _rows(block.first, block.data.split(b"\n"), columns, max_field_bytes)


def _rows(first: int, lines: list[bytes], columns: Mapping[str, str], max_field_bytes: int) -> RawBatch:
    numbers: list[int] = []
    rows: list[dict[str, Any]] = []
    bad: list[BadRow] = []
    blank = 0
    for number, line in enumerate(lines, start=first):
        line = line.removesuffix(b"\r")
        if not line.strip():
            blank += 1
            continue
        row, reason, detail = _row(line, columns, max_field_bytes)
        if reason:
            bad.append(BadRow(number, reason, detail, shown(line)))
        else:
            numbers.append(number)
            rows.append(row)
    return RawBatch(
        lines=np.array(numbers, dtype=np.int64),
        columns={role: [row.get(role) for row in rows] for role in columns},
        raw=lambda i: shown(lines[numbers[i] - first].removesuffix(b"\r")),
        bad=bad,
        blank_lines=blank,
    )


def _row(line: bytes, columns: Mapping[str, str], max_field_bytes: int) -> tuple[dict[str, Any], str, str]:
    if b"\0" in line:
        return {}, "nul_byte", "the row holds a NUL byte"
    try:
        value = parse_object(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return {}, "bad_encoding", f"not UTF-8 at byte {error.start} of the row"
    except ValueError as error:
        return {}, "bad_json", str(error)
    try:
        row = scalar_texts({role: value.get(name) for role, name in columns.items()})
    except TypeError as error:
        return {}, "wrong_type", str(error)
    except UnicodeError as error:
        return {}, "bad_encoding", str(error)
    if 4 * len(line) > max_field_bytes:
        detail = length_fault(((role, row.get(role)) for role in TEXT_ROLES), max_field_bytes)
        if detail:
            return {}, "field_too_long", detail
    return row, "", ""


def _broken(line: int, head: bytes, fault: str) -> RawBatch:
    long = fault == "line_too_long"
    row = BadRow(
        line,
        fault,
        "the line is longer than 1 MiB" if long else "the file breaks off in this line",
        shown(head) + (f"... [cut at {RAW_BYTES} bytes]" if long else ""),
    )
    return RawBatch(np.zeros(0, np.int64), {}, lambda i: "", [row], 0)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
