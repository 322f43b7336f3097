# mypy: allow-untyped-calls
"""The preprocessing as one Beam pipeline: from an interaction log and a catalogue to TFRecords and a manifest.

Items come first: the catalogue gives every item its index, and interactions name items by it. Interactions are
validated file by file and gathered by user; the split is known once all have been seen; then each partition of the
users becomes sequences, pairs and triggers of validation and evaluation; the pairs' counts go into the items' files.
Annotations, where there are any, are validated likewise and gathered by trigger.
"""

import logging
import math
import time
from collections.abc import Sequence
from typing import Any, Final

import apache_beam as beam
from apache_beam.pvalue import AsList, AsSingleton, PCollection
from apache_beam.transforms.combiners import ToListCombineFn

from preprocessing.annotation_steps import AnnotationsResult, ReadAnnotations, WriteAnnotations
from preprocessing.annotations import AnnotationRows, empty_annotations
from preprocessing.config import PreprocessingConfig
from preprocessing.dead_letters import Account
from preprocessing.errors import UserError
from preprocessing.finish import Finish, load_result
from preprocessing.interaction_steps import (
    ITEM_COUNTS,
    RECENT_COUNTS,
    TARGET_COUNTS,
    TIMES,
    FindSplit,
    ReadInteractions,
    WritePairs,
)
from preprocessing.item_files import ItemFile
from preprocessing.item_steps import (
    FITTED,
    IDS,
    BuildCatalogue,
    EncodeItems,
    FitTeacher,
    ReadItems,
    WriteItems,
)
from preprocessing.job import ACCOUNT, Job
from preprocessing.mistakes import Mistake
from preprocessing.onnx_encoder import check_directory
from preprocessing.options import check_options
from preprocessing.parse import Rows, empty_rows, parse_split_time
from preprocessing.publish import staged
from preprocessing.read_csv import csv_delimiter
from preprocessing.runner import parse_options, run_pipeline
from preprocessing.schema import Manifest, TableCounts
from preprocessing.sources import (
    ANNOTATION_TABLE,
    INTERACTIONS,
    ITEM_TABLE,
    SourceFile,
    check_headers,
    find_sources,
    spans_of,
    total_text_bytes,
)
from preprocessing.spans import describe
from preprocessing.statistics import AddCounts
from preprocessing.table_steps import CheckTable

_SHARD_BYTES: Final = 32 << 20
_MIN_SHARDS: Final = 2
_MAX_SHARDS: Final = 10_000
_LOGGER: Final = logging.getLogger("mtmh.preprocessing")


def preprocess(
    config: PreprocessingConfig,
    interactions: Sequence[str],
    items: Sequence[str],
    output: str,
    beam_args: Sequence[str] = (),
    *,
    annotations: Sequence[str] = (),
) -> Manifest:
    """Runs the preprocessing.

    Args:
      config: all that decides the bytes of the output.
      interactions: files or globs, local or on any Beam filesystem.
      items: likewise.
      output: the directory to write; an earlier output there is replaced when the new one is complete.
      beam_args: Beam's pipeline options; by default the run is local, in one process.
      annotations: files or globs like ``interactions``; graded pairs of items, none by default.

    Returns:
      The manifest that was written.

    Raises:
      UserError: the input, the configuration or an option is at fault. Dead letters written so far are left in
        ``output/dead_letters``, or in ``output.rejected/dead_letters`` when ``output`` holds an earlier output;
        nothing else changes.
    """
    begun = time.monotonic()
    check_config(config)
    options = parse_options(beam_args)
    sources, item_sources, annotation_sources = check_inputs(config, interactions, items, annotations)
    for table in (sources, item_sources, annotation_sources):
        if spans := spans_of(table):
            _LOGGER.info("%s: reading %s", table[0].table, describe(spans))
    with staged(output) as staging:
        # Annotations don't count: all other files are the same with and without them.
        job = Job(config, staging.directory, staging.rejected, count_shards(config, (*item_sources, *sources)))
        run_pipeline(lambda pipeline: build(pipeline, job, sources, item_sources, annotation_sources), options)
        manifest = load_result(staging.directory)
        staging.publish(file.path for file in manifest.files)
    _LOGGER.info(
        "done in %.1f s: used %s; %d items, %d users, %d pairs, %d validation triggers, %d eval triggers, "
        "%d annotations",
        time.monotonic() - begun,
        _fates(manifest.interactions),
        manifest.num_items,
        manifest.num_users,
        manifest.num_pairs,
        manifest.num_validation_triggers,
        manifest.num_triggers,
        manifest.num_annotations,
    )
    return manifest


