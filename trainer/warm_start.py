"""A warm start: a training begins with what the last blessed model has learnt, instead of with nothing.

Embeddings of items are carried over by item id, those of categories by name, all other weights as they are. The weights
that both stages of a training end with are kept with a model (see `trainer.artefact`), and each stage begins with those
of its own predecessor: the first, which chooses epochs and dial, then has seen no row of its validation slice.

The ``lsa`` teacher is fitted on every catalogue anew, and the axes of its vectors turn. So what reads content vectors
is turned with them, by the rotation that brings the vectors of items of both catalogues together best (P. Schönemann,
"A generalized solution of the orthogonal Procrustes problem", Psychometrika 1966).
"""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from preprocessing.backend import tf
from preprocessing.errors import UserError
from preprocessing.manifest import load_manifest
from preprocessing.read import ItemTable
from trainer.artefact import FIRST_STAGE, WEIGHTS, ModelDescription, WarmStart, load_description, load_kept
from trainer.base import Base
from trainer.catalogue import Catalogue
from trainer.checkpoint import read_checkpoint
from trainer.config import TrainingConfig
from trainer.encoder import Carried, Rows
from trainer.model import MTMHModel
from trainer.stand_in import Grams

logger = logging.getLogger("mtmh.trainer")

LEAST_AGREEMENT: Final = 0.8
"""Mean cosine of two teachers' vectors of the same items, turned: less, and what was learnt of one tells little."""
_TIE: Final = 1e-6
"""Leaves axes alone on which no item lies."""


class Start:
    """The weights of a base, ready to be put into new models of another catalogue."""

    def __init__(self, base: Base, description: ModelDescription, carried: Carried) -> None:
        """Makes place for the base's weights; to be called before new models are built, which seed TensorFlow anew.

        Args:
          base: the model.
          description: of the base.
          carried: what both catalogues hold, whether or not the base knows it.
        """
        self._base, self._description, self._carried = base, description, carried
        self._twin = MTMHModel(
            _empty_catalogue(description), description.features, description.model, description.loss, description.seed
        )
        self.digest = base.digest

    def put_into(self, model: MTMHModel, *, first_stage: bool) -> WarmStart:
        """Gives a new model the base's weights, and says what was carried over.

        Raises:
          UserError: the base's weights are damaged.
        """
        path = self._base.directory / (FIRST_STAGE if first_stage else WEIGHTS)
        try:
            read_checkpoint(tf.train.Checkpoint(**self._twin.parts()), path)
        except ValueError as error:
            raise UserError(
                f"the weights in {path}, to start with, cannot be used ({error}); set trainer.warm_start=false"
            ) from None
        known = self._twin.known.numpy()[self._carried.items.theirs]
        items = Rows(self._carried.items.mine[known], self._carried.items.theirs[known])
        model.carry_over(self._twin, dataclasses.replace(self._carried, items=items))
        return WarmStart(self._base.name, self.digest, self._description.examples_digest, len(items.mine))


def find_start(
    base: Base | None, examples: Path, items: ItemTable, catalogue: Catalogue, config: TrainingConfig, *, stages: int
) -> Start | None:
    """What a training begins with; None, and a word of why, where it is nothing.

    Args:
      base: the last blessed model; None where there is none.
      examples: what is trained on.
      items: of the examples.
      catalogue: the same as tensors.
      config: of the training.
      stages: of the training: 2 with a validation slice, else 1.

    Raises:
      UserError: a file of the base is missing or damaged.
    """
    if base is None:
        logger.info("trainer.warm_start: no model was blessed yet, so this one starts with nothing")
        return None
    description = load_description(base.directory)
    reason = _misfit(description, examples, config, stages)
    if reason is None:
        ids, anchors, content = load_kept(base.directory)
        both = _common(items.ids, ids)
        taught = _common(items.ids, [ids[row] for row in anchors])
        turned = rotation(catalogue.content[taught.mine], content[taught.theirs])
        agreement = _agreement(catalogue.content[taught.mine] @ turned, content[taught.theirs])
        if not len(both.mine):
            reason = "it knows none of these items"
        elif config.features.content_vector and agreement < LEAST_AGREEMENT:
            reason = f"the teacher's vectors of the items of both agree by a mean cosine of {agreement:.2f} only"
        else:
            logger.info("starting with %s, which knows %d of %d items", base.name, len(both.mine), len(items.ids))
            return Start(base, description, Carried(both, _categories(catalogue, description), turned))
    logger.warning("trainer.warm_start: starting with nothing, not with %s: %s", base.name, reason)
    return None


