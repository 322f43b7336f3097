# mypy: allow-untyped-calls
"""The Beam side of the interactions: read, gathered by user, mined for pairs and triggers."""

import dataclasses
import logging
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import apache_beam as beam
import numpy as np
from apache_beam.metrics.metric import Metrics
from apache_beam.pvalue import TaggedOutput

from preprocessing.dead_letters import Account, add_accounts, check_any_good, check_bad_share, dead_letters
from preprocessing.job import ACCOUNT, NAMESPACE, PROGRESS_SECONDS, Job, count_metrics
from preprocessing.mistakes import Mistake, first_mistake, hands_on_mistakes
from preprocessing.pairs import Pairs, mine_pairs, mine_triggers
from preprocessing.parse import InteractionParser, Rows, concat_rows
from preprocessing.rows import FileFault
from preprocessing.schema import EVAL, VALIDATION, OutputFile
from preprocessing.sessions import build_sequences, split_by_user
from preprocessing.sources import INTERACTIONS, SourceFile, read_source
from preprocessing.split import Part, Split, find_split, part_of_rows
from preprocessing.statistics import Counts, add_counts, count_values
from preprocessing.write import write_pairs, write_triggers

TIMES: Final = "times"
ITEM_COUNTS: Final = "item_counts"
TARGET_COUNTS: Final = "target_counts"
_LOGGER: Final = logging.getLogger("mtmh.preprocessing")
_FLUSH_ROWS: Final = 1 << 16


@dataclasses.dataclass(frozen=True)
class PairsResult:
    """What came of one group of users."""

    files: tuple[OutputFile, ...]
    rows_used: int
    repeats: int
    capped: int
    num_users: int
    num_pairs: int
    num_validation_triggers: int
    num_triggers: int


