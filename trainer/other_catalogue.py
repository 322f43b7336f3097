"""Embeds another catalogue than the one that a model was trained on, with the same weights.

The id table stays as it was trained. An item that the model knows finds its own row there by its id, whatever its place
in the new catalogue; one that it does not know is embedded by its content alone, as an item without an identity.
"""

import numpy as np
from numpy.typing import NDArray

from preprocessing.backend import tf
from preprocessing.read import EvalTriggers, ItemTable
from trainer.artefact import ModelDescription
from trainer.catalogue import Catalogue, build_catalogue
from trainer.encoder import ItemInputs
from trainer.model import ItemVectors, MTMHModel

_BATCH = 8192


def embed_other_catalogue(
    model: MTMHModel, description: ModelDescription, trained_on: ItemTable, items: ItemTable
) -> ItemVectors:
    """Vectors of the M items of another catalogue.

    Args:
      model: as `trainer.artefact.load_model` gives it.
      description: likewise.
      trained_on: the N items that the model was trained on, in their order.
      items: the catalogue to embed; its content vectors are of the same teacher.
    """
    catalogue = build_catalogue(
        items,
        buckets=description.model.text_buckets,
        tokens=description.model.text_tokens,
        vocabulary=description.vocabulary,
    )
    rows = identity_rows(trained_on.ids, items.ids, model.known.numpy())
    parts = [
        [part.numpy() for part in model.embed(_inputs(catalogue, rows, start))]
        for start in range(0, catalogue.num_items, _BATCH)
    ]
    return ItemVectors(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def identity_rows(trained_ids: list[str], ids: list[str], known: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Rows of the id table for items, int32 [M]; N, the row of strangers, for those without an identity.

    Args:
      trained_ids: the N ids of the table's rows.
      ids: of the M items.
      known: bool [N], rows that have been trained.

    >>> identity_rows(["a", "b", "d"], ["b", "c", "d"], np.array([True, True, False]))
    array([1, 3, 3], dtype=int32)
    """
    row = {item_id: index for index, item_id in enumerate(trained_ids) if known[index]}
    return np.array([row.get(item_id, len(trained_ids)) for item_id in ids], dtype=np.int32)


def _inputs(catalogue: Catalogue, rows: NDArray[np.int32], start: int) -> ItemInputs:
    part = slice(start, start + _BATCH)
    splits = catalogue.grams.row_splits[start : start + _BATCH + 1]
    return ItemInputs(
        index=tf.constant(rows[part]),
        tokens=tf.constant(catalogue.tokens[part]),
        grams=tf.RaggedTensor.from_row_splits(
            tf.constant(catalogue.grams.values[splits[0] : splits[-1]].astype(np.int32)), splits - splits[0]
        ),
        categories=tf.constant(catalogue.categories[part]),
        content=tf.constant(catalogue.content[part]),
    )


def triggers_in(triggers: EvalTriggers, rows: NDArray[np.int64]) -> EvalTriggers:
    """Triggers and targets by their rows of another catalogue; what is not in it falls away.

    Args:
      triggers: by rows of the N items that the model was trained on.
      rows: int64 [N], where each of these stands in the other catalogue; -1 where it doesn't.

    >>> before = EvalTriggers(np.array([0, 1]), np.array([7, 8]), np.array([1, 2, 2]), np.array([0, 2, 3]))
    >>> triggers_in(before, np.array([5, -1, 4]))
    EvalTriggers(trigger=array([5]), user=array([7]), target=array([4]), row_splits=array([0, 1]))
    """
    lengths = np.diff(triggers.row_splits)
    target = rows[triggers.target]
    there = (target >= 0) & np.repeat(rows[triggers.trigger] >= 0, lengths)
    left = np.bincount(np.repeat(np.arange(len(lengths)), lengths)[there], minlength=len(lengths))
    kept = left > 0
    return EvalTriggers(
        trigger=rows[triggers.trigger][kept],
        user=triggers.user[kept],
        target=target[there],
        row_splits=np.concatenate([[0], np.cumsum(left[kept])]).astype(np.int64),
    )
