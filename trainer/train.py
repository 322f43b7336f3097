"""Trains a model on preprocessed examples."""

import dataclasses
import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from preprocessing import schema
from preprocessing.errors import UserError
from preprocessing.read import ItemTable, read_items, read_triggers
from trainer.artefact import DialPoint, ModelDescription, catalogue_digest, save_model
from trainer.candidates import TrainingTables
from trainer.catalogue import Catalogue, build_catalogue
from trainer.config import TrainingConfig
from trainer.data import PairSummary, summarise_pairs
from trainer.evaluate import DIAL, Scores, evaluate, make_judge, sample_triggers
from trainer.loop import Criterion, TrainingLoop
from trainer.model import MTMHModel
from trainer.neighbours import teacher_neighbours
from trainer.variants import as_variant

logger = logging.getLogger("mtmh.trainer")

_MOST_KNOWN_POSITIVES = 4096
"""Known targets kept of one trigger."""


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """Where a training ended.

    Attributes:
      model: directory of the trained model, see `trainer.artefact`.
      epochs: epochs that it was trained for.
      scores: metrics of the first stage at dial 0, on the validation slice; None without one.
    """

    model: Path
    epochs: int
    scores: Scores | None


def train(examples: Path, output: Path, config: TrainingConfig, *, resume: bool = False) -> TrainResult:
    """Trains in two stages: what the validation slice is for is chosen first, then the slice is learnt from as well.

    The first model learns from the training pairs until its recall on the validation slice stops rising; that slice
    also says what each setting of the dial brings. The second, which is the result, learns from all rows before the
    split, with ``trainer.refit`` from those after it too, for as many epochs. Examples without a validation slice leave
    nothing to choose by: then there is one stage of ``trainer.epochs`` epochs, and nothing is known of the dial.

    Below ``output``: ``model`` (the result), ``checkpoints`` (to resume from), ``logs`` (TensorBoard).

    Args:
      examples: output of the preprocessing.
      output: directory of this training; a checkpoint there is continued with ``resume``, else discarded.
      config: options; ``model.name`` is spelled out by `trainer.variants`.
      resume: continue an interrupted training of the same configuration.

    Raises:
      UserError: the examples are missing or hold nothing to train on, the model is not one to train, the loss is no
        longer a number, or ``resume`` meets another configuration, other examples or a damaged checkpoint.
    """
    config = as_variant(config)
    data = _read(examples, config)
    triggers = read_triggers(str(examples), schema.VALIDATION)
    epochs, scores = config.trainer.epochs, None
    dial: tuple[DialPoint, ...] = ()
    parts = [schema.PAIRS]
    if len(triggers):
        model, pairs, files = _build(data, parts, config)
        sample = sample_triggers(triggers, config.trainer.eval_triggers, config.seed)
        # What the first stage has seen: the slice's own rows are none of it.
        seen = dataclasses.replace(data.items, interaction_count=data.items.target_count)
        judge = make_judge(seen, sample, categories_seen=config.features.categories)
        criterion = Criterion.of(config.model.name)

        def score() -> Scores:
            return evaluate(model.embed_catalogue(), judge, config.evaluate, (criterion.relevance_weight,))[0]

        loop = TrainingLoop(
            "training", output, config, model, pairs, files, examples=data.digest, epochs=epochs, judge=score
        )
        loop.run(resume=resume)
        epochs = loop.best_epoch
        weights = DIAL if model.has_engagement and model.has_relevance else (criterion.relevance_weight,)
        along_dial = evaluate(model.embed_catalogue(), judge, config.evaluate, weights)
        dial, scores = tuple(DialPoint.of(point) for point in along_dial), along_dial[0]
        parts.append(schema.VALIDATION)
    else:
        logger.warning(
            "%s holds no validation triggers, so nothing says when to stop: training for %d epochs; "
            "split.validation_users and split.validation_quantile make that slice",
            examples,
            epochs,
        )
    if config.trainer.refit:
        parts.append(schema.EVAL)
    model, pairs, files = _build(data, parts, config)
    loop = TrainingLoop("final", output, config, model, pairs, files, examples=data.digest, epochs=epochs, judge=None)
    loop.run(resume=resume)
    description = ModelDescription(
        features=config.features,
        model=config.model,
        loss=config.loss,
        trainer=config.trainer,
        seed=config.seed,
        num_items=data.catalogue.num_items,
        content_dimension=data.catalogue.content.shape[1],
        vocabulary=data.catalogue.vocabulary,
        catalogue_digest=catalogue_digest(data.items),
        examples_digest=data.digest,
        epochs=epochs,
        dial=dial,
        refit=config.trainer.refit,
    )
    save_model(output / "model", model, description)
    return TrainResult(output / "model", epochs, scores)


@dataclasses.dataclass(frozen=True)
class _Examples:
    """The preprocessed examples, but for the pairs.

    Attributes:
      directory: where they are.
      digest: SHA-256 of their manifest, which names them.
      items, catalogue: the items, and as tensors.
      neighbours: int32 [N, m], the teacher's near neighbours.
    """

    directory: Path
    digest: str
    items: ItemTable
    catalogue: Catalogue
    neighbours: NDArray[np.int32]


def _read(directory: Path, config: TrainingConfig) -> _Examples:
    items = read_items(str(directory))
    catalogue = build_catalogue(items, buckets=config.model.text_buckets, tokens=config.model.text_tokens)
    teaches = config.loss.relevance or config.loss.align or config.loss.swap
    count = config.loss.teacher_neighbours if teaches else 0
    return _Examples(
        directory=directory,
        digest=hashlib.sha256((directory / schema.MANIFEST).read_bytes()).hexdigest(),
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
    # An item that is in no pair has nothing to learn an identity from.
    known = (pairs.target_count > 0) | (np.diff(pairs.known_row_splits) > 0)
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