def rotation(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> NDArray[np.float32]:
    """The orthogonal map R with the least ``|ours R - theirs|``: [n, D] and [n, E] to float32 [D, E].

    Of equal vectors it is the identity, exactly.
    """
    from threadpoolctl import threadpool_limits

    if np.array_equal(ours, theirs):
        return np.eye(ours.shape[1], dtype=np.float32)
    tie = np.eye(ours.shape[1], theirs.shape[1]) * _TIE
    with threadpool_limits(1):  # one order of summing, whatever the machine's load
        left, _, right = np.linalg.svd(ours.T.astype(np.float64) @ theirs + tie, full_matrices=False)
        return np.asarray(left @ right, np.float32)


def _agreement(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    """Mean cosine of rows, those left out where either is zero; 1 where no teacher says anything."""
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    there = norms > 0
    if not there.any():
        return 0.0 if ours.any() or theirs.any() else 1.0
    return float((np.einsum("nd,nd->n", ours, theirs)[there] / norms[there]).mean())


def _misfit(base: ModelDescription, examples: Path, config: TrainingConfig, stages: int) -> str | None:
    """Why a base cannot be begun with, in a few words."""
    for name, found, wanted in (
        ("model.name", base.model.name, config.model.name),
        ("features", base.features, config.features),
        ("model.dimension", base.model.dimension, config.model.dimension),
        ("model.hidden", base.model.hidden, config.model.hidden),
        ("model.text_buckets", base.model.text_buckets, config.model.text_buckets),
    ):
        if found != wanted:
            return f"it was trained with {name}={found}, now {wanted}"
    manifest = load_manifest(str(examples))
    if stages > 1 and base.validation_time is None:
        return "it was trained without a validation slice"
    seen = [(base.split_time, manifest.split_time)]
    if stages > 1:
        seen.append((base.validation_time, manifest.validation_time))
    if any(theirs is None or theirs > ours for theirs, ours in seen):
        return "it has learnt from later rows than this training may see"
    if base.refit and not config.trainer.refit:
        return "it was trained on the rows after its split too (trainer.refit), which may be evaluated on now"
    return None


def _common(ours: Sequence[str], theirs: Sequence[str]) -> Rows:
    place = {item_id: row for row, item_id in enumerate(theirs)}
    mine = [row for row, item_id in enumerate(ours) if item_id in place]
    return Rows(np.array(mine, np.int64), np.array([place[ours[row]] for row in mine], np.int64))


def _categories(catalogue: Catalogue, base: ModelDescription) -> Rows:
    """Categories of both by their ids: 0 pads, 1 is unknown, then come the names."""
    names = _common(catalogue.vocabulary, base.vocabulary)
    return Rows(np.concatenate([[0, 1], names.mine + 2]), np.concatenate([[0, 1], names.theirs + 2]))


def _empty_catalogue(base: ModelDescription) -> Catalogue:
    """As many items as the base's, with nothing in them."""
    number = base.num_items
    return Catalogue(
        tokens=np.zeros((number, 1), np.int32),
        grams=Grams(np.zeros(0, np.uint16), np.zeros(number + 1, np.int64)),
        categories=np.zeros((number, 1), np.int32),
        content=np.zeros((number, base.content_dimension), np.float32),
        known=np.zeros(number, np.bool_),
        vocabulary=base.vocabulary,
    )
