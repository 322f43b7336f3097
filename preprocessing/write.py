"""Writes the output's TFRecord files."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from preprocessing.catalogue import Item
from preprocessing.pairs import Pairs, Triggers
from preprocessing.read import Annotations
from preprocessing.records import write_records
from preprocessing.schema import (
    ANNOTATIONS,
    BLOCK_PAIRS,
    CATEGORIES,
    CONTENT_VECTOR,
    DESCRIPTION,
    FILE_STEMS,
    GRADE,
    HELD_OUT,
    INTERACTION_COUNT,
    ITEM,
    ITEM_ID,
    ITEM_INDEX,
    ITEMS,
    PAIRS,
    RECENT_COUNT,
    TARGET,
    TARGET_COUNT,
    TARGETS_OF_TRIGGER,
    TITLE,
    TRIGGER,
    USER,
    WEIGHT,
    OutputFile,
)
from preprocessing.wire import encode_example


def shard_path(kind: str, shard: int, shards: int) -> str:
    """Path of a file of the given kind, such as ``schema.PAIRS``, below the output directory."""
    return f"{kind}/{FILE_STEMS[kind]}-{shard:05d}-of-{shards:05d}.tfrecord.gz"


def write_items(
    directory: str,
    shard: int,
    shards: int,
    first: int,
    items: Sequence[Item],
    vectors: npt.NDArray[np.float32],
    interaction_count: npt.NDArray[np.int64],
    target_count: npt.NDArray[np.int64],
    recent_count: npt.NDArray[np.int64],
) -> OutputFile:
    """Writes the items of consecutive indices from ``first`` on.

    Args:
      directory: the output directory.
      shard: number of the file.
      shards: number of files of this kind.
      first: index of the first item.
      items: n items.
      vectors: float32 [n, D].
      interaction_count: int64 [n].
      target_count: int64 [n].
      recent_count: int64 [n, 3].
    """

    def records() -> Iterator[bytes]:
        for i, item in enumerate(items):
            values: list[tuple[Any, list[Any]]] = [
                (ITEM_INDEX, [first + i]),
                (ITEM_ID, [item.item_id.encode("utf-8")]),
                (TITLE, [item.title.encode("utf-8")]),
                (DESCRIPTION, [item.description.encode("utf-8")]),
                (CATEGORIES, [name.encode("utf-8") for name in item.categories]),
                (CONTENT_VECTOR, vectors[i]),
                (INTERACTION_COUNT, [int(interaction_count[i])]),
                (TARGET_COUNT, [int(target_count[i])]),
                (RECENT_COUNT, recent_count[i]),
            ]
            yield encode_example(values)

    return write_records(directory, shard_path(ITEMS, shard, shards), records())


def write_pairs(directory: str, shard: int, shards: int, blocks: Iterable[Pairs]) -> OutputFile:
    """Writes blocks of training pairs, an Example each."""
    records = (
        encode_example(
            [
                (TRIGGER, block.trigger),
                (USER, block.user),
                (TARGETS_OF_TRIGGER, block.targets_of_trigger),
                (TARGET, block.target),
                (WEIGHT, block.weight),
            ]
        )
        for block in blocks
    )
    return write_records(directory, shard_path(PAIRS, shard, shards), records)


def write_triggers(directory: str, kind: str, shard: int, shards: int, blocks: Iterable[Triggers]) -> OutputFile:
    """Writes blocks of triggers of the given kind (``validation``, ``eval``), an Example each."""
    records = (
        encode_example(
            [
                (TRIGGER, block.trigger),
                (USER, block.user),
                (TARGETS_OF_TRIGGER, block.targets_of_trigger),
                (TARGET, block.target),
            ]
        )
        for block in blocks
    )
    return write_records(directory, shard_path(kind, shard, shards), records)


def write_annotations(directory: str, shard: int, shards: int, annotations: Annotations) -> OutputFile:
    """Writes annotations in blocks, an Example each."""
    blocks = (slice(start, start + BLOCK_PAIRS) for start in range(0, len(annotations), BLOCK_PAIRS))
    records = (
        encode_example(
            [
                (TRIGGER, annotations.trigger[block]),
                (ITEM, annotations.item[block]),
                (GRADE, annotations.grade[block]),
                (HELD_OUT, annotations.held_out[block].astype(np.int64)),
            ]
        )
        for block in blocks
    )
    return write_records(directory, shard_path(ANNOTATIONS, shard, shards), records)
