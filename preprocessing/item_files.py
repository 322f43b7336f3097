"""The items of files: read, made into a catalogue, and what the teacher is fitted on; without Beam."""

import dataclasses
import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np

from preprocessing.catalogue import Item, ItemRow, Items, build_catalogue, parse_items
from preprocessing.config import PreprocessingConfig
from preprocessing.dead_letters import Account, add_accounts, check_any_good, check_bad_share, dead_letters
from preprocessing.remembered import lsa_teacher
from preprocessing.rows import BadRow, FileFault, RawBatch
from preprocessing.semantics import Encoder, column_encoder, fit_sample
from preprocessing.sources import ITEM_TABLE, SourceFile, read_source

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


def read_item_file(source: SourceFile, config: PreprocessingConfig) -> ItemFile:
    """Reads and validates one file."""
    file = ItemFile(source, [], [], 0, 0, [])
    rows_in = blank_lines = 0
    for batch in _batches(source, config):
        if isinstance(batch, FileFault):
            file.faults.append(batch)
            continue
        rows, bad = parse_items(batch, source.index, config.input.max_field_bytes)
        file.rows.extend(rows)
        file.bad.extend(bad)
        rows_in += batch.rows_in
        blank_lines += batch.blank_lines
    _LOGGER.info("items: read %d rows of %s", rows_in, source.path)
    return dataclasses.replace(file, rows_in=rows_in, blank_lines=blank_lines)


def gather_items(
    files: Iterable[ItemFile], config: PreprocessingConfig, directory: str, rejected: str
) -> tuple[Items, Account]:
    """The catalogue of all files, in order of id, and the account of their rows.

    Args:
      files: all of them, in any order.
      config: options.
      directory: where dead letters are written.
      rejected: where they will be found if too many rows are bad.

    Raises:
      UserError: too many rows are bad, or none is left.
    """
    ordered = sorted(files, key=lambda file: file.source.index)
    paths = [file.source.path for file in ordered]
    catalogue = build_catalogue((row for file in ordered for row in file.rows), paths)
    accounts = []
    for file in ordered:
        bad = [row for index, row in catalogue.bad if index == file.source.index]
        raws = _raw_rows(file.source, config, {row.line for row in bad})
        bad = [dataclasses.replace(row, raw=raws[row.line]) for row in bad]
        with dead_letters(directory, file.source) as closing:
            closing.letters.count(file.rows_in, {"blank_line": file.blank_lines})
            closing.letters.add(sorted([*file.bad, *bad], key=lambda row: row.line))
            for fault in file.faults:
                closing.letters.fault(fault)
        accounts.append(closing.account)
    account = add_accounts(accounts)
    check_bad_share(ITEM_TABLE, account, config.input.max_bad_share, rejected)
    check_any_good(ITEM_TABLE, account)
    _LOGGER.info("items: %d in the catalogue, %d rows bad", len(catalogue.items), account.bad)
    return catalogue.items, account


def items_to_fit(items: Sequence[Item], config: PreprocessingConfig) -> list[Item]:
    """The items of a catalogue that the teacher is fitted on."""
    if config.teacher.kind == "lsa":
        return [items[i] for i in fit_sample(len(items))]
    if config.teacher.kind == "column":
        return list(itertools.islice((item for item in items if item.embedding is not None), 1))
    return []


def fit_encoder(items: Sequence[Item], config: PreprocessingConfig) -> Encoder | None:
    """The teacher, fitted on `items_to_fit`; None for one that each worker loads."""
    if config.teacher.kind == "lsa":
        return lsa_teacher(items, config)
    if config.teacher.kind == "column":
        return column_encoder(items)
    return None


def _batches(source: SourceFile, config: PreprocessingConfig) -> Iterator[RawBatch | FileFault]:
    return read_source(source, config.input, embedding=config.teacher.kind == "column")


def _raw_rows(source: SourceFile, config: PreprocessingConfig, lines: set[int]) -> dict[int, str]:
    """The given lines as they stand in the file: too much to carry along for the few that turn out bad late."""
    raws: dict[int, str] = {}
    if not lines:
        return raws
    for batch in _batches(source, config):
        if isinstance(batch, FileFault):
            break
        for i in np.flatnonzero(np.isin(batch.lines, list(lines))):
            raws[int(batch.lines[i])] = batch.raw(int(i))
    return raws
