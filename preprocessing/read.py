"""Reads the preprocessing's output back into numpy columns, without TensorFlow."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from preprocessing.errors import UserError
from preprocessing.manifest import load_manifest
from preprocessing.records import DecodedExample, read_records
from preprocessing.schema import (
    CATEGORIES,
    CONTENT_VECTOR,
    DESCRIPTION,
    EVAL,
    INTERACTION_COUNT,
    ITEM_ID,
    ITEM_INDEX,
    ITEMS,
    PAIRS,
    TARGET,
    TARGET_COUNT,
    TARGETS_OF_TRIGGER,
    TITLE,
    TRIGGER,
    WEIGHT,
    OutputFile,
)


@dataclasses.dataclass(frozen=True)
class ItemTable:
    """The catalogue; row i is the item of index i.

    Attributes:
      ids, titles, descriptions: text, N each; ids ascend bytewise.
      categories: N tuples of category names, possibly empty.
      content_vectors: float32 [N, D], L2-normalised rows, zero where the teacher has nothing to say.
      interaction_count: int64 [N], rows of the training period.
      target_count: int64 [N], training pairs whose target is the item.
    """

    ids: list[str]
    titles: list[str]
    descriptions: list[str]
    categories: list[tuple[str, ...]]
    content_vectors: npt.NDArray[np.float32]
    interaction_count: npt.NDArray[np.int64]
    target_count: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """Number of items N."""
        return len(self.ids)


@dataclasses.dataclass(frozen=True)
class PairBlock:
    """Co-engagement pairs of m trigger events.

    Attributes:
      trigger: int64 [m], item indices.
      targets_of_trigger: int64 [m], at least 1 each.
      target: int64 [sum of ``targets_of_trigger``], item indices, trigger after trigger.
      weight: float32, of the shape of ``target``.
    """

    trigger: npt.NDArray[np.int64]
    targets_of_trigger: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float32]

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.target)


@dataclasses.dataclass(frozen=True)
class EvalTriggers:
    """Triggers of the evaluation period.

    Attributes:
      trigger: int64 [m], item indices.
      target: int64 [S], item indices; the targets of trigger j are ``target[row_splits[j]:row_splits[j + 1]]``.
      row_splits: int64 [m + 1].
    """

    trigger: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]
    row_splits: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """Number of triggers m."""
        return len(self.trigger)


def read_items(directory: str) -> ItemTable:
    """Reads the whole catalogue.

    Raises:
      UserError: the output is missing, incomplete or damaged.
    """
    manifest = load_manifest(directory)
    count, dimension = manifest.num_items, manifest.content_dimension
    _check_count(directory, "items", sum(file.records for file in manifest.files if _is_kind(file, ITEMS)), count)
    ids: list[str] = []
    titles: list[str] = []
    descriptions: list[str] = []
    categories: list[tuple[str, ...]] = []
    vectors = np.zeros((count, dimension), np.float32)
    interaction_count = np.zeros(count, np.int64)
    target_count = np.zeros(count, np.int64)
    for path, example in _examples(directory, ITEMS):
        row = len(ids)
        if row >= count:
            raise UserError(f"{path} holds more items than the manifest's {count}; run the preprocessing again")
        try:
            if example.scalar(ITEM_INDEX) != row:
                raise ValueError(f"item {row} is out of order")
            ids.append(example.scalar(ITEM_ID).decode("utf-8"))
            titles.append(example.scalar(TITLE).decode("utf-8"))
            descriptions.append(example.scalar(DESCRIPTION).decode("utf-8"))
            categories.append(tuple(name.decode("utf-8") for name in example.values(CATEGORIES)))
            vectors[row] = example.array(CONTENT_VECTOR)
            interaction_count[row] = example.scalar(INTERACTION_COUNT)
            target_count[row] = example.scalar(TARGET_COUNT)
        except ValueError as error:
            raise _not_this_layout(path, error) from error
    return ItemTable(ids, titles, descriptions, categories, vectors, interaction_count, target_count)


def read_pairs(directory: str) -> Iterator[PairBlock]:
    """Yields the training pairs, a block at a time, in the order of the files.

    Raises:
      UserError: the output is missing or damaged.
    """
    count = 0
    for path, example in _examples(directory, PAIRS):
        try:
            block = PairBlock(
                example.array(TRIGGER), example.array(TARGETS_OF_TRIGGER), example.array(TARGET), example.array(WEIGHT)
            )
            lengths = block.targets_of_trigger
            if len(block.trigger) != len(lengths) or not lengths.sum() == len(block.target) == len(block.weight):
                raise ValueError("columns of different length")
        except ValueError as error:
            raise _not_this_layout(path, error) from error
        count += len(block)
        yield block
    _check_count(directory, "pairs", count, load_manifest(directory).num_pairs)


def read_triggers(directory: str) -> EvalTriggers:
    """Reads all eval triggers with their targets.

    Raises:
      UserError: the output is missing or damaged.
    """
    triggers: list[npt.NDArray[np.int64]] = []
    targets: list[npt.NDArray[np.int64]] = []
    lengths: list[npt.NDArray[np.int64]] = []
    for path, example in _examples(directory, EVAL):
        try:
            triggers.append(example.array(TRIGGER))
            targets.append(example.array(TARGET))
            lengths.append(example.array(TARGETS_OF_TRIGGER))
            if len(triggers[-1]) != len(lengths[-1]) or lengths[-1].sum() != len(targets[-1]):
                raise ValueError("columns of different length")
        except ValueError as error:
            raise _not_this_layout(path, error) from error
    row_splits = np.concatenate([np.zeros(1, np.int64), np.cumsum(_concatenate(lengths))])
    _check_count(directory, "eval triggers", len(row_splits) - 1, load_manifest(directory).num_triggers)
    return EvalTriggers(_concatenate(triggers), _concatenate(targets), row_splits)


def _examples(directory: str, kind: str) -> Iterator[tuple[str, DecodedExample]]:
    """Path and content of each record of one kind, as the manifest lists the files."""
    for file in load_manifest(directory).files:
        if not _is_kind(file, kind):
            continue
        path = f"{directory.rstrip('/')}/{file.path}"
        records = 0
        for record in read_records(path):
            try:
                example = DecodedExample(record)
            except Exception as error:
                raise _not_this_layout(path, error) from error
            records += 1
            yield path, example
        if records != file.records:
            raise UserError(
                f"{path} holds {records} records, the manifest says {file.records}; run the preprocessing again"
            )


def _is_kind(file: OutputFile, kind: str) -> bool:
    return file.path.startswith(f"{kind}/")


def _check_count(directory: str, what: str, found: int, expected: int) -> None:
    """Checks that no file is missing from the manifest's list."""
    if found != expected:
        raise UserError(
            f"{directory} holds {found:,} {what}, its manifest says {expected:,}; run the preprocessing again"
        )


def _concatenate(parts: list[Any]) -> npt.NDArray[np.int64]:
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _not_this_layout(path: str, error: Exception) -> UserError:
    return UserError(f"{path} is not of the layout this code reads: {error}; run the preprocessing again")
