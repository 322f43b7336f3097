# mypy: allow-untyped-calls
"""The Beam side of the items: read, made into the catalogue, encoded, written."""

import dataclasses
import logging
from collections.abc import Iterable, Iterator
from typing import Any, Final

import apache_beam as beam
import numpy as np
import numpy.typing as npt
from apache_beam.pvalue import TaggedOutput

from preprocessing.catalogue import Item, ItemRow, build_catalogue, parse_items
from preprocessing.config import PreprocessingConfig
from preprocessing.dead_letters import Account, add_accounts, check_any_good, check_bad_share, dead_letters
from preprocessing.job import ACCOUNT, Job, count_metrics
from preprocessing.mistakes import hands_on_mistakes
from preprocessing.onnx_encoder import OnnxEncoder
from preprocessing.rows import BadRow, FileFault
from preprocessing.schema import OutputFile
from preprocessing.semantics import Encoder, column_encoder, fit_lsa, fit_sample
from preprocessing.sources import ITEM_TABLE, SourceFile, read_source
from preprocessing.statistics import Counts, dense
from preprocessing.write import write_items

IDS: Final = "ids"
FITTED: Final = "fitted"
_LOGGER: Final = logging.getLogger("mtmh.preprocessing")


@dataclasses.dataclass(frozen=True)
class ItemFile:
    """What one file of items holds."""

    source: SourceFile
    rows: list[ItemRow]
    bad: list[BadRow]
    rows_in: int
    blank_lines: int
    faults: list[FileFault]


@dataclasses.dataclass(frozen=True)
class ItemShard:
    """Items of consecutive indices from ``first`` on."""

    shard: int
    first: int
    items: list[Item]


class ReadItems(beam.DoFn):
    """Reads one file of items."""

    def __init__(self, job: Job):
        """Takes the job."""
        self._job = job

    @hands_on_mistakes()
    def process(self, source: SourceFile) -> Iterator[tuple[int, ItemFile]]:
        """Yields the content under one key for all files."""
        config = self._job.config
        file = ItemFile(source, [], [], 0, 0, [])
        rows_in = blank_lines = 0
        for batch in read_source(source, config.input):
            if isinstance(batch, FileFault):
                file.faults.append(batch)
                continue
            rows, bad = parse_items(
                batch,
                source.index,
                config.input.max_field_bytes,
                read_embedding=config.teacher.kind == "column",
            )
            file.rows.extend(rows)
            file.bad.extend(bad)
            rows_in += batch.rows_in
            blank_lines += batch.blank_lines
        _LOGGER.info("items: read %d rows of %s", rows_in, source.path)
        yield 0, dataclasses.replace(file, rows_in=rows_in, blank_lines=blank_lines)


class BuildCatalogue(beam.DoFn):
    """Makes the catalogue of all items, in shards; its ids, its account and the fitted teacher go apart."""

    def __init__(self, job: Job):
        """Takes the job."""
        self._job = job

    @hands_on_mistakes(ACCOUNT, IDS, FITTED)
    def process(self, element: tuple[int, Iterable[ItemFile]]) -> Iterator[Any]:
        """Yields ``ItemShard`` and, tagged, the ids (list of text), the ``Account`` and the items to fit on."""
        job = self._job
        files = sorted(element[1], key=lambda file: file.source.index)
        paths = [file.source.path for file in files]
        catalogue = build_catalogue((row for file in files for row in file.rows), paths)
        accounts = []
        for file in files:
            bad = [row for index, row in catalogue.bad if index == file.source.index]
            raws = _raw_rows(file.source, job.config, {row.line for row in bad})
            bad = [dataclasses.replace(row, raw=raws[row.line]) for row in bad]
            with dead_letters(job.directory, file.source) as closing:
                closing.letters.count(file.rows_in, {"blank_line": file.blank_lines})
                closing.letters.add(sorted([*file.bad, *bad], key=lambda row: row.line))
                for fault in file.faults:
                    closing.letters.fault(fault)
            accounts.append(closing.account)
        account = add_accounts(accounts)
        check_bad_share(ITEM_TABLE, account, job.config.input.max_bad_share, job.rejected)
        check_any_good(ITEM_TABLE, account)
        count_metrics(ITEM_TABLE, account)
        items = catalogue.items
        _LOGGER.info("items: %d in the catalogue, %d rows bad", len(items), account.bad)
        yield TaggedOutput(ACCOUNT, account)
        yield TaggedOutput(IDS, [item.item_id for item in items])
        yield TaggedOutput(FITTED, _to_fit(items, job.config))
        bounds = job.item_bounds(len(items))
        for shard in range(job.shards):
            yield ItemShard(shard, bounds[shard], items[bounds[shard] : bounds[shard + 1]])