class ReadInteractions(beam.DoFn):
    """Reads and validates one file of interactions and sends its rows to the partitions of their users."""

    def __init__(self, job: Job):
        """Takes the job."""
        self._job = job
        self._index: dict[str, int] = {}
        self._ids: list[str] | None = None

    @hands_on_mistakes(ACCOUNT)
    def process(self, source: SourceFile, ids: list[str]) -> Iterator[Any]:
        """Yields ``(partition, Rows)`` and, tagged, counts of timestamps and the file's ``Account``."""
        if self._ids is not ids:
            self._index, self._ids = {name: index for index, name in enumerate(ids)}, ids
        config = self._job.config
        parser = InteractionParser(config.input, self._index)
        pending: list[Rows] = []
        flush = _FLUSH_ROWS * max(1, min(self._job.shards, 1024) // 64)
        rows_in = 0
        reported = time.monotonic()
        with dead_letters(self._job.directory, source) as closing:
            for batch in read_source(source, config.input):
                if isinstance(batch, FileFault):
                    closing.letters.fault(batch)
                    _LOGGER.warning("interactions: %s: %s (%s)", source.path, batch.reason, batch.detail)
                    continue
                valid = parser.parse(batch, source.index)
                closing.letters.count(valid.rows_in, valid.dropped)
                closing.letters.add(valid.bad)
                rows_in += valid.rows_in
                pending.append(valid.rows)
                if sum(map(len, pending)) >= flush:
                    yield from self._send(pending)
                    pending = []
                if time.monotonic() - reported >= PROGRESS_SECONDS:
                    reported = time.monotonic()
                    _LOGGER.info("interactions: %d rows of %s so far", rows_in, source.path)
            yield from self._send(pending)
        account = closing.account
        _LOGGER.info("interactions: read %d rows of %s, %d bad", rows_in, source.path, account.bad)
        count_metrics(INTERACTIONS, account)
        yield TaggedOutput(ACCOUNT, account)

    def _send(self, pending: Sequence[Rows]) -> Iterator[Any]:
        rows = concat_rows(pending)
        if not len(rows):
            return
        yield TaggedOutput(TIMES, count_values(rows.timestamp))
        shards = self._job.shards
        # Python's own hash is salted, this one is the same in every process.
        partition = np.array([zlib.crc32(user) % shards for user in rows.users], np.int64)
        yield from split_by_user(rows, partition)


class CheckInteractions(beam.DoFn):
    """Adds the accounts of all files and stops the run if they are not good enough."""

    def __init__(self, job: Job):
        """Takes the job."""
        self._job = job

    @hands_on_mistakes()
    def process(self, accounts: list[Account | Mistake]) -> Iterator[Account | Mistake]:
        """Yields the account of the table."""
        mistake = first_mistake(accounts)
        if mistake:
            yield mistake
            return
        account = add_accounts(account for account in accounts if isinstance(account, Account))
        check_bad_share(INTERACTIONS, account, self._job.config.input.max_bad_share, self._job.rejected)
        check_any_good(INTERACTIONS, account)
        yield account


class FindSplit(beam.DoFn):
    """Finds the times that separate training, validation and evaluation."""

    def __init__(self, job: Job):
        """Takes the job."""
        self._job = job

    @hands_on_mistakes()
    def process(self, times: Counts, checked: Account) -> Iterator[Split]:
        """Yields the split; the account is asked for so that it is checked first."""
        del checked
        yield find_split(times, self._job.config.split)


class WritePairs(beam.DoFn):
    """Turns the rows of one partition of the users into files of pairs and triggers."""

    def __init__(self, job: Job):
        """Takes the job."""
        self._job = job

    @hands_on_mistakes()
    def process(self, element: tuple[int, Iterable[Rows]], split: Split) -> Iterator[Any]:
        """Yields ``PairsResult`` and, tagged, counts of the items in training and of the targets."""
        job, config = self._job, self._job.config
        shard, parts = element
        rows = concat_rows(list(parts))
        sequences = build_sequences(
            rows,
            part_of_rows(rows, split, config.split.validation_users, config.seed),
            config.input.session_gap_seconds,
            config.input.max_user_rows,
            ties_in_log_order=config.input.ties_in_log_order,
        )
        target_counts: list[Counts] = []
        num_pairs = 0

        def counted(blocks: Iterator[Pairs]) -> Iterator[Pairs]:
            nonlocal num_pairs, target_counts
            for block in blocks:
                num_pairs += len(block.target)
                target_counts.append(count_values(block.target))
                if len(target_counts) >= 64:
                    target_counts = [add_counts(target_counts)]
                yield block

        pairs = counted(mine_pairs(sequences, split.split_time, config.pairs))
        files = [write_pairs(job.directory, shard, job.shards, pairs)]
        num_triggers = {}
        for kind, part in ((VALIDATION, Part.VALIDATION), (EVAL, Part.EVALUATION)):
            triggers = list(mine_triggers(sequences, part, config.pairs))
            num_triggers[kind] = sum(len(block.trigger) for block in triggers)
            files.append(write_triggers(job.directory, kind, shard, job.shards, triggers))
        used = len(sequences.item)
        _LOGGER.info(
            "pairs: partition %d of %d: %d rows, %d pairs, %d validation triggers, %d eval triggers",
            shard + 1,
            job.shards,
            used,
            num_pairs,
            num_triggers[VALIDATION],
            num_triggers[EVAL],
        )
        Metrics.counter(NAMESPACE, "pairs").inc(num_pairs)
        Metrics.counter(NAMESPACE, "validation_triggers").inc(num_triggers[VALIDATION])
        Metrics.counter(NAMESPACE, "eval_triggers").inc(num_triggers[EVAL])
        yield TaggedOutput(ITEM_COUNTS, count_values(sequences.item[sequences.part != Part.EVALUATION]))
        yield TaggedOutput(TARGET_COUNTS, add_counts(target_counts))
        yield PairsResult(
            files=tuple(files),
            rows_used=used,
            repeats=sequences.repeats,
            capped=sequences.capped,
            num_users=sequences.num_users,
            num_pairs=num_pairs,
            num_validation_triggers=num_triggers[VALIDATION],
            num_triggers=num_triggers[EVAL],
        )
