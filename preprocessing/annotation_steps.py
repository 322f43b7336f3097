# mypy: allow-untyped-calls
"""The Beam side of the annotations: read, gathered by trigger, averaged, written."""

import dataclasses
import logging
from collections.abc import Iterable, Iterator
from typing import Any, Final

import apache_beam as beam
from apache_beam.metrics.metric import Metrics
from apache_beam.pvalue import TaggedOutput

from preprocessing.annotations import (
    AnnotationParser,
    AnnotationRows,
    concat_annotations,
    grade_pairs,
    split_by_trigger,
)
from preprocessing.job import ACCOUNT, NAMESPACE, Job
from preprocessing.mistakes import hands_on_mistakes
from preprocessing.schema import OutputFile
from preprocessing.sources import SourceFile
from preprocessing.table_steps import ItemIndex, ValidRows
from preprocessing.write import write_annotations

_LOGGER: Final = logging.getLogger("mtmh.preprocessing")
_FLUSH_ROWS: Final = 1 << 16


@dataclasses.dataclass(frozen=True)
class AnnotationsResult:
    """What came of the triggers of one shard."""

    file: OutputFile
    rows_used: int
    num_annotations: int


class ReadAnnotations(beam.DoFn):
    """Reads and validates one file of annotations and sends its rows to the shards of their triggers."""

    def __init__(self, job: Job):
        """Takes the job."""
        self._job = job
        self._index = ItemIndex()

    @hands_on_mistakes(ACCOUNT)
    def process(self, source: SourceFile, ids: list[str]) -> Iterator[Any]:
        """Yields ``(shard, AnnotationRows)`` and, tagged, the file's ``Account``."""
        valid = ValidRows(self._job, source, AnnotationParser(self._index.of(ids)).parse)
        bounds = self._job.item_bounds(len(ids))
        for parts in valid.chunks(_FLUSH_ROWS):
            yield from split_by_trigger(concat_annotations(parts), bounds)
        yield TaggedOutput(ACCOUNT, valid.account)


class WriteAnnotations(beam.DoFn):
    """Turns the rows of one shard of the triggers into a file of annotations."""

    def __init__(self, job: Job):
        """Takes the job."""
        self._job = job

    @hands_on_mistakes()
    def process(self, element: tuple[int, Iterable[AnnotationRows]], ids: list[str]) -> Iterator[AnnotationsResult]:
        """Yields what was written."""
        job, config = self._job, self._job.config
        shard, parts = element
        rows = concat_annotations(list(parts))
        graded = grade_pairs(rows, ids, config.annotations.held_out, config.seed)
        file = write_annotations(job.directory, shard, job.shards, graded)
        _LOGGER.info(
            "annotations: shard %d of %d: %d rows, %d pairs, %d of them held out",
            shard + 1,
            job.shards,
            len(rows),
            len(graded),
            graded.held_out.sum(),
        )
        Metrics.counter(NAMESPACE, "annotations").inc(len(graded))
        yield AnnotationsResult(file, len(rows), len(graded))
