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
    ANNOTATIONS,
    CATEGORIES,
    CONTENT_VECTOR,
    DESCRIPTION,
    EVAL,
    GRADE,
    HELD_OUT,
    INTERACTION_COUNT,
    ITEM,
    ITEM_ID,
    ITEM_INDEX,
    ITEMS,
    PAIRS,
    PERIODS,
    RECENT_COUNT,
    TARGET,
    TARGET_COUNT,
    TARGETS_OF_TRIGGER,
    TITLE,
    TRIGGER,
    USER,
    VALIDATION,
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
      recent_count: int64 [N, 3], rows of the last tenth before the validation slice, before the split, and of the log.
    """

    ids: list[str]
    titles: list[str]
    descriptions: list[str]
    categories: list[tuple[str, ...]]
    content_vectors: npt.NDArray[np.float32]
    interaction_count: npt.NDArray[np.int64]
    target_count: npt.NDArray[np.int64]
    recent_count: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """Number of items N."""
        return len(self.ids)


@dataclasses.dataclass(frozen=True)
class PairBlock:
    """Co-engagement pairs of m trigger events.

    Attributes:
      trigger: int64 [m], item indices.
      user: int64 [m], number of the trigger event's user; one user has one number in the whole output.
      targets_of_trigger: int64 [m], at least 1 each.
      target: int64 [sum of ``targets_of_trigger``], item indices, trigger after trigger.
      weight: float32, of the shape of ``target``.
    """

    trigger: npt.NDArray[np.int64]
    user: npt.NDArray[np.int64]
    targets_of_trigger: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float32]

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.target)


@dataclasses.dataclass(frozen=True)
class EvalTriggers:
    """Triggers of the evaluation period, or of the validation slice.

    Attributes:
      trigger: int64 [m], item indices.
      user: int64 [m], number of the trigger event's user; one user has one number in the whole output.
      target: int64 [S], item indices; the targets of trigger j are ``target[row_splits[j]:row_splits[j + 1]]``.
      row_splits: int64 [m + 1].
    """

    trigger: npt.NDArray[np.int64]
    user: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]
    row_splits: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """Number of triggers m."""
        return len(self.trigger)


@dataclasses.dataclass(frozen=True)
class Annotations:
    """Graded pairs of items, ordered by (trigger, item), each once.

    Attributes:
      trigger, item: int64 [m], item indices.
      grade: float32 [m], from 0 to 1, the mean over the pair's annotations.
      held_out: bool [m], whether the trigger is kept from training.
    """

    trigger: npt.NDArray[np.int64]
    item: npt.NDArray[np.int64]
    grade: npt.NDArray[np.float32]
    held_out: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        """Number of pairs m."""
        return len(self.trigger)

    def select(self, chosen: npt.NDArray[np.bool_]) -> "Annotations":
        """The pairs that are marked, bool [m]."""
        return Annotations(self.trigger[chosen], self.item[chosen], self.grade[chosen], self.held_out[chosen])


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
    recent_count = np.zeros((count, len(PERIODS)), np.int64)
    for path, _, example in _examples(directory, ITEMS):
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
            recent_count[row] = example.array(RECENT_COUNT)
        except ValueError as error:
            raise _not_this_layout(path, error) from error
    return ItemTable(ids, titles, descriptions, categories, vectors, interaction_count, target_count, recent_count)


def read_pairs(directory: str) -> Iterator[PairBlock]:
    """Yields the training pairs, a block at a time, in the order of the files.

    Raises:
      UserError: the output is missing or damaged.
    """
    count = 0
    for path, numbering, example in _examples(directory, PAIRS):
        try:
            block = PairBlock(
                trigger=example.array(TRIGGER),
                user=numbering.number(example.array(USER)),
                targets_of_trigger=example.array(TARGETS_OF_TRIGGER),
                target=example.array(TARGET),
                weight=example.array(WEIGHT),
            )
            _check_columns(
                block.targets_of_trigger, rows=(block.trigger, block.user), pairs=(block.target, block.weight)
            )
        except ValueError as error:
            raise _not_this_layout(path, error) from error
        count += len(block)
        yield block
    _check_count(directory, "pairs", count, load_manifest(directory).num_pairs)


def read_triggers(directory: str, part: str = EVAL) -> EvalTriggers:
    """Reads all triggers of a part, ``schema.EVAL`` or ``schema.VALIDATION``, with their targets.

    Raises:
      UserError: the output is missing or damaged.
    """
    manifest = load_manifest(directory)
    expected = {EVAL: manifest.num_triggers, VALIDATION: manifest.num_validation_triggers}[part]
    triggers: list[npt.NDArray[np.int64]] = []
    users: list[npt.NDArray[np.int64]] = []
    targets: list[npt.NDArray[np.int64]] = []
    lengths: list[npt.NDArray[np.int64]] = []
    for path, numbering, example in _examples(directory, part):
        try:
            triggers.append(example.array(TRIGGER))
            users.append(numbering.number(example.array(USER)))
            targets.append(example.array(TARGET))
            lengths.append(example.array(TARGETS_OF_TRIGGER))
            _check_columns(lengths[-1], rows=(triggers[-1], users[-1]), pairs=(targets[-1],))
        except ValueError as error:
            raise _not_this_layout(path, error) from error
    row_splits = np.concatenate([np.zeros(1, np.int64), np.cumsum(_concatenate(lengths))])
    _check_count(directory, f"{part} triggers", len(row_splits) - 1, expected)
    return EvalTriggers(_concatenate(triggers), _concatenate(users), _concatenate(targets), row_splits)


def read_annotations(directory: str) -> Annotations:
    """Reads all annotations; none were given where it is empty.

    Raises:
      UserError: the output is missing or damaged.
    """
    blocks: list[Annotations] = []
    for path, _, example in _examples(directory, ANNOTATIONS):
        try:
            block = Annotations(
                trigger=example.array(TRIGGER),
                item=example.array(ITEM),
                grade=example.array(GRADE),
                held_out=example.array(HELD_OUT).astype(np.bool_),
            )
            if {len(block.item), len(block.grade), len(block.held_out)} != {len(block)}:
                raise ValueError("columns of different length")
        except ValueError as error:
            raise _not_this_layout(path, error) from error
        blocks.append(block)
    _check_count(directory, "annotations", sum(map(len, blocks)), load_manifest(directory).num_annotations)
    return Annotations(
        trigger=_concatenate([block.trigger for block in blocks]),
        item=_concatenate([block.item for block in blocks]),
        grade=_concatenate([block.grade for block in blocks]).astype(np.float32),
        held_out=_concatenate([block.held_out for block in blocks]).astype(np.bool_),
    )


@dataclasses.dataclass(frozen=True)
class _Numbering:
    """Makes the numbers of one shard's users unique over the shards, and equal in the files of every kind."""

    shard: int
    shards: int

    def number(self, user: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return user * self.shards + self.shard


def _examples(directory: str, kind: str) -> Iterator[tuple[str, _Numbering, DecodedExample]]:
    """Path, numbering of the users and content of each record of one kind, as the manifest lists the files."""
    files = [file for file in load_manifest(directory).files if _is_kind(file, kind)]
    for shard, file in enumerate(files):
        numbering = _Numbering(shard, len(files))
        path = f"{directory.rstrip('/')}/{file.path}"
        records = 0
        for record in read_records(path):
            try:
                example = DecodedExample(record)
            except Exception as error:
                raise _not_this_layout(path, error) from error
            records += 1
            yield path, numbering, example
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


def _check_columns(
    lengths: npt.NDArray[np.int64], *, rows: tuple[npt.NDArray[Any], ...], pairs: tuple[npt.NDArray[Any], ...]
) -> None:
    """Checks the columns of a block against the numbers of targets: one value a trigger, or one a pair."""
    if {len(column) for column in rows} != {len(lengths)} or {len(column) for column in pairs} != {int(lengths.sum())}:
        raise ValueError("columns of different length")


def _concatenate(parts: list[Any]) -> npt.NDArray[np.int64]:
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _not_this_layout(path: str, error: Exception) -> UserError:
    return UserError(f"{path} is not of the layout this code reads: {error}; run the preprocessing again")