def check_inputs(
    config: PreprocessingConfig, interactions: Sequence[str], items: Sequence[str], annotations: Sequence[str]
) -> tuple[tuple[SourceFile, ...], tuple[SourceFile, ...], tuple[SourceFile, ...]]:
    """Finds the files of the three tables and checks their headers.

    Raises:
      UserError: a pattern matches nothing, or a file lacks a column.
    """
    item_sources = find_sources(ITEM_TABLE, items, config.input)
    sources = find_sources(INTERACTIONS, interactions, config.input)
    # The log first: its column of items is by default that of the other tables.
    check_headers(sources, config.input)
    check_headers(item_sources, config.input)
    annotation_sources = find_sources(ANNOTATION_TABLE, annotations, config.input) if annotations else ()
    if annotation_sources:
        check_headers(annotation_sources, config.input)
    return sources, item_sources, annotation_sources


def build(
    pipeline: beam.Pipeline,
    job: Job,
    sources: Sequence[SourceFile],
    item_sources: Sequence[SourceFile],
    annotation_sources: Sequence[SourceFile],
) -> PCollection[Manifest]:
    """Adds the whole preprocessing to a pipeline that writes below ``job.directory``."""
    catalogue = (
        pipeline
        | "Item files" >> beam.Create(list(item_sources))
        | "Spread item files" >> beam.Reshuffle()
        | "Read items" >> beam.ParDo(ReadItems(job)).with_output_types(tuple[int, ItemFile])
        | "All items" >> beam.GroupByKey()
        | "Build catalogue" >> beam.ParDo(BuildCatalogue(job)).with_outputs(IDS, ACCOUNT, FITTED, main="shards")
    )
    ids = AsSingleton(catalogue[IDS])
    read = (
        pipeline
        | "Interaction files" >> beam.Create(list(sources))
        | "Spread interaction files" >> beam.Reshuffle()
        | "Read interactions" >> beam.ParDo(ReadInteractions(job), ids).with_outputs(TIMES, ACCOUNT, main="rows")
    )
    checked = (
        read[ACCOUNT]
        | "All accounts" >> beam.CombineGlobally(ToListCombineFn())
        | "Check interactions" >> beam.ParDo(CheckTable(job, INTERACTIONS))
    )
    annotations_checked, graded = _annotations(pipeline, job, annotation_sources, ids)
    split = AsSingleton(
        read[TIMES]
        | "Add times" >> beam.CombineGlobally(AddCounts())
        | "Find split" >> beam.ParDo(FindSplit(job), AsSingleton(checked))
    )
    pairs = (
        (
            # Every partition writes its files, also one that no user falls into.
            pipeline
            | "Partitions" >> beam.Create(list(range(job.shards)))
            | "No rows" >> beam.Map(_without_rows).with_output_types(tuple[int, Rows]),
            read["rows"] | "By user" >> beam.Map(_as_is).with_output_types(tuple[int, Rows]),
        )
        | "Rows" >> beam.Flatten()
        | "Gather users" >> beam.GroupByKey()
        | "Write pairs"
        >> beam.ParDo(WritePairs(job), split).with_outputs(ITEM_COUNTS, TARGET_COUNTS, RECENT_COUNTS, main="results")
    )
    item_counts = pairs[ITEM_COUNTS] | "Add item counts" >> beam.CombineGlobally(AddCounts())
    target_counts = pairs[TARGET_COUNTS] | "Add target counts" >> beam.CombineGlobally(AddCounts())
    recent_counts = pairs[RECENT_COUNTS] | "Add recent counts" >> beam.CombineGlobally(AddCounts())
    encoder = catalogue[FITTED] | "Fit teacher" >> beam.ParDo(
        FitTeacher(job), AsSingleton(checked), AsSingleton(annotations_checked)
    )
    item_files = (
        catalogue["shards"]
        | "Spread items" >> beam.Reshuffle()
        | "Encode items" >> beam.ParDo(EncodeItems(job), AsSingleton(encoder))
        | "Write items"
        >> beam.ParDo(
            WriteItems(job),
            ids,
            AsSingleton(item_counts),
            AsSingleton(target_counts),
            AsSingleton(recent_counts),
        )
    )
    manifest: PCollection[Manifest] = (
        pipeline
        | "Once" >> beam.Create([None])
        | "Finish"
        >> beam.ParDo(
            Finish(job),
            AsSingleton(catalogue[ACCOUNT]),
            AsSingleton(checked),
            AsSingleton(annotations_checked),
            AsList(pairs["results"]),
            AsList(item_files),
            AsList(graded),
            split,
        )
    )
    return manifest


