"""Reads CSV files: exact about quoting; a broken row takes no good one along where a text can be told from rows."""

import csv
import itertools
from collections.abc import Collection, Iterator, Mapping
from typing import Final

import numpy as np

from preprocessing.errors import UserError
from preprocessing.lines import MAX_LINE_BYTES, read_lines
from preprocessing.rows import RAW_BYTES, BadRow, FileFault, RawBatch, shown
from preprocessing.texts import TEXT_ROLES, length_fault

_DELIMITERS: Final = (",", ";", "\t", "|")
_SURE_LINES: Final = 50
"""A record of more lines may be a quote that nobody meant: then most of its lines are records themselves."""
_NEARLY_ALL: Final = 0.9
_UNCLOSED: Final = "unexpected end of data"
_TELLING_ROLES: Final = ("timestamp", "grade")
"""What no line of a text holds: where a table has one of these, a line of a text does not pass for a row."""
_ONE_LINE_ROLES: Final = ("user_id", "item_id", "timestamp", "session_id", "event", "value", "trigger_id", "grade")

csv.field_size_limit(2 * MAX_LINE_BYTES)


def parse_header(line: bytes, delimiter: str) -> list[str]:
    """Column names of a CSV header; raises ``ValueError`` when it is none."""
    text = line.rstrip(b"\r").decode("utf-8")
    if "\r" in text:
        raise ValueError("lines end in a lone carriage return; save it with ordinary line ends")
    try:
        return [name.strip() for name in next(csv.reader([text], delimiter=delimiter, strict=True), [])]
    except csv.Error as error:
        raise ValueError(str(error)) from error


def csv_delimiter(text: str) -> str:
    """The configured field separator, or nothing where each file's own is to be found; a tab may be spelled out.

    Raises:
      UserError: it is not one character that can separate fields.
    """
    if text == "auto":
        return ""
    delimiter = "\t" if text == "\\t" else text
    if len(delimiter) != 1 or delimiter in '"\r\n\0 ':
        raise UserError(f"input.delimiter is {text!r}; expected auto, or one character such as ',' ';' '|' or '\\t'")
    return delimiter


def find_delimiter(line: bytes, names: Collection[str]) -> str:
    """The separator by which a CSV header holds most of the names; of several, that which makes most fields of it."""

    def fit(delimiter: str) -> tuple[int, int]:
        try:
            header = parse_header(line, delimiter)
        except ValueError:
            return 0, 1
        return len(set(names) & set(header)), len(header)

    return max(_DELIMITERS, key=fit)


def read_csv(
    path: str, columns: Mapping[str, str], delimiter: str, max_field_bytes: int
) -> Iterator[RawBatch | FileFault]:
    """Yields the rows of a CSV file in batches, and at the end what is wrong with the file, if anything.

    Args:
      path: the file, plain or gzip; its first line is the header.
      columns: the column's name in the file for each role.
      delimiter: one character; empty: that which `find_delimiter` finds for the columns.
      max_field_bytes: rows with a longer field are bad.
    """
    parser: _Parser | None = None
    for block in read_lines(path):
        if isinstance(block, FileFault):
            if parser is not None:
                yield parser.finish()
                parser = None
            yield block
            return
        if parser is None:
            head, newline, rest = block.data.partition(b"\n")
            if block.fault == "line_too_long":
                yield FileFault("bad_header", "its first line is longer than 1 MiB")
                return
            if block.fault:
                continue
            delimiter = delimiter or find_delimiter(head, columns.values())
            try:
                header = parse_header(head, delimiter)
            except ValueError as error:
                yield FileFault("bad_header", f"its first line is no CSV header: {error}")
                return
            parser = _Parser(header, columns, delimiter, max_field_bytes)
            if newline:
                yield parser.feed(block.first + 1, rest)
        elif block.fault:
            yield parser.broken(block.first, block.data, block.fault)
        else:
            yield parser.feed(block.first, block.data)
    if parser is not None:
        yield parser.finish()


