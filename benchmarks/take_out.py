"""Takes items out of a log and a catalogue, so that nothing of a training has seen them."""

import csv
import dataclasses
import gzip
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from preprocessing.catalogue import Item
from preprocessing.read import ItemTable, read_items, read_triggers
from tfx_pipeline.config import RunConfig
from tfx_pipeline.steps import Inputs, preprocess_step
from tfx_pipeline.workdir import Workdir

_AXES = 64
"""Axes of the vectors that the items bring for ``teacher.kind=column``."""


@dataclasses.dataclass(frozen=True)
class TakenOut:
    """The items taken out, and what is left.

    Attributes:
      items: A of them, with a vector where the catalogue brings vectors.
      following: for each, ids of the items left that were engaged with after it, after the split, one for each pair.
      inputs: the tables without them.
      config: reads those, with the split where it was.
    """

    items: list[Item]
    following: list[list[str]]
    inputs: Inputs
    config: RunConfig


def take_out(root: Path, config: RunConfig, inputs: Inputs, count: int, encoder: str | None) -> TakenOut:
    """Draws items that have a title, by the seed, and writes both tables without them below ``root``.

    Args:
      root: an empty directory.
      config: options; ``input.columns`` names the CSV columns.
      inputs: one CSV each, gzipped or not.
      count: items to take out.
      encoder: directory of a sentence encoder whose vectors, projected at random, each item is to bring; or None.
    """
    whole = Workdir(root / "whole")
    whole.prepare()
    lsa = dataclasses.replace(config.teacher, kind="lsa", path=None)
    preprocess_step(whole, dataclasses.replace(config, teacher=lsa), inputs)
    table = read_items(str(whole.examples))
    items = items_of(table)
    if encoder is not None:
        vectors = projected(items, config, encoder)
        items = [dataclasses.replace(item, embedding=vector) for item, vector in zip(items, vectors, strict=True)]
    titled = np.flatnonzero([bool(item.title.strip()) for item in items])
    drawn = np.sort(np.random.default_rng(config.seed).permutation(titled)[:count]).tolist()
    out = {table.ids[row] for row in drawn}
    log, catalogue = root / "interactions.csv", root / "items.jsonl"
    _copy_log(inputs.interactions[0], log, config.input.columns.item_id, out)
    catalogue.write_text("".join(_line(item, config) for item in items if item.item_id not in out), encoding="utf-8")
    manifest = json.loads((whole.examples / "manifest.json").read_text(encoding="utf-8"))
    split = dataclasses.replace(config.split, time=str(manifest["split_time"]))
    following = _following(whole, table, out)
    return TakenOut(
        [items[row] for row in drawn],
        [following[table.ids[row]] for row in drawn],
        Inputs((str(log),), (str(catalogue),)),
        dataclasses.replace(config, split=split),
    )


def items_of(table: ItemTable) -> list[Item]:
    """The rows of a catalogue as the teachers read them."""
    columns = zip(table.ids, table.titles, table.descriptions, table.categories, strict=True)
    return [Item(*row, embedding=None) for row in columns]


def projected(items: list[Item], config: RunConfig, encoder: str) -> NDArray[np.float32]:
    """Vectors of a sentence encoder on random axes: float32 [n, `_AXES`]."""
    from preprocessing.onnx_encoder import OnnxEncoder

    teacher = dataclasses.replace(config.teacher, kind="onnx", path=encoder)
    vectors = OnnxEncoder(teacher, with_categories=config.features.categories).encode(items)
    axes = np.random.default_rng(config.seed).normal(size=(vectors.shape[1], _AXES))
    found: NDArray[np.float32] = (vectors @ axes / np.sqrt(_AXES)).astype(np.float32)
    return found


def _following(whole: Workdir, table: ItemTable, out: set[str]) -> dict[str, list[str]]:
    triggers = read_triggers(str(whole.examples))
    following: dict[str, list[str]] = {item_id: [] for item_id in out}
    for at, trigger in enumerate(triggers.trigger):
        if table.ids[trigger] in out:
            targets = triggers.target[triggers.row_splits[at] : triggers.row_splits[at + 1]]
            following[table.ids[trigger]] += [table.ids[row] for row in targets if table.ids[row] not in out]
    return following


def _copy_log(source: str, target: Path, column: str, out: set[str]) -> None:
    read = gzip.open if source.endswith(".gz") else open
    with read(source, "rt", encoding="utf-8", newline="") as rows, target.open("w", newline="") as kept:
        reader = csv.DictReader(rows)
        writer = csv.DictWriter(kept, reader.fieldnames or ())
        writer.writeheader()
        writer.writerows(row for row in reader if row[column].strip() not in out)


def _line(item: Item, config: RunConfig) -> str:
    columns = config.input.columns
    row = {
        columns.catalogue_item_id or columns.item_id: item.item_id,
        columns.title: item.title,
        columns.description: item.description,
        columns.categories: list(item.categories),
    }
    if item.embedding is not None:
        row[columns.embedding] = [float(value) for value in item.embedding]
    return json.dumps(row, ensure_ascii=False) + "\n"
