"""Writes the rows that could not be used, and keeps the account of a table's rows."""

import dataclasses
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any, Final

from preprocessing.errors import UserError
from preprocessing.files import replacing
from preprocessing.rows import BadRow, FileFault
from preprocessing.schema import DEAD_LETTERS, OutputFile
from preprocessing.sources import SourceFile

FILES: Final = f"{DEAD_LETTERS}/files.jsonl"
_REASONS_SHOWN: Final = 8
_FAULTS_SHOWN: Final = 3
_EVENTS_SHOWN: Final = 12
_EVENTS_KEPT: Final = 1000
_LOGGER: Final = logging.getLogger("mtmh.preprocessing")


@dataclasses.dataclass(frozen=True)
class Account:
    """What became of the rows of one or more files of a table.

    Attributes:
      rows_in: rows read.
      dead: bad rows by reason.
      dropped: good rows dropped, by rule.
      examples: for each reason the first row, ``(file, line, detail)``.
      faults: files not read whole, with the fault.
      files: the dead letter files.
      other_events: how often each value of ``event`` was dropped for not being one of ``input.events``; of each file
        the most frequent.
    """

    rows_in: int = 0
    dead: Mapping[str, int] = dataclasses.field(default_factory=dict)
    dropped: Mapping[str, int] = dataclasses.field(default_factory=dict)
    examples: Mapping[str, tuple[str, int, str]] = dataclasses.field(default_factory=dict)
    faults: tuple[tuple[str, FileFault], ...] = ()
    files: tuple[OutputFile, ...] = ()
    other_events: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def bad(self) -> int:
        """All bad rows."""
        return sum(self.dead.values())

    @property
    def good(self) -> int:
        """Rows that are neither bad nor dropped."""
        return self.rows_in - self.bad - sum(self.dropped.values())


def add_accounts(accounts: Iterable[Account]) -> Account:
    """The account of all files together; the same whatever the order."""
    accounts = list(accounts)
    examples: dict[str, tuple[str, int, str]] = {}
    for account in accounts:
        for reason, example in account.examples.items():
            examples[reason] = min(example, examples.get(reason, example))
    return Account(
        rows_in=sum(account.rows_in for account in accounts),
        dead=_total(account.dead for account in accounts),
        dropped=_total(account.dropped for account in accounts),
        examples=examples,
        faults=tuple(sorted((fault for account in accounts for fault in account.faults), key=lambda fault: fault[0])),
        files=tuple(sorted((file for account in accounts for file in account.files), key=lambda file: file.path)),
        other_events=_total(account.other_events for account in accounts),
    )


class DeadLetters:
    """Collects the account of one source file while its bad rows are written to ``dead_letters/``."""

    def __init__(self, source: SourceFile, stream: "_Lines"):
        """Takes the file's own stream, see ``dead_letters``."""
        self._source = source
        self._stream = stream
        self._rows_in = 0
        self._dead: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._other_events: Counter[str] = Counter()
        self._examples: dict[str, tuple[str, int, str]] = {}
        self._faults: list[tuple[str, FileFault]] = []

    def count(self, rows_in: int, dropped: Mapping[str, int], other_events: Mapping[str, int] | None = None) -> None:
        """Adds rows read, good and bad, good ones dropped by rule, and those dropped for their event by its value."""
        self._rows_in += rows_in
        self._dropped.update(dropped)
        for event, number in (other_events or {}).items():
            # A column that holds something else may have a value of its own in every row.
            if event in self._other_events or len(self._other_events) < _EVENTS_KEPT:
                self._other_events[event] += number

    def add(self, bad: Sequence[BadRow]) -> None:
        """Writes bad rows, which have been counted as read."""
        for row in bad:
            self._dead[row.reason] += 1
            self._examples.setdefault(row.reason, (self._source.path, row.line, row.detail))
            self._stream.write(
                {
                    "table": self._source.table,
                    "file": self._source.path,
                    "line": row.line,
                    "reason": row.reason,
                    "detail": row.detail,
                    "raw": row.raw,
                }
            )

    def fault(self, fault: FileFault) -> None:
        """Notes that the file could not be read whole, and says so in the log."""
        _LOGGER.warning("%s: %s: %s (%s)", self._source.table, self._source.path, fault.reason, fault.detail)
        self._faults.append((self._source.path, fault))

    def account(self) -> Account:
        """The account so far; the list of dead letter files comes with the closing of the file."""
        return Account(
            rows_in=self._rows_in,
            dead=dict(self._dead),
            dropped={rule: count for rule, count in self._dropped.items() if count},
            examples=self._examples,
            faults=tuple(self._faults),
            other_events=dict(_most(self._other_events)),
        )


