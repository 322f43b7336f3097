"""What a version is built of, and the name of it: equal for a version that is built again of the same."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from preprocessing.backend import tf
from preprocessing.read import ItemTable
from preprocessing.sources_hash import code_version
from serving.config import ServingConfig
from serving.sources import SERVING_SOURCES
from trainer.artefact import ModelDescription
from trainer.catalogue import Catalogue
from trainer.model import ItemVectors, MTMHModel

_ROWS: Final = 65536


@dataclasses.dataclass(frozen=True)
class VersionContent:
    """What a version is built of.

    Attributes:
      items: the N items that it answers with.
      vectors: of these.
      triggers: rows of these that the index is measured with.
      model: the trained model, which encodes items that are asked for by their words.
      catalogue: the catalogue that it was trained on.
      description: of the model.
      weights: digest of its weights, see `trainer.artefact.weights_digest`.
    """

    items: ItemTable
    vectors: ItemVectors
    triggers: NDArray[np.int64]
    model: MTMHModel
    catalogue: Catalogue
    description: ModelDescription
    weights: str

    def digest(self, config: ServingConfig, relevance_weight: float) -> str:
        """SHA-256 of all that decides how a version answers: weights, items, options and code.

        Both flavours have the same. The files of a SavedModel are others each time that it is saved; this is not, also
        for weights that were trained again to the same values.

        Args:
          config: options; whether the other flavour is built too is none of a version's.
          relevance_weight: the exported default, which may come by a rule.
        """
        made_of = {
            "weights": self.weights,
            "features": dataclasses.asdict(self.description.features),
            "model": dataclasses.asdict(self.description.model),
            "trained_on": self.description.catalogue_digest,
            "vocabulary": self.description.vocabulary,
            "items": _items_digest(self.items),
            "options": {**dataclasses.asdict(config), "export": {**dataclasses.asdict(config.export), "stock": None}},
            "relevance_weight": relevance_weight,
            "code": code_version(*SERVING_SOURCES),
            "tensorflow": tf.__version__,
        }
        return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


def _items_digest(items: ItemTable) -> str:
    """SHA-256 of what a version says and knows of its items, in their order."""
    digest = hashlib.sha256()
    for column in (items.ids, items.titles, items.descriptions, items.categories):
        for rows in _in_parts(column):
            digest.update(json.dumps(rows).encode())
    digest.update(np.ascontiguousarray(items.content_vectors, dtype="<f4").data)
    digest.update(np.ascontiguousarray(items.interaction_count, dtype="<i8").data)
    return digest.hexdigest()


def _in_parts(column: list[Any]) -> Iterator[list[Any]]:
    return (column[start : start + _ROWS] for start in range(0, len(column), _ROWS))
