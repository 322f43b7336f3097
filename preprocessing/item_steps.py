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

from preprocessing.catalogue import Item
from preprocessing.dead_letters import Account
from preprocessing.item_files import ItemFile, fit_encoder, gather_items, items_to_fit, read_item_file
from preprocessing.job import ACCOUNT, Job, count_metrics
from preprocessing.mistakes import hands_on_mistakes
from preprocessing.remembered import onnx_teacher
from preprocessing.schema import OutputFile
from preprocessing.semantics import Encoder
from preprocessing.sources import ITEM_TABLE, SourceFile
from preprocessing.split import Part
from preprocessing.statistics import Counts, dense
from preprocessing.write import write_items

IDS: Final = "ids"
FITTED: Final = "fitted"
_LOGGER: Final = logging.getLogger("mtmh.preprocessing")


@dataclasses.dataclass(frozen=True)
class ItemShard:
    """Items of consecutive indices from ``first`` on."""

    shard: int
    first: int
    items: list[Item]


@dataclasses.dataclass(frozen=True)
class FitItems:
    """Items to fit the teacher on; Beam would send each of a plain list on its own."""

    items: list[Item]


class ReadItems(beam.DoFn):
    """Reads one file of items."""

    def __init__(self, job: Job):
        """Takes the job."""
        self._job = job

    @hands_on_mistakes()
    def process(self, source: SourceFile) -> Iterator[tuple[int, ItemFile]]:
        """Yields the content under one key for all files."""
        yield 0, read_item_file(source, self._job.config)


class BuildCatalogue(beam.DoFn):
    """Makes the catalogue of all items, in shards; its ids, its account and the fitted teacher go apart."""

    def __init__(self, job: Job):
        """Takes the job."""
        self._job = job

    @hands_on_mistakes(ACCOUNT, IDS, FITTED)
    def process(self, element: tuple[int, Iterable[ItemFile]]) -> Iterator[Any]:
        """Yields ``ItemShard`` and, tagged, the ids (list of text), the ``Account`` and the ``FitItems``."""
        job = self._job
        items, account = gather_items(element[1], job.config, job.directory, job.rejected)
        count_metrics(ITEM_TABLE, account)
        yield TaggedOutput(ACCOUNT, account)
        yield TaggedOutput(IDS, items.ids)
        yield TaggedOutput(FITTED, FitItems(items_to_fit(items, job.config)))
        bounds = job.item_bounds(len(items))
        for shard in range(job.shards):
            yield ItemShard(shard, bounds[shard], items[bounds[shard] : bounds[shard + 1]])


class FitTeacher(beam.DoFn):
    """Fits the teacher that needs the whole catalogue."""

    def __init__(self, job: Job):
        """Takes the job."""
        self._job = job

    @hands_on_mistakes()
    def process(self, fitted_on: FitItems, interactions: Account, annotations: Account) -> Iterator[Encoder | None]:
        """Yields the encoder, ``None`` for one that each worker loads; the accounts are there to be checked first."""
        del interactions, annotations
        yield fit_encoder(fitted_on.items, self._job.config)


class EncodeItems(beam.DoFn):
    """Adds the teacher's vectors to a shard of items."""

    def __init__(self, job: Job):
        """Takes the job."""
        self._job = job
        self._loaded: Encoder | None = None

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
            self._loaded = onnx_teacher(self._job.config)
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
        recent_counts: Counts,
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
            dense(recent_counts, len(Part) * len(ids)).reshape(-1, len(Part))[own],
        )
        yield file, vectors.shape[1]
