"""What distinguishes the trained models of a comparison: what they see, which heads they have, what they learn from."""

import dataclasses

from preprocessing.config import FeaturesConfig
from preprocessing.errors import UserError
from trainer import density
from trainer.config import ModelConfig, TrainingConfig
from trainer.names import (
    COUNTED,
    MODELS,
    MTMH,
    ONE_HEAD,
    ONE_HEAD_IDS,
    ONE_HEAD_MULTI_TASK,
    RELEVANCE_ONLY,
    TRAININGS,
)


def trainings(name: str) -> tuple[str, ...]:
    """The trainings that a model needs: its own, or those that it is put together from; none for a counted one."""
    if name in MODELS and MODELS[name].kind == COUNTED:
        return ()
    return TRAININGS.get(name, (name,))


def as_variant(config: TrainingConfig) -> TrainingConfig:
    """The configuration with what ``model.name`` stands for spelled out in its features and losses.

    ``mtmh`` is left as it is. ``one_head_ids`` and ``one_head`` know co-engagement alone, without the relevance head
    and without anything of the loss that looks at the teacher; ``one_head`` sees the same features as ``mtmh``.
    ``one_head_multi_task`` has the engagement head learn both, the teacher with the weight λ that ``mtmh`` gives to its
    relevance head. ``relevance_only`` has the relevance head alone.

    Raises:
      UserError: the model is counted, not trained, or put together from several trainings.
    """
    name = config.model.name
    if name in MODELS and MODELS[name].kind == COUNTED:
        raise UserError(f"{name} is counted, not trained; `mtmh compare --models {name}` scores it")
    if name in TRAININGS:
        parts = " and ".join(TRAININGS[name])
        raise UserError(f"{name} is put together from {parts}: train those; `mtmh compare --models {name}` does it all")
    loss, features = config.loss, config.features
    if name in (ONE_HEAD, ONE_HEAD_IDS):
        loss = dataclasses.replace(loss, relevance=0.0, align=0.0, annotations=0.0)
    if name == ONE_HEAD_MULTI_TASK:
        loss = dataclasses.replace(loss, relevance=0.0, align=loss.relevance, annotations=0.0)
    if name == RELEVANCE_ONLY:
        loss = dataclasses.replace(loss, relevance=1.0, align=0.0)
    if name == ONE_HEAD_IDS:
        features = FeaturesConfig(ids=True, text=False, categories=False, content_vector=False)
    return dataclasses.replace(config, loss=loss, features=features)


def id_dropout(model: ModelConfig, triggers_per_item: float) -> float:
    """How often identities are hidden, as configured or what suits the model and its data."""
    if model.id_dropout is not None:
        return model.id_dropout
    suits = density.id_dropout if learns_from_teacher(model.name) else density.alone_id_dropout
    return suits(triggers_per_item)


def id_element_dropout(model: ModelConfig, triggers_per_item: float) -> float:
    """How much of each identity is dropped, as configured or what suits the model and its data."""
    if model.id_element_dropout is not None:
        return model.id_element_dropout
    suits = density.id_element_dropout if learns_from_teacher(model.name) else density.alone_id_element_dropout
    return suits(triggers_per_item)


def learns_from_teacher(name: str) -> bool:
    """Whether the trained model of that name learns from the teacher too, so that identities are not all it has."""
    return name not in (ONE_HEAD, ONE_HEAD_IDS)


def has_engagement_head(name: str) -> bool:
    """Whether the trained model of that name retrieves by co-engagement."""
    return name != RELEVANCE_ONLY


def has_relevance_head(name: str) -> bool:
    """Whether the trained model of that name has a relevance head."""
    return name in (MTMH, RELEVANCE_ONLY)
