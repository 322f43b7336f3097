"""A version for a catalogue of today with the weights that there are: new items in, old ones out, no training."""

import dataclasses
import logging
from pathlib import Path

import numpy as np

from preprocessing.errors import UserError
from preprocessing.read import ItemTable, read_items
from serving.config import RefreshConfig, ServingConfig
from serving.export import ExportResult, write_version
from serving.index_gate import gate_triggers
from serving.version_content import VersionContent
from trainer.artefact import load_model, weights_digest
from trainer.model import ItemVectors
from trainer.other_catalogue import embed_other_catalogue

logger = logging.getLogger("mtmh.serving")


@dataclasses.dataclass(frozen=True)
class Refreshed:
    """What was built.

    Attributes:
      built: the version directory and its index.
      items: the catalogue that it answers with.
      vectors: of these items.
      has_dial: whether the model has two heads.
    """

    built: ExportResult
    items: ItemTable
    vectors: ItemVectors
    has_dial: bool


@dataclasses.dataclass(frozen=True)
class CatalogueChange:
    """How many items of a catalogue are new to a model, how many it knows, how many left, and the least two shares.

    Attributes:
      new: items that were not among those trained on.
      kept: items that were.
      gone: items trained on that are not there any more.
      kept_of_engaged: share of the items engaged with in training that are there still.
    """

    new: int
    kept: int
    gone: int
    kept_of_engaged: float

    @classmethod
    def between(cls, trained_on: ItemTable, items: ItemTable) -> "CatalogueChange":
        """Counts."""
        there = set(items.ids)
        kept = np.array([item_id in there for item_id in trained_on.ids], dtype=bool)
        engaged = trained_on.interaction_count > 0
        share = float(kept[engaged].mean()) if engaged.any() else 1.0
        return cls(len(items) - int(kept.sum()), int(kept.sum()), int((~kept).sum()), share)

    def check(self, config: RefreshConfig) -> None:
        """Refuses what looks like another catalogue, or like one that the model has no business with.

        Raises:
          UserError: too few of the items are there still, or too many are new.
        """
        if self.kept_of_engaged < config.min_kept:
            raise UserError(
                f"the catalogue holds {self.kept_of_engaged:.1%} of the items engaged with in training, below "
                f"refresh.min_kept {config.min_kept:g}: give the whole catalogue, or train again with `mtmh run`"
            )
        share = self.new / max(1, self.new + self.kept)
        if share > config.max_new:
            raise UserError(
                f"{share:.1%} of the catalogue's items are new to the model, above refresh.max_new {config.max_new:g}: "
                "train again with `mtmh run`"
            )


def build_refreshed(
    examples: Path, model_directory: Path, items: ItemTable, version: Path, name: str, config: ServingConfig
) -> Refreshed:
    """Builds a version of a trained model and another catalogue than it was trained on.

    Known items keep their identity's embedding, wherever they stand in the new catalogue; new ones are embedded by
    their content alone; of items that left nothing stays in the index.

    Args:
      examples: what the model was trained on.
      model_directory: the trained model, see `trainer.artefact`.
      items: the catalogue, see `preprocessing.new_catalogue`.
      version: the directory to write, on this machine.
      name: what the model is called where it is served.
      config: options.

    Raises:
      UserError: an artefact is missing or damaged, or the model was trained on other examples.
    """
    trained_on = read_items(str(examples))
    model, catalogue, description = load_model(model_directory, trained_on)
    vectors = embed_other_catalogue(model, description, trained_on, items)
    place = {item_id: row for row, item_id in enumerate(items.ids)}
    rows = np.array([place.get(item_id, -1) for item_id in trained_on.ids], dtype=np.int64)
    triggers = gate_triggers(examples, len(items.ids), config.seed, rows)
    weights = weights_digest(model_directory)
    content = VersionContent(items, vectors, triggers, model, catalogue, description, weights)
    built = write_version(content, version, name, config)
    return Refreshed(built, items, vectors, model.has_engagement and model.has_relevance)
