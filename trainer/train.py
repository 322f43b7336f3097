"""Trains a model on preprocessed examples."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from preprocessing import schema
from preprocessing.errors import UserError
from preprocessing.read import read_items, read_triggers
from trainer import metrics
from trainer.artefact import DialPoint, ModelDescription, catalogue_digest, save_model
from trainer.candidates import TrainingTables
from trainer.catalogue import Catalogue, build_catalogue
from trainer.config import TrainingConfig
from trainer.data import PairSummary, summarise_pairs
from trainer.evaluate import DIAL, Scores, evaluate, make_judge, sample_triggers
from trainer.loop import TrainingLoop
from trainer.model import MTMHModel
from trainer.neighbours import teacher_neighbours

_MOST_KNOWN_POSITIVES = 4096
"""Known targets kept of one trigger."""


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """Where a training ended.

    Attributes:
      model: directory of the trained model, see `trainer.artefact`.
      epochs: epochs of the kept weights.
      scores: metrics of those weights at dial 0, on the triggers used for early stopping.
    """

    model: Path
    epochs: int
    scores: Scores


def train(examples: Path, output: Path, config: TrainingConfig, *, resume: bool = False) -> TrainResult:
    """Trains until the recall on the eval split stops rising, and keeps the best weights.

    With ``trainer.refit`` a second model then learns from all rows, those after the split too, for as many epochs.
    Below ``output``: ``model`` (the result), ``checkpoints`` (to resume from), ``logs`` (TensorBoard).

    Args:
      examples: output of the preprocessing.
      output: directory of this training; a checkpoint there is continued with ``resume``, else discarded.
      config: options.
      resume: continue an interrupted training of the same configuration.

    Raises:
      UserError: the examples are missing, or ``resume`` meets another configuration.
    """
    items = read_items(str(examples))
    catalogue = build_catalogue(items, buckets=config.model.text_buckets, tokens=config.model.text_tokens)
    sample = sample_triggers(read_triggers(str(examples)), config.trainer.eval_triggers, config.seed)
    judge = make_judge(items, sample, categories_seen=config.features.categories)
    model, pairs = _build(examples, (schema.PAIRS,), catalogue, config)

    def score() -> Scores:
        return evaluate(model.embed_catalogue(), judge, config.evaluate)[0]

    files = _files(examples, (schema.PAIRS,))
    loop = TrainingLoop("training", output, config, model, pairs, files, epochs=config.trainer.epochs, judge=score)
    loop.run(resume=resume)
    along_dial = evaluate(model.embed_catalogue(), judge, config.evaluate, DIAL if model.two_heads else (0.0,))
    if config.trainer.refit:
        parts = (schema.PAIRS, schema.EVAL)
        model, pairs = _build(examples, parts, catalogue, config)
        files = _files(examples, parts)
        TrainingLoop("refit", output, config, model, pairs, files, epochs=loop.best_epoch, judge=None).run(
            resume=resume
        )
    description = ModelDescription(
        features=config.features,
        model=config.model,
        loss=config.loss,
        seed=config.seed,
        num_items=catalogue.num_items,
        content_dimension=catalogue.content.shape[1],
        vocabulary=catalogue.vocabulary,
        catalogue_digest=catalogue_digest(items),
        epochs=loop.best_epoch,
        dial=tuple(
            DialPoint(scores.relevance_weight, scores.values[metrics.RECALL] or 0.0, scores.values[metrics.RELEVANCE])
            for scores in along_dial
        ),
        refit=config.trainer.refit,
    )
    save_model(output / "model", model, description)
    return TrainResult(output / "model", loop.best_epoch, along_dial[0])


def _build(
    examples: Path, parts: Sequence[str], catalogue: Catalogue, config: TrainingConfig
) -> tuple[MTMHModel, PairSummary]:
    """A new model, ready to learn from the pairs of ``parts``."""
    pairs = summarise_pairs(examples, parts, catalogue.num_items, _MOST_KNOWN_POSITIVES)
    if not pairs.num_pairs:
        raise UserError(
            f"{examples} holds no training pairs; raise split.quantile or pairs.window and preprocess again"
        )
    model = MTMHModel(catalogue, config.features, config.model, config.loss, config.seed)
    count = config.loss.teacher_neighbours if model.two_heads else 0
    model.prepare_training(
        TrainingTables(
            target_count=pairs.target_count,
            known_row_splits=pairs.known_row_splits,
            known_values=pairs.known_values,
            teacher_neighbours=(
                teacher_neighbours(catalogue.content, count, config.seed)
                if count
                else np.zeros((catalogue.num_items, 0), np.int32)
            ),
            draws_per_batch=config.trainer.batch_size * pairs.num_pairs / pairs.num_triggers,
        )
    )
    return model, pairs


def _files(examples: Path, parts: Sequence[str]) -> list[str]:
    return sorted(str(path) for part in parts for path in (examples / part).glob("*.tfrecord.gz"))
