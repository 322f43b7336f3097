"""Trained models as recommenders, and whether a trained model is the one that a configuration asks for."""

from collections.abc import Callable
from pathlib import Path

from preprocessing.errors import UserError
from preprocessing.read import ItemTable
from trainer.artefact import ModelDescription, load_description, load_model
from trainer.config import EvaluateConfig, TrainingConfig
from trainer.deciding import deciding_options
from trainer.model import ItemVectors
from trainer.names import BLEND, MODELS, ON_REQUEST, merge_of
from trainer.recommender import VectorRecommender
from trainer.sources import trainer_version
from trainer.variants import as_variant, trainings


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
    validated = bool(description.dial)
    if validated and description.k is None:
        return "trained with an evaluate.k that is not known"
    found = deciding_options(_configuration(description), validated=validated)
    for name, value in deciding_options(as_variant(config), validated=validated).items():
        if found[name] != value:
            return f"trained with {name}={found[name]}, now {value}"
    return None


def _configuration(description: ModelDescription) -> TrainingConfig:
    """What a model was trained with; of the evaluation's options K alone, where that is known."""
    return TrainingConfig(
        seed=description.seed,
        features=description.features,
        model=description.model,
        loss=description.loss,
        trainer=description.trainer,
        evaluate=EvaluateConfig() if description.k is None else EvaluateConfig(k=description.k),
    )