def _annotations(
    pipeline: beam.Pipeline, job: Job, sources: Sequence[SourceFile], ids: AsSingleton
) -> tuple[PCollection[Account | Mistake], PCollection[AnnotationsResult | Mistake]]:
    """Adds the way of the annotations: the table's account, and what was written."""
    if not sources:
        # Each step costs start-up, also one that has nothing to do.
        return (
            pipeline | "No account of annotations" >> beam.Create([Account()]),
            pipeline | "No files of annotations" >> beam.Create([]),
        )
    annotated = (
        pipeline
        | "Annotation files" >> beam.Create(list(sources))
        | "Spread annotation files" >> beam.Reshuffle()
        | "Read annotations" >> beam.ParDo(ReadAnnotations(job), ids).with_outputs(ACCOUNT, main="rows")
    )
    checked = (
        annotated[ACCOUNT]
        | "All accounts of annotations" >> beam.CombineGlobally(ToListCombineFn())
        | "Check annotations" >> beam.ParDo(CheckTable(job, ANNOTATION_TABLE))
    )
    graded = (
        (
            pipeline
            | "Shards of annotations" >> beam.Create(list(range(job.shards)))
            | "No annotations" >> beam.Map(_without_annotations).with_output_types(tuple[int, AnnotationRows]),
            annotated["rows"] | "By trigger" >> beam.Map(_as_is).with_output_types(tuple[int, AnnotationRows]),
        )
        | "Annotations" >> beam.Flatten()
        | "Gather triggers" >> beam.GroupByKey()
        | "Write annotations" >> beam.ParDo(WriteAnnotations(job), ids)
    )
    return checked, graded


def check_config(config: PreprocessingConfig) -> None:
    """Checks what the types of the configuration leave open.

    Raises:
      UserError: a value is not what its option admits.
    """
    check_options(config)
    if not 0 <= config.seed < 2**32:
        raise UserError(f"seed is {config.seed}; expected 0 to 2^32 - 1")
    csv_delimiter(config.input.delimiter)
    if config.split.time is not None:
        parse_split_time(config.split.time)
    if config.teacher.kind == "onnx":
        check_directory(config.teacher)


def count_shards(config: PreprocessingConfig, sources: Sequence[SourceFile]) -> int:
    """Number of files of each kind: it follows from configuration and input alone, never from the workers."""
    if config.output.shards is not None:
        return config.output.shards
    return min(max(_MIN_SHARDS, math.ceil(total_text_bytes(sources) / _SHARD_BYTES)), _MAX_SHARDS)


def _fates(table: TableCounts) -> str:
    """How many rows were used of how many, and what became of the others."""
    lost = [(sum(table.dead_letters.values()), "bad"), *((count, rule) for rule, count in table.dropped.items())]
    losses = [f"{rule} {count:,}" for count, rule in sorted(lost, reverse=True) if count]
    return f"{table.rows_used:,} of {table.rows_in:,} interactions" + (f" ({', '.join(losses)})" if losses else "")


def _without_rows(partition: int) -> tuple[int, Rows]:
    return partition, empty_rows()


def _without_annotations(shard: int) -> tuple[int, AnnotationRows]:
    return shard, empty_annotations()


def _as_is(element: tuple[int, Any]) -> tuple[int, Any]:
    return element
