"""Trains a model on preprocessed examples."""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from preprocessing import schema
from preprocessing.errors import UserError
from preprocessing.read import ItemTable, read_items, read_triggers
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
      UserError: the examples are missing or hold nothing to train or evaluate on, the loss is no longer a number, or
        ``resume`` meets another configuration, other examples or a damaged checkpoint.
    """
    data = _read(examples, config)
    triggers = read_triggers(str(examples))
    if not len(triggers):
        raise UserError(
            f"{examples} holds no triggers of the evaluation period, so nothing says when to stop; lower "
            "split.quantile and preprocess again"
        )
    sample = sample_triggers(triggers, config.trainer.eval_triggers, config.seed)
    judge = make_judge(data.items, sample, categories_seen=config.features.categories)
    model, pairs, files = _build(data, (schema.PAIRS,), config)

    def score() -> Scores:
        return evaluate(model.embed_catalogue(), judge, config.evaluate)[0]

    epochs, digest = config.trainer.epochs, data.manifest_digest
    loop = TrainingLoop("training", output, config, model, pairs, files, examples=digest, epochs=epochs, judge=score)
    loop.run(resume=resume)
    epochs = loop.best_epoch
    along_dial = evaluate(model.embed_catalogue(), judge, config.evaluate, DIAL if model.two_heads else (0.0,))
    if config.trainer.refit:
        model, pairs, files = _build(data, (schema.PAIRS, schema.EVAL), config)
        loop = TrainingLoop("refit", output, config, model, pairs, files, examples=digest, epochs=epochs, judge=None)
        loop.run(resume=resume)
    description = ModelDescription(
        features=config.features,
        model=config.model,
        loss=config.loss,
        seed=config.seed,
        num_items=data.catalogue.num_items,
        content_dimension=data.catalogue.content.shape[1],
        vocabulary=data.catalogue.vocabulary,
        catalogue_digest=catalogue_digest(data.items),
        epochs=epochs,
        dial=tuple(
            DialPoint(scores.relevance_weight, scores.values[metrics.RECALL] or 0.0, scores.values[metrics.RELEVANCE])
            for scores in along_dial
        ),
        refit=config.trainer.refit,
    )
    save_model(output / "model", model, description)
    return TrainResult(output / "model", epochs, along_dial[0])


@dataclasses.dataclass(frozen=True)
class _Examples:
    """The preprocessed examples, but for the pairs.

    Attributes:
      directory: where they are.
      manifest_digest: SHA-256 of their manifest, which names them.
      items, catalogue: the items, and as tensors.
      neighbours: int32 [N, m], the teacher's near neighbours.
    """

    directory: Path
    manifest_digest: str
    items: ItemTable
    catalogue: Catalogue
    neighbours: NDArray[np.int32]


def _read(directory: Path, config: TrainingConfig) -> _Examples:
    items = read_items(str(directory))
    catalogue = build_catalogue(items, buckets=config.model.text_buckets, tokens=config.model.text_tokens)
    count = config.loss.teacher_neighbours if config.model.name == "mtmh" else 0
    return _Examples(
        directory=directory,
        manifest_digest=hashlib.sha256((directory / schema.MANIFEST).read_bytes()).hexdigest(),
        items=items,
        catalogue=catalogue,
        neighbours=(
            teacher_neighbours(catalogue.content, count, config.seed)
            if count
            else np.zeros((catalogue.num_items, 0), np.int32)
        ),
    )


def _build(data: _Examples, parts: Sequence[str], config: TrainingConfig) -> tuple[MTMHModel, PairSummary, list[str]]:
    """A new model, ready to learn from the pairs of ``parts``, with their summary and their files."""
    pairs = summarise_pairs(data.directory, parts, data.catalogue.num_items, _MOST_KNOWN_POSITIVES)
    if not pairs.num_pairs:
        raise UserError(
            f"{data.directory} holds no training pairs; raise split.quantile or pairs.window and preprocess again"
        )
    # With the rows after the split there are items to learn an identity for that training alone has not seen.
    known = data.catalogue.known | (pairs.target_count > 0) | (np.diff(pairs.known_row_splits) > 0)
    catalogue = dataclasses.replace(data.catalogue, known=known)
    model = MTMHModel(catalogue, config.features, config.model, config.loss, config.seed)
    model.prepare_training(
        TrainingTables(
            target_count=pairs.target_count,
            known_row_splits=pairs.known_row_splits,
            known_values=pairs.known_values,
            teacher_neighbours=data.neighbours,
            draws_per_batch=config.trainer.batch_size * pairs.num_pairs / pairs.num_triggers,
        )
    )
    paths = (path for part in parts for path in (data.directory / part).glob("*.tfrecord.gz"))
    return model, pairs, sorted(str(path) for path in paths)
