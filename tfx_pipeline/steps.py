"""The steps of a run on a work directory, each a call of one package's function.

Heavy packages are imported where a step needs them, so that a verb pays for its own only.
"""

import contextlib
import dataclasses
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tfx_pipeline.alone import alone
from tfx_pipeline.config import RunConfig
from tfx_pipeline.workdir import Workdir, input_fingerprint, write_whole

if TYPE_CHECKING:
    from serving.export import ExportResult
    from trainer.base import Base
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
    """Stores the configuration and makes the examples, or with ``resume`` keeps those made of the same.

    Raises:
      UserError: what `preprocessing.pipeline.preprocess` raises; or another process makes examples here.
    """
    with alone(workdir.root, "preprocessing", workdir.preprocessing_lock):
        workdir.store_config(config)
        _make_examples(workdir, config, inputs, beam_args, resume=resume)


def _make_examples(
    workdir: Workdir, config: RunConfig, inputs: Inputs, beam_args: Sequence[str], *, resume: bool
) -> None:
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


def train_step(workdir: Workdir, config: RunConfig, *, resume: bool = False, or_anew: bool = False) -> None:
    """Trains ``model.name`` on the examples; with ``trainer.warm_start`` beginning with the last blessed model.

    ``resume`` and ``or_anew`` are those of `trainer.train.train`. Of several workers the chief holds the directory, as
    it alone writes there.

    Raises:
      UserError: what that raises; or another process trains the model here.
    """
    from trainer.cluster import cluster
    from trainer.train import train

    workdir.require_examples(config)
    base = _last_blessed(workdir) if config.trainer.warm_start else None
    output = workdir.training(config.model.name)
    with alone(output, "training") if cluster().is_chief else contextlib.nullcontext():
        result = train(workdir.examples, output, config.training, resume=resume, or_anew=or_anew, base=base)
    logger.info("trained %s: best after epoch %d", config.model.name, result.epochs)


def _last_blessed(workdir: Workdir) -> "Base | None":
    """The newest model that was pushed and not rolled back."""
    from tfx_pipeline.blessed import find_baseline, lineage, warm_start_base

    return warm_start_base(find_baseline(workdir.blessed, "training", "", lineage(workdir.serving)))


def export_step(workdir: Workdir, config: RunConfig) -> "ExportResult":
    """Exports and publishes the trained model."""
    from serving.export import export

    workdir.require_examples(config)
    return export(
        workdir.examples,
        workdir.model(config.model.name),
        workdir.serving,
        config.serving,
        config.push,
    )


def evaluate_step(workdir: Workdir, config: RunConfig, relevance_weight: float | None = None) -> "list[Scores]":
    """Scores the trained ``model.name`` as it would be served, and keeps the JSON.

    At dial 0 and its default dial, or at one given setting, by the configured way to merge the heads.
    """
    from tfx_pipeline.scoring import score_model

    workdir.require_examples(config)
    name = config.model.name
    scored = score_model(workdir.examples, workdir.model(name), config.evaluate, config.serving, relevance_weight)
    write_metrics(workdir.metrics(name), scored.scores)
    return scored.scores


def write_metrics(path: Path, scores: "Sequence[Scores]") -> None:
    """Keeps scores as JSON."""
    document = [dataclasses.asdict(score) for score in scores]
    write_whole(path, json.dumps(document, indent=2) + "\n")