class _Parser:
    """Takes blocks of lines apart; an unclosed quote at the end of a block waits for the next one."""

    def __init__(self, header: list[str], columns: Mapping[str, str], delimiter: str, max_field_bytes: int):
        self._width = len(header)
        self._at = {role: header.index(name) for role, name in columns.items() if name in header}
        self._texts = [(role, at) for role, at in self._at.items() if role in TEXT_ROLES]
        self._one_line = [at for role, at in self._at.items() if role in _ONE_LINE_ROLES]
        self._tells = any(role in self._at for role in _TELLING_ROLES)
        self._delimiter = delimiter
        self._max_field_bytes = max_field_bytes
        self._waiting: list[bytes] = []
        self._waiting_first = 0
        self._first = 0
        self._given_up = 0
        """The line up to which an opening quote was last looked after in vain."""

    def feed(self, first: int, data: bytes) -> RawBatch:
        """Rows of the lines in ``data``, of which the first is line ``first``."""
        if not self._waiting and b'"' not in data and b"\0" not in data:
            batch = self._plain(first, data)
            if batch is not None:
                return batch
        lines = data.split(b"\n")
        if self._waiting:
            lines, first = self._waiting + lines, self._waiting_first
            self._waiting = []
        return self._records(first, lines, final=False)

    def broken(self, line: int, head: bytes, fault: str) -> RawBatch:
        """A line of which only the head is there: it is bad, and a quote that waits for its end is unclosed."""
        batch = self.finish()
        detail = {"line_too_long": "the line is longer than 1 MiB"}.get(fault, "the file breaks off in this line")
        mark = f"... [cut at {RAW_BYTES} bytes]" if fault == "line_too_long" else ""
        batch.bad.append(BadRow(line, fault, detail, shown(head) + mark))
        return batch

    def finish(self) -> RawBatch:
        """Rows of the lines that still waited for a closing quote."""
        lines, self._waiting = self._waiting, []
        return self._records(self._waiting_first, lines, final=True)

    def _plain(self, first: int, data: bytes) -> RawBatch | None:
        """The quick way for a block without anything unusual in it; ``None`` when there is something."""
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            return None
        if "\r" in text:
            text = text.replace("\r\n", "\n").removesuffix("\r")
        lines = text.split("\n")
        delimiter, width = self._delimiter, self._width
        if set(map(str.count, lines, itertools.repeat(delimiter))) != {width - 1}:
            return None
        if 4 * max(map(len, lines)) > self._max_field_bytes or (
            width == 1 and not all(line.strip(" ") for line in lines)
        ):
            return None
        # All fields in one list: a list for each line would cost more than all the rest.
        fields = text.replace("\n", delimiter).split(delimiter)
        return RawBatch(
            lines=np.arange(first, first + len(lines), dtype=np.int64),
            columns={role: fields[at::width] for role, at in self._at.items()},
            raw=lines.__getitem__,
            bad=[],
            blank_lines=0,
        )

    def _records(self, first: int, lines: list[bytes], *, final: bool) -> RawBatch:
        numbers: list[int] = []
        rows: list[list[str]] = []
        raws: list[bytes] = []
        bad: list[BadRow] = []
        blank = 0
        at = 0
        self._first = first
        while at < len(lines):
            line = lines[at].removesuffix(b"\r")
            number = first + at
            if not line.strip(b" "):
                blank += 1
                at += 1
                continue
            fields, reason, detail, used = self._record(lines, at, line, final=final)
            if used == 0:
                self._waiting, self._waiting_first = lines[at:], number
                break
            if reason == "unclosed_quote":
                parts = [shown(part.removesuffix(b"\r")) for part in lines[at : at + used]]
                bad += [BadRow(number + i, reason, detail, part) for i, part in enumerate(parts)]
            elif reason:
                bad.append(BadRow(number, reason, detail, shown(self._raw(lines, at, line, used))))
            else:
                numbers.append(number)
                rows.append(fields)
                raws.append(self._raw(lines, at, line, used))
            at += used
        return RawBatch(
            lines=np.array(numbers, dtype=np.int64),
            columns={role: [row[column] for row in rows] for role, column in self._at.items()},
            raw=lambda i: shown(raws[i]),
            bad=bad,
            blank_lines=blank,
        )

    @staticmethod
    def _raw(lines: list[bytes], at: int, line: bytes, used: int) -> bytes:
        return line if used == 1 else b"\n".join(lines[at : at + used])

    def _record(self, lines: list[bytes], at: int, line: bytes, *, final: bool) -> tuple[list[str], str, str, int]:
        """Fields, or a reason and its detail, and the lines used: 0 when the block ends before the record does."""
        if b"\0" in line:
            return [], "nul_byte", "the row holds a NUL byte", 1
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            return [], "bad_encoding", f"not UTF-8 at byte {error.start} of the row", 1
        if '"' not in text:
            return *self._checked(text.split(self._delimiter)), 1
        fields, problem = self._strict([text])
        if not problem:
            return *self._checked(fields), 1
        if problem != _UNCLOSED:
            return [], "bad_quoting", problem, 1
        return self._extended(lines, at, text, final=final)

    def _extended(self, lines: list[bytes], at: int, text: str, *, final: bool) -> tuple[list[str], str, str, int]:
        """A record that goes on over the following lines.

        A long one half of whose lines look like rows may be rows between two quotes that nobody meant. They are tried
        one by one where no line of a text passes for a row, or where nearly all look like rows of three fields or more.
        Elsewhere nobody can tell, and all of them are bad.
        """
        unclosed: tuple[list[str], str, str, int] = ([], "unclosed_quote", "a quoted field is never closed", 1)
        reader = csv.reader(self._following(lines, at, text), delimiter=self._delimiter, strict=True)
        try:
            fields = next(reader)
        except (csv.Error, ValueError) as error:
            # At the end of the lines that are there, the reader finds no other fault.
            if str(error) == _UNCLOSED and not final:
                return [], "", "", 0
            self._given_up = max(self._given_up, self._first + at + reader.line_num)
            return unclosed
        if len(fields) != self._width or any("\n" in fields[column] for column in self._one_line):
            return unclosed
        used = reader.line_num
        if used > _SURE_LINES:
            delimiter = self._delimiter.encode("utf-8")
            like_rows = [line.count(delimiter) == self._width - 1 for line in lines[at : at + used]]
            if 2 * sum(like_rows) >= used:
                if self._tells or (self._width > 2 and sum(like_rows[1:-1]) >= _NEARLY_ALL * (used - 2)):
                    return unclosed
                return [], "unclosed_quote", "a quoted field holds what looks like rows, or is never closed", used
        return *self._checked(fields), used

    def _following(self, lines: list[bytes], at: int, text: str) -> Iterator[str]:
        """Yields a record's first line and those that may belong to it; raises ``ValueError`` when they do not."""
        yield text + "\n"
        size = len(text)
        # Where a long way was gone in vain none is gone again, so that the work grows with the lines.
        longest = _SURE_LINES if self._first + at < self._given_up else len(lines)
        for place in range(at + 1, len(lines)):
            if place - at > longest:
                raise ValueError("no record")
            line = lines[place]
            size += len(line) + 1
            if size > MAX_LINE_BYTES or b"\0" in line:
                raise ValueError("no record")
            yield line.decode("utf-8") + "\n"

    def _strict(self, lines: list[str]) -> tuple[list[str], str]:
        """Fields of exactly one record, or what is wrong with it."""
        try:
            records = list(csv.reader(lines, delimiter=self._delimiter, strict=True))
        except csv.Error as error:
            return [], str(error)
        return (records[0], "") if len(records) == 1 else ([], "a record ends before its line does")

    def _checked(self, fields: list[str]) -> tuple[list[str], str, str]:
        if len(fields) != self._width:
            return [], "wrong_field_count", f"{len(fields)} fields, the header has {self._width}"
        detail = length_fault(((role, fields[at]) for role, at in self._texts), self._max_field_bytes)
        return ([], "field_too_long", detail) if detail else (fields, "", "")
