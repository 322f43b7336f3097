"""Scores a trained model as it would be served; the CLI's ``evaluate`` and the RetrievalEvaluator both come here."""

import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from preprocessing.errors import UserError

if TYPE_CHECKING:
    from preprocessing.read import ItemTable
    from serving.config import ServingConfig
    from trainer.artefact import ModelDescription
    from trainer.config import EvaluateConfig
    from trainer.evaluate import Judge, Scores
    from trainer.model import ItemVectors

logger = logging.getLogger("mtmh.evaluate")


@dataclasses.dataclass(frozen=True)
class Scored:
    """A trained model, what it was judged by, and how it did.

    Attributes:
      scores: one for each setting of the dial.
      judge, items: of the examples.
      description, vectors: of the model.
      has_dial: whether it has two heads.
      relevance_weight: the dial that it would be exported with.
    """

    scores: "list[Scores]"
    judge: "Judge"
    items: "ItemTable"
    description: "ModelDescription"
    vectors: "ItemVectors"
    has_dial: bool
    relevance_weight: float


def score_model(
    examples: Path,
    model_directory: Path,
    evaluation: "EvaluateConfig",
    serving: "ServingConfig",
    relevance_weight: float | None = None,
) -> Scored:
    """Scores at dial 0 and at the default dial, or at one given setting, by the configured way to merge the heads.

    Raises:
      UserError: an artefact is missing or damaged, or a model without a dial is asked at a weight above 0.
    """
    from preprocessing.manifest import load_manifest
    from preprocessing.read import read_annotations, read_items, read_triggers
    from serving.export import default_weight
    from trainer.artefact import load_model
    from trainer.evaluate import evaluate, make_judge, sample_triggers, sees_categories

    items = read_items(str(examples))
    model, _, description = load_model(model_directory, items)
    triggers = read_triggers(str(examples))
    if evaluation.max_triggers is not None:
        triggers = sample_triggers(triggers, evaluation.max_triggers, serving.seed)
    if description.refit:
        logger.warning(
            "%s has learnt the rows after the split too (trainer.refit): what it is judged by here is no news to it; "
            "its honest figures are those of the validation slice",
            model_directory,
        )
    annotations = read_annotations(str(examples))
    categories_seen = sees_categories(description.features, load_manifest(str(examples)))
    judge = make_judge(items, triggers, categories_seen=categories_seen, annotations=annotations)
    exported = default_weight(description, serving)
    weights = sorted({0.0, exported}) if relevance_weight is None else [relevance_weight]
    has_dial = model.has_engagement and model.has_relevance
    if not has_dial and any(weights):
        raise UserError(f"{description.model.name} has one head and no dial; evaluate it at relevance weight 0")
    vectors = model.embed_catalogue()
    scores = evaluate(vectors, judge, evaluation, weights, serving.retrieval.merge)
    return Scored(scores, judge, items, description, vectors, has_dial, exported)
