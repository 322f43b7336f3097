# mypy: allow-untyped-calls
"""The Beam side of the interactions: read, gathered by user, mined for pairs and triggers."""

import dataclasses
import logging
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import apache_beam as beam
import numpy as np
from apache_beam.metrics.metric import Metrics
from apache_beam.pvalue import TaggedOutput

from preprocessing.dates import DateWatch
from preprocessing.dead_letters import Account
from preprocessing.errors import UserError
from preprocessing.job import ACCOUNT, NAMESPACE, Job
from preprocessing.mistakes import hands_on_mistakes
from preprocessing.pairs import Pairs, mine_pairs, mine_triggers
from preprocessing.parse import InteractionParser, Rows, concat_rows
from preprocessing.schema import EVAL, VALIDATION, OutputFile
from preprocessing.sessions import build_sequences, split_by_user
from preprocessing.sources import SourceFile
from preprocessing.split import Part, Split, find_split, part_of_rows, recent_counts
from preprocessing.statistics import Counts, add_counts, count_seconds, count_values
from preprocessing.table_steps import ItemIndex, ValidRows
from preprocessing.write import write_pairs, write_triggers

TIMES: Final = "times"
ITEM_COUNTS: Final = "item_counts"
TARGET_COUNTS: Final = "target_counts"
RECENT_COUNTS: Final = "recent_counts"
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
        self._index = ItemIndex()

    @hands_on_mistakes(ACCOUNT)
    def process(self, source: SourceFile, ids: list[str]) -> Iterator[Any]:
        """Yields ``(partition, Rows)`` and, tagged, counts of seconds and the file's ``Account``."""
        parser = InteractionParser(self._job.config.input, self._index.of(ids))
        valid = ValidRows(self._job, source, parser.parse)
        dates = DateWatch()
        for parts in valid.chunks(_FLUSH_ROWS * max(1, min(self._job.shards, 1024) // 64)):
            yield from self._send(parts, dates)
        dates.check(source.path)
        yield TaggedOutput(ACCOUNT, valid.account)

    def _send(self, parts: Sequence[Rows], dates: DateWatch) -> Iterator[Any]:
        rows = concat_rows(parts)
        if not len(rows):
            return
        seconds = count_seconds(rows.timestamp)
        dates.add(seconds)
        yield TaggedOutput(TIMES, seconds)
        shards = self._job.shards
        # Python's own hash is salted, this one is the same in every process.
        partition = np.array([zlib.crc32(user) % shards for user in rows.users], np.int64)
        yield from split_by_user(rows, partition)


class FindSplit(beam.DoFn):
    """Finds the times that separate training, validation and evaluation."""

    def __init__(self, job: Job):
        """Takes the job."""
        self._job = job

    @hands_on_mistakes()
    def process(self, times: Counts, checked: Account) -> Iterator[Split]:
        """Yields the split; the account is asked for so that it is checked first."""
        del checked
        dates = DateWatch()
        dates.add(times)
        dates.check("the interactions")
        if len(times[0]) == 1:
            raise UserError(
                f"all timestamps of the interactions lie within one second, {times[0][0]:.0f} in unix seconds, so none "
                "comes before another; give them with their time of day, or bring other units to seconds"
            )
        yield find_split(times, self._job.config.split)


class WritePairs(beam.DoFn):
    """Turns the rows of one partition of the users into files of pairs and triggers."""

    def __init__(self, job: Job):
        """Takes the job."""
        self._job = job

    @hands_on_mistakes()
    def process(self, element: tuple[int, Iterable[Rows]], split: Split) -> Iterator[Any]:
        """Yields ``PairsResult`` and, tagged, counts of the items in training, lately, and of the targets."""
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
        recent = recent_counts(sequences.item, sequences.timestamp, sequences.part, split)
        yield TaggedOutput(RECENT_COUNTS, recent)
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
