"""Trained models as recommenders, and whether a trained model is the one that a configuration asks for."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from preprocessing.errors import UserError
from preprocessing.read import ItemTable
from trainer.artefact import load_description, load_model
from trainer.config import TrainingConfig
from trainer.model import ItemVectors
from trainer.names import BLEND, MODELS, ON_REQUEST, merge_of
from trainer.recommender import VectorRecommender
from trainer.sources import trainer_version
from trainer.variants import as_variant, trainings

_OF_NO_CONSEQUENCE = ("trainer.tensorboard",)


def load_recommender(
    name: str, directory_of: Callable[[str], Path], items: ItemTable, merge: str = BLEND
) -> VectorRecommender:
    """A trained model, or one that is put together from two: engagement of the first, relevance of the last.

    Args:
      name: see `trainer.names`.
      directory_of: where the result of a training is, by its name; see `trainer.artefact`.
      items: the catalogue that it was trained with.
      merge: how two heads answer where the name leaves it open, see `VectorRecommender`.

    Raises:
      UserError: a model is missing, damaged, or of another catalogue.
    """
    parts = [load_model(directory_of(part), items)[0].embed_catalogue() for part in trainings(name)]
    first, last = parts[0], parts[-1]
    vectors = ItemVectors(first.engagement_trigger, first.engagement_candidate, last.relevance)
    return VectorRecommender(vectors, (MODELS | ON_REQUEST)[name].has_dial, merge_of(name, merge))


def what_differs(directory: Path, config: TrainingConfig, examples_digest: str) -> str | None:
    """What keeps a training from being the one that a configuration asks for, in a few words; None where nothing does.

    Args:
      directory: the result of a training, if there is one.
      config: of the training that is wanted, by ``model.name``.
      examples_digest: SHA-256 of the manifest of its examples.
    """
    try:
        description = load_description(directory)
    except UserError:
        return "not trained yet"
    if description.examples_digest != examples_digest:
        return "trained on other examples"
    if description.code != trainer_version():
        return "trained by other code"
    wanted = as_variant(config)
    for section in ("seed", "features", "model", "loss", "trainer"):
        found = dict(_options(section, getattr(description, section)))
        for name, value in _options(section, getattr(wanted, section)):
            if found[name] != value and name not in _OF_NO_CONSEQUENCE:
                return f"trained with {name}={found[name]}, now {value}"
    return None


def _options(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield f"{name}.{field.name}", getattr(value, field.name)
    else:
        yield name, value
