# mypy: allow-untyped-calls
"""What the steps of interactions and of annotations share: tables whose rows name items of the catalogue."""

import logging
import time
from collections.abc import Callable, Iterator
from typing import Final, Generic

import apache_beam as beam

from preprocessing.dead_letters import Account, add_accounts, check_any_good, check_bad_share, dead_letters
from preprocessing.job import PROGRESS_SECONDS, Job, count_metrics
from preprocessing.mistakes import Mistake, first_mistake, hands_on_mistakes
from preprocessing.parse import ParsedRows, Validated
from preprocessing.rows import FileFault, RawBatch
from preprocessing.sources import SourceFile, read_source

_LOGGER: Final = logging.getLogger("mtmh.preprocessing")


class ItemIndex:
    """Each item's index by its id, made once for all files that one worker reads."""

    def __init__(self) -> None:
        self._ids: list[str] | None = None
        self._index: dict[str, int] = {}

    def of(self, ids: list[str]) -> dict[str, int]:
        """The index of the catalogue's ids, which are in order."""
        if self._ids is not ids:
            self._index, self._ids = {name: index for index, name in enumerate(ids)}, ids
        return self._index


class ValidRows(Generic[ParsedRows]):
    """The valid rows of one file; reading them writes its dead letters.

    Attributes:
      account: what became of the file's rows; whole once all chunks have been read.
    """

    def __init__(self, job: Job, source: SourceFile, parse: Callable[[RawBatch, int], Validated[ParsedRows]]):
        """Takes the job, the file, and what validates a batch of the file with a given number."""
        self.account = Account()
        self._job = job
        self._source = source
        self._parse = parse

    def chunks(self, size: int) -> Iterator[list[ParsedRows]]:
        """Yields parts of at least ``size`` rows together, then what is left, possibly nothing."""
        source, table = self._source, self._source.table
        pending: list[ParsedRows] = []
        rows_in = 0
        reported = time.monotonic()
        with dead_letters(self._job.directory, source) as closing:
            for batch in read_source(source, self._job.config.input):
                if isinstance(batch, FileFault):
                    closing.letters.fault(batch)
                    continue
                valid = self._parse(batch, source.index)
                closing.letters.count(valid.rows_in, valid.dropped, valid.other_events)
                closing.letters.add(valid.bad)
                rows_in += valid.rows_in
                pending.append(valid.rows)
                if sum(map(len, pending)) >= size:
                    yield pending
                    pending = []
                if time.monotonic() - reported >= PROGRESS_SECONDS:
                    reported = time.monotonic()
                    _LOGGER.info("%s: %d rows of %s so far", table, rows_in, source.path)
            yield pending
        self.account = closing.account
        _LOGGER.info("%s: read %d rows of %s, %d bad", table, rows_in, source.path, self.account.bad)
        count_metrics(table, self.account)


class CheckTable(beam.DoFn):
    """Adds the accounts of all files of a table and stops the run if they are not good enough."""

    def __init__(self, job: Job, table: str):
        """Takes the job and the table's name."""
        self._job = job
        self._table = table

    @hands_on_mistakes()
    def process(self, accounts: list[Account | Mistake]) -> Iterator[Account | Mistake]:
        """Yields the account of the table, an empty one where it has no files."""
        mistake = first_mistake(accounts)
        if mistake:
            yield mistake
            return
        account = add_accounts(account for account in accounts if isinstance(account, Account))
        check_bad_share(self._table, account, self._job.config.input.max_bad_share, self._job.rejected)
        if accounts:
            check_any_good(self._table, account)
        yield account