class FitTeacher(beam.DoFn):
    """Fits the teacher that needs the whole catalogue."""

    def __init__(self, job: Job):
        """Takes the job."""
        self._job = job

    @hands_on_mistakes()
    def process(self, items: list[Item], interactions: Account, annotations: Account) -> Iterator[Encoder | None]:
        """Yields the encoder, ``None`` for one that each worker loads; the accounts are there to be checked first."""
        del interactions, annotations
        config = self._job.config
        if config.teacher.kind == "lsa":
            yield fit_lsa(items, config.teacher, config.seed, with_categories=config.features.categories)
        elif config.teacher.kind == "column":
            yield column_encoder(items)
        else:
            yield None


class EncodeItems(beam.DoFn):
    """Adds the teacher's vectors to a shard of items."""

    def __init__(self, job: Job):
        """Takes the job."""
        self._job = job
        self._loaded: OnnxEncoder | None = None

    @hands_on_mistakes()
    def process(self, shard: ItemShard, fitted: Encoder | None) -> Iterator[tuple[ItemShard, npt.NDArray[np.float32]]]:
        """Yields the shard with vectors float32 [n, D]."""
        vectors = self._encoder(fitted).encode(shard.items) if shard.items else np.zeros((0, 0), np.float32)
        _LOGGER.info("items: encoded %d of shard %d of %d", len(shard.items), shard.shard + 1, self._job.shards)
        yield shard, vectors

    def _encoder(self, fitted: Encoder | None) -> Encoder:
        if fitted is not None:
            return fitted
        if self._loaded is None:
            config = self._job.config
            self._loaded = OnnxEncoder(config.teacher, with_categories=config.features.categories)
        return self._loaded


class WriteItems(beam.DoFn):
    """Writes a shard of items with its counts."""

    def __init__(self, job: Job):
        """Takes the job."""
        self._job = job

    @hands_on_mistakes()
    def process(
        self,
        element: tuple[ItemShard, npt.NDArray[np.float32]],
        ids: list[str],
        item_counts: Counts,
        target_counts: Counts,
    ) -> Iterator[tuple[OutputFile, int]]:
        """Yields the file and the dimension of its vectors."""
        shard, vectors = element
        own = slice(shard.first, shard.first + len(shard.items))
        file = write_items(
            self._job.directory,
            shard.shard,
            self._job.shards,
            shard.first,
            shard.items,
            vectors,
            dense(item_counts, len(ids))[own],
            dense(target_counts, len(ids))[own],
        )
        yield file, vectors.shape[1]


def _to_fit(items: list[Item], config: PreprocessingConfig) -> list[Item]:
    """The items that the teacher is fitted on."""
    if config.teacher.kind == "lsa":
        return [items[i] for i in fit_sample(len(items))]
    if config.teacher.kind == "column":
        return [item for item in items if item.embedding is not None][:1]
    return []


def _raw_rows(source: SourceFile, config: PreprocessingConfig, lines: set[int]) -> dict[int, str]:
    """The given lines as they stand in the file: too much to carry along for the few that turn out bad late."""
    raws: dict[int, str] = {}
    if not lines:
        return raws
    for batch in read_source(source, config.input):
        if isinstance(batch, FileFault):
            break
        for i in np.flatnonzero(np.isin(batch.lines, list(lines))):
            raws[int(batch.lines[i])] = batch.raw(int(i))
    return raws