class _Lines:
    """JSON Lines on a stream, opened when the first one comes."""

    def __init__(self, directory: str, path: str):
        self._directory = directory
        self._path = path
        self._context: Any = None
        self._stream: IO[bytes] | None = None
        self._digest = hashlib.sha256()
        self._bytes = 0
        self._records = 0

    def write(self, record: Mapping[str, Any]) -> None:
        if self._stream is None:
            self._context = replacing(f"{self._directory}/{self._path}")
            self._stream = self._context.__enter__()
        line = json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        self._stream.write(line)
        self._digest.update(line)
        self._bytes += len(line)
        self._records += 1

    def close(self, error: BaseException | None) -> tuple[OutputFile, ...]:
        if self._stream is None:
            return ()
        if error is not None:
            # The context manager raises the error again once it has removed the unfinished file.
            try:
                self._context.__exit__(type(error), error, error.__traceback__)
            except type(error):
                pass
            return ()
        self._context.__exit__(None, None, None)
        return (OutputFile(self._path, self._bytes, self._digest.hexdigest(), self._records),)


@dataclasses.dataclass
class _Closing:
    """Where the account of a file is found once its dead letters are on disk."""

    letters: DeadLetters
    account: Account = dataclasses.field(default_factory=Account)


@contextmanager
def dead_letters(directory: str, source: SourceFile) -> Iterator[_Closing]:
    """Opens the dead letters of a source file; its account is complete when the block has ended."""
    lines = _Lines(directory, f"{DEAD_LETTERS}/{source.table}-{source.index:05d}.jsonl")
    closing = _Closing(DeadLetters(source, lines))
    try:
        yield closing
    except BaseException as error:
        lines.close(error)
        raise
    closing.account = dataclasses.replace(closing.letters.account(), files=lines.close(None))


def write_faults(directory: str, faults: Sequence[tuple[str, str, FileFault]]) -> tuple[OutputFile, ...]:
    """Writes ``dead_letters/files.jsonl``, a record for each ``(table, path, fault)``; nothing without any."""
    lines = _Lines(directory, FILES)
    for table, path, fault in faults:
        lines.write({"table": table, "file": path, "reason": fault.reason, "detail": fault.detail})
    return lines.close(None)


def check_bad_share(table: str, account: Account, max_bad_share: float, shown_directory: str) -> None:
    """Fails when too many rows are bad.

    Raises:
      UserError: with the reasons by count, an example of each, the files that could not be read whole, and where the
        dead letters are.
    """
    if account.bad <= max_bad_share * account.rows_in:
        return
    reasons = sorted(account.dead.items(), key=lambda entry: (-entry[1], entry[0]))
    parts = []
    for reason, count in reasons[:_REASONS_SHOWN]:
        file, line, detail = account.examples[reason]
        parts.append(f"{reason} {count:,} (first: {file}:{line}): {detail}")
    if len(reasons) > _REASONS_SHOWN:
        parts.append(f"{len(reasons) - _REASONS_SHOWN} more reasons")
    raise UserError(
        f"{account.bad:,} of {account.rows_in:,} rows of {table} are bad "
        f"({account.bad / account.rows_in:.1%}, at most {max_bad_share:.1%} are accepted): "
        f"{'; '.join(parts)}{_faults(account)}; each is in {shown_directory}/{DEAD_LETTERS}; "
        "repair the input or raise input.max_bad_share"
    )


def check_any_good(table: str, account: Account) -> None:
    """Fails when no row is left.

    Raises:
      UserError: with what became of the rows.
    """
    if account.good > 0:
        return
    faults = _faults(account)
    if not account.rows_in:
        raise UserError(f"the {table} have no rows, nothing below a header{faults}; give files with data in them")
    seen = ", ".join(f"{event:.60}" or "none" for event, _ in _most(account.other_events))
    fates = {**account.dropped, **account.dead}
    became = ", ".join(f"{name} {count:,}" for name, count in sorted(fates.items()))
    rules = ", input.events and input.min_value" if "event_filter" in fates or "below_min_value" in fates else ""
    raise UserError(
        f"no usable row in the {account.rows_in:,} rows of {table}: {became}{faults}; "
        f"check the input files{rules}{f'; the events are {seen}' if seen else ''}"
    )


def _faults(account: Account) -> str:
    return "".join(f"; {path}: {fault.reason} ({fault.detail})" for path, fault in account.faults[:_FAULTS_SHOWN])


def _most(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """The most frequent names, the same whatever the order."""
    return sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:_EVENTS_SHOWN]


def _total(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return {name: total[name] for name in sorted(total) if total[name]}
