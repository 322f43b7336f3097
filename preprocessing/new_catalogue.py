"""A catalogue of today in the terms of examples of earlier: for a trained model that is to serve items it never saw.

The teacher is the one that the model has learnt from: `lsa` is fitted again on the items of those examples, which gives
the same encoder. What it says of known items is held against what the examples say, so that no other teacher, and no
other column of vectors, passes for it.
"""

import logging
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from preprocessing.catalogue import Item
from preprocessing.config import PreprocessingConfig
from preprocessing.errors import UserError
from preprocessing.item_files import fit_encoder, gather_items, items_to_fit, read_item_file
from preprocessing.read import ItemTable
from preprocessing.remembered import onnx_teacher
from preprocessing.semantics import Encoder
from preprocessing.sources import ITEM_TABLE, check_headers, find_sources

_CHUNK: Final = 50_000
_SAME_TEACHER: Final = 0.99
"""Least median cosine between the vectors of items that did not change, then and now."""
_LOGGER: Final = logging.getLogger("mtmh.preprocessing")


def read_new_catalogue(
    config: PreprocessingConfig, patterns: Sequence[str], trained_on: ItemTable, directory: str
) -> ItemTable:
    """Reads and encodes a catalogue.

    Args:
      config: of the examples that the model was trained on.
      patterns: files or globs of items.
      trained_on: the items of those examples.
      directory: where rows that cannot be used are written.

    Returns:
      The catalogue of today, with the counts of those examples, 0 for items that they don't hold.

    Raises:
      UserError: the files or too many of their rows are at fault, or the teacher is another.
    """
    sources = find_sources(ITEM_TABLE, patterns, config.input)
    check_headers(sources, config.input)
    packed, _ = gather_items((read_item_file(source, config) for source in sources), config, directory, directory)
    items = list(packed)
    vectors = _encode(items, config, trained_on)
    row = {item_id: index for index, item_id in enumerate(trained_on.ids)}
    known = np.array([row.get(item.item_id, -1) for item in items], dtype=np.int64)

    def of_today(count: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        carried = count[known]
        carried[known < 0] = 0
        return carried

    table = ItemTable(
        ids=[item.item_id for item in items],
        titles=[item.title for item in items],
        descriptions=[item.description for item in items],
        categories=[item.categories for item in items],
        content_vectors=vectors,
        interaction_count=of_today(trained_on.interaction_count),
        target_count=of_today(trained_on.target_count),
        recent_count=of_today(trained_on.recent_count),
    )
    _check_teacher(table, trained_on, known)
    return table


def _encode(items: list[Item], config: PreprocessingConfig, trained_on: ItemTable) -> npt.NDArray[np.float32]:
    if config.teacher.kind == "onnx":
        encoder: Encoder = onnx_teacher(config)
    else:
        fitted_on = items if config.teacher.kind == "column" else _as_items(trained_on)
        fitted = fit_encoder(items_to_fit(fitted_on, config), config)
        assert fitted is not None  # noqa: S101 both kinds give one
        encoder = fitted
    _LOGGER.info("items: encoding %d", len(items))
    chunks = [encoder.encode(items[start : start + _CHUNK]) for start in range(0, len(items), _CHUNK)]
    vectors = np.concatenate(chunks)
    dimension = trained_on.content_vectors.shape[1]
    if vectors.shape[1] != dimension:
        raise UserError(
            f"the items' vectors have {vectors.shape[1]} dimensions, the model was trained on {dimension}: "
            "give vectors of the same encoder, or train again with `mtmh run`"
        )
    return vectors


def _as_items(table: ItemTable) -> list[Item]:
    return [
        Item(*columns, None)
        for columns in zip(table.ids, table.titles, table.descriptions, table.categories, strict=True)
    ]


def _check_teacher(table: ItemTable, trained_on: ItemTable, known: npt.NDArray[np.int64]) -> None:
    """Checks that items that did not change have the vectors that the model has learnt them with."""
    same = [
        (new, old)
        for new, old in enumerate(known)
        if old >= 0
        and table.titles[new] == trained_on.titles[old]
        and table.descriptions[new] == trained_on.descriptions[old]
        and table.categories[new] == trained_on.categories[old]
    ]
    if not same:
        return
    now, then = (np.array(rows) for rows in zip(*same, strict=True))
    cosine = np.einsum("nd,nd->n", table.content_vectors[now], trained_on.content_vectors[then])
    there = trained_on.content_vectors[then].any(axis=1)
    if there.any() and float(np.median(cosine[there])) < _SAME_TEACHER:
        raise UserError(
            f"{int(there.sum()):,} items did not change, but their vectors are not those that the model was trained on "
            f"(median cosine {float(np.median(cosine[there])):.3f}): the teacher is another one; "
            "use the one that the model was trained with, or train again with `mtmh run`"
        )
