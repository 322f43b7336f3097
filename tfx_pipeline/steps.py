"""The steps of a run on a work directory, each a call of one package's function.

Heavy packages are imported where a step needs them, so that a verb pays for its own only.
"""

import dataclasses
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from preprocessing.errors import UserError
from tfx_pipeline.config import RunConfig
from tfx_pipeline.workdir import Workdir, input_fingerprint, write_whole

if TYPE_CHECKING:
    from serving.export import ExportResult
    from trainer.evaluate import Scores

logger = logging.getLogger("mtmh.run")


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The user's tables: files or globs."""

    interactions: tuple[str, ...]
    items: tuple[str, ...]
    annotations: tuple[str, ...] = ()


def preprocess_step(
    workdir: Workdir, config: RunConfig, inputs: Inputs, beam_args: Sequence[str] = (), *, resume: bool = False
) -> None:
    """Makes the examples, or with ``resume`` keeps those that were made of the same inputs and configuration."""
    from preprocessing.pipeline import preprocess

    tables = {"interactions": inputs.interactions, "items": inputs.items, "annotations": inputs.annotations}
    fingerprint = input_fingerprint(config, tables)
    if resume and (workdir.examples / "manifest.json").exists() and _stored_fingerprint(workdir) == fingerprint:
        logger.info("preprocessing: kept, neither inputs nor configuration have changed")
        return
    workdir.inputs.unlink(missing_ok=True)
    preprocess(
        config.preprocessing,
        inputs.interactions,
        inputs.items,
        str(workdir.examples),
        beam_args,
        annotations=inputs.annotations,
    )
    write_whole(workdir.inputs, json.dumps({"fingerprint": fingerprint}) + "\n")


def _stored_fingerprint(workdir: Workdir) -> str | None:
    try:
        document = json.loads(workdir.inputs.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document.get("fingerprint") if isinstance(document, dict) else None


def train_step(workdir: Workdir, config: RunConfig, *, resume: bool = False) -> None:
    """Trains ``model.name`` on the examples."""
    from trainer.train import train

    workdir.require_examples(config)
    result = train(workdir.examples, workdir.training(config.model.name), config.training, resume=resume)
    logger.info("trained %s: best after epoch %d", config.model.name, result.epochs)


def export_step(workdir: Workdir, config: RunConfig) -> "ExportResult":
    """Exports and publishes the trained model."""
    from serving.export import export

    workdir.require_examples(config)
    return export(workdir.examples, workdir.model(config.model.name), workdir.serving, config.serving)


def evaluate_step(workdir: Workdir, config: RunConfig, relevance_weight: float | None = None) -> "list[Scores]":
    """Scores the trained ``model.name`` as it would be served, and keeps the JSON.

    At dial 0 and its default dial, or at one given setting, by the configured way to merge the heads.
    """
    from preprocessing.read import read_annotations, read_items, read_triggers
    from serving.export import default_weight
    from trainer.artefact import load_model
    from trainer.evaluate import evaluate, make_judge, sample_triggers

    workdir.require_examples(config)
    name = config.model.name
    items = read_items(str(workdir.examples))
    model, _, description = load_model(workdir.model(name), items)
    triggers = read_triggers(str(workdir.examples))
    if config.evaluate.max_triggers is not None:
        triggers = sample_triggers(triggers, config.evaluate.max_triggers, config.seed)
    annotations = read_annotations(str(workdir.examples))
    judge = make_judge(items, triggers, categories_seen=description.features.categories, annotations=annotations)
    if relevance_weight is not None:
        weights = [relevance_weight]
    else:
        weights = sorted({0.0, default_weight(description, config.serving)})
    if not (model.has_engagement and model.has_relevance) and any(weights):
        raise UserError(f"{name} has one head and no dial; evaluate it at relevance weight 0")
    scores = evaluate(model.embed_catalogue(), judge, config.evaluate, weights, config.retrieval.merge)
    write_metrics(workdir.metrics(name), scores)
    return scores


def write_metrics(path: Path, scores: "Sequence[Scores]") -> None:
    """Keeps scores as JSON."""
    document = [dataclasses.asdict(score) for score in scores]
    write_whole(path, json.dumps(document, indent=2) + "\n")


def run(
    workdir: Workdir, config: RunConfig, inputs: Inputs, beam_args: Sequence[str] = (), *, resume: bool = False
) -> "tuple[list[Scores], ExportResult]":
    """All steps, one after another, ending in a published version."""
    workdir.prepare()
    workdir.store_config(config)
    preprocess_step(workdir, config, inputs, beam_args, resume=resume)
    train_step(workdir, config, resume=resume)
    scores = evaluate_step(workdir, config)
    return scores, export_step(workdir, config)
