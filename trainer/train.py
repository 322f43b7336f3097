"""Trains a model on preprocessed examples."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from preprocessing import schema
from preprocessing.errors import UserError
from preprocessing.manifest import load_manifest, manifest_digest
from preprocessing.read import Annotations, ItemTable, read_annotations, read_items, read_triggers
from trainer.annotated import learnable
from trainer.artefact import (
    FIRST_STAGE,
    WEIGHTS,
    DialPoint,
    ModelDescription,
    catalogue_digest,
    save_model,
    save_weights,
)
from trainer.base import Base
from trainer.batches import Batches, make_batches
from trainer.candidates import TrainingTables
from trainer.catalogue import Catalogue, build_catalogue
from trainer.choice import Choice
from trainer.config import TrainingConfig
from trainer.data import PairSummary, summarise_pairs
from trainer.distribution import Distribution, distribution
from trainer.evaluate import DIAL, Scores, evaluate, make_judge, sample_triggers, sees_categories
from trainer.in_words import data_in_words, left_to_data
from trainer.loop import CHECKPOINTS, Criterion, TrainingLoop, Watch
from trainer.model import MTMHModel
from trainer.names import BLEND, QUOTA
from trainer.neighbours import teacher_neighbours
from trainer.projector import write_projector
from trainer.sources import trainer_version
from trainer.spectral import MOST_ITEMS, spectral_embeddings
from trainer.stand_in import fit_stand_in
from trainer.teacher_breadth import teacher_breadth
from trainer.teacher_gain import teacher_gain
from trainer.tensorboard import FINAL, LOGS, TRAINING, write_outcome
from trainer.trend import popularity_trend
from trainer.variants import as_variant, learns_from_teacher
from trainer.warm_start import Start, find_start

logger = logging.getLogger("mtmh.trainer")

_MANY_ITEMS = 100_000
_DENSE_INTERACTIONS = 50.0
"""Mean interactions of the items that have any from which the far targets of a trigger are learnt from too."""
_MOST_TARGETS = 1000
"""For examples that do not say how they were made."""
_MOST_KNOWN_POSITIVES = 4096
"""Known targets kept of one trigger."""
_MAKE_A_SLICE = "split.validation_users and split.validation_quantile make that slice"


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """Where a training ended.

    Attributes:
      model: directory of the trained model, see `trainer.artefact`.
      epochs: epochs that it was trained for.
      scores: metrics of the first stage on the validation slice, at the first setting of the dial; None without one.
    """

    model: Path
    epochs: int
    scores: Scores | None


def train(
    examples: Path,
    output: Path,
    config: TrainingConfig,
    *,
    resume: bool = False,
    or_anew: bool = False,
    base: Base | None = None,
) -> TrainResult:
    """Trains in two stages: what the validation slice is for is chosen first, then the slice is learnt from as well.

    The first model learns from the training pairs until its recall on the validation slice stops rising; that slice
    also says what each setting of the dial brings. The second, which is the result, learns from all rows before the
    split, with ``trainer.refit`` from those after it too, for as many epochs. Examples without a validation slice leave
    nothing to choose by: then there is one stage of ``trainer.epochs`` epochs, and nothing is known of the dial.

    Below ``output``: ``model`` (the result), ``checkpoints`` (to resume from), ``logs`` (TensorBoard). Of several
    workers, see `trainer.distribution`, the chief alone reads and writes there.

    Args:
      examples: output of the preprocessing.
      output: directory of this training; a checkpoint there is continued with ``resume``, else discarded.
      config: options; ``model.name`` is spelled out by `trainer.variants`.
      resume: continue an interrupted training of the same configuration by the same code.
      or_anew: with ``resume``: begin anew, with a warning, where what is there is damaged, or another training's.
      base: with ``trainer.warm_start`` the model to begin with; see `trainer.warm_start`.

    Raises:
      UserError: the examples are missing or hold nothing to train on, the model is not one to train, the loss is no
        longer a number, ``resume`` alone meets another configuration, other examples, another version's training or a
        damaged checkpoint, or the workers do not fit together or one of them is lost.
    """
    workers = distribution()  # first of all: TensorFlow connects them before it computes anything
    with workers.watched():
        return _train(workers, examples, output, config, resume=resume, or_anew=or_anew, base=base)


def _train(
    workers: Distribution,
    examples: Path,
    output: Path,
    config: TrainingConfig,
    *,
    resume: bool,
    or_anew: bool,
    base: Base | None,
) -> TrainResult:
    config = as_variant(config)
    data = _read(examples, config)
    manifest = load_manifest(str(examples))
    if config.trainer.warm_start:
        stages = 2 if manifest.num_validation_triggers else 1
        data = dataclasses.replace(
            data, start=find_start(base, examples, data.items, data.catalogue, config, stages=stages)
        )
    first_stage = output / CHECKPOINTS / FIRST_STAGE / WEIGHTS
    choice = _choose(data, output, config, resume=resume, or_anew=or_anew, keep=first_stage)
    parts = [schema.PAIRS]
    if choice is not None:
        parts.append(schema.VALIDATION)
    else:
        logger.warning(
            "%s holds no validation triggers, so nothing says when to stop: training for %d epochs; %s",
            examples,
            config.trainer.epochs,
            _MAKE_A_SLICE,
        )
    epochs = config.trainer.epochs if choice is None else choice.epochs
    if config.trainer.refit:
        parts.append(schema.EVAL)
    model, batches = _build(data, parts, config, told=choice is None)
    began = None if data.start is None else data.start.put_into(model, first_stage=False)
    loop = TrainingLoop(FINAL, output, config, model, batches, examples=data.identity, epochs=epochs, judge=None)
    loop.run(resume=resume, or_anew=or_anew)
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
        dial=() if choice is None else tuple(DialPoint.of(point) for point in choice.scores),
        refit=config.trainer.refit,
        quota_dial=() if choice is None else tuple(DialPoint.of(point) for point in choice.quota_scores),
        validation_time=None if choice is None else manifest.validation_time,
        split_time=manifest.split_time,
        warm_start=began,
        code=trainer_version(),
        k=None if choice is None else config.evaluate.k,
    )

    def write() -> None:
        model.learn_cold_start()
        if config.trainer.tensorboard:
            heads = {"engagement": model.has_engagement, "relevance": model.has_relevance}
            shown = [head for head, has in heads.items() if has]
            write_projector(output / LOGS / FINAL, data.items, model.embed_catalogue(), shown, config.seed)
        save_model(output / "model", model, description, data.items, None if choice is None else first_stage)

    workers.by_chief(write)
    return TrainResult(output / "model", epochs, None if choice is None else choice.scores[0])


def choose(
    examples: Path,
    output: Path,
    config: TrainingConfig,
    *,
    resume: bool = False,
    or_anew: bool = False,
    watch: Watch | None = None,
) -> Choice:
    """The first stage of `train` alone: what the validation slice says of a configuration.

    Args:
      examples: output of the preprocessing.
      output: directory of this training; see `train`.
      config: options.
      resume: continue an interrupted training of the same configuration.
      or_anew: as of `train`.
      watch: sees the scores along the dial after each epoch; what it raises ends the stage, to be resumed from there.

    Raises:
      UserError: as `train`, or the examples have no validation slice.
    """
    config = as_variant(config)
    choice = _choose(_read(examples, config), output, config, resume=resume, or_anew=or_anew, watch=watch)
    if choice is None:
        raise UserError(f"{examples} holds no validation triggers, so there is nothing to choose by; {_MAKE_A_SLICE}")
    return choice


def suited_options(examples: Path, config: TrainingConfig) -> dict[str, float]:
    """What the first stage of `train` would take for options that ``config`` may leave to the data, by full name.

    Raises:
      UserError: as `train`.
    """
    config = as_variant(config)
    model, _ = _build(_read(examples, config), [schema.PAIRS], config)
    return model.suited


def _choose(
    data: "_Examples",
    output: Path,
    config: TrainingConfig,
    *,
    resume: bool,
    or_anew: bool,
    watch: Watch | None = None,
    keep: Path | None = None,
) -> Choice | None:
    """Trains on the training pairs and judges on the validation slice; None without one.

    The weights are left as a checkpoint with the prefix ``keep``.
    """
    triggers = read_triggers(str(data.directory), schema.VALIDATION)
    if not len(triggers):
        return None
    model, batches = _build(data, [schema.PAIRS], config, told=True)
    if data.start is not None:
        data.start.put_into(model, first_stage=True)
    sample = sample_triggers(triggers, config.trainer.eval_triggers, config.seed)
    # What the first stage has seen: the slice's own rows are none of it.
    seen = dataclasses.replace(data.items, interaction_count=data.items.target_count)
    manifest = load_manifest(str(data.directory))
    judge = make_judge(seen, sample, categories_seen=sees_categories(config.features, manifest))
    both = model.has_engagement and model.has_relevance
    dial = DIAL if both else (Criterion.of(config.model.name).relevance_weight,)
    between_epochs = dial if watch else tuple(dict.fromkeys([dial[0], dial[-1]]))

    def scores(settings: Sequence[float], merge: str = BLEND) -> list[Scores]:
        model.learn_cold_start()
        return evaluate(model.embed_catalogue(), judge, config.evaluate, settings, merge)

    loop = TrainingLoop(
        TRAINING, output, config, model, batches,
        examples=data.identity, epochs=config.trainer.epochs, judge=lambda: scores(between_epochs), watch=watch,
    )  # fmt: skip
    loop.run(resume=resume, or_anew=or_anew)
    choice = Choice(loop.best_epoch, tuple(scores(dial)), tuple(scores(dial, QUOTA)) if both else ())
    if keep is not None and distribution().is_chief:
        save_weights(keep, model)  # once scored, as what cold items are asked with is fitted for it
    if config.trainer.tensorboard and distribution().is_chief:
        write_outcome(output / LOGS, config, choice)
    return choice


@dataclasses.dataclass(frozen=True)
class _Examples:
    """The preprocessed examples, but for the pairs.

    Attributes:
      directory: where they are.
      digest: SHA-256 of their manifest, which names them.
      items, catalogue: the items, and as tensors.
      neighbours: int32 [N, m], the teacher's near neighbours.
      breadth: among how many items the teacher divides its word.
      annotations: graded pairs to learn from.
      stand_in: what `fit_stand_in` says, where the encoder has use for it.
      start: what the training begins with; None: with nothing.
    """

    directory: Path
    digest: str
    items: ItemTable
    catalogue: Catalogue
    neighbours: NDArray[np.int32]
    breadth: float
    annotations: Annotations
    stand_in: tuple[NDArray[np.float32], NDArray[np.float32]] | None
    start: Start | None = None

    @property
    def identity(self) -> str:
        """Names all that a training of one configuration depends on."""
        return self.digest if self.start is None else f"{self.digest} {self.start.digest}"


def _read(directory: Path, config: TrainingConfig) -> _Examples:
    items = read_items(str(directory))
    if len(items) >= _MANY_ITEMS:
        logger.info("%d items: their features and neighbours, which takes a while", len(items))
    catalogue = build_catalogue(items, buckets=config.model.text_buckets, tokens=config.model.text_tokens)
    teaches = config.loss.relevance or config.loss.align is None or config.loss.align
    count = config.loss.teacher_neighbours if teaches and config.loss.unseen_rows != 0 else 0
    return _Examples(
        directory=directory,
        digest=manifest_digest(directory),
        items=items,
        catalogue=catalogue,
        annotations=learnable(read_annotations(str(directory)), len(items)),
        neighbours=(
            # Near ties may fall out otherwise on another machine, and all workers are to draw the same candidates.
            distribution().from_chief(teacher_neighbours(catalogue.content, count, config.seed))
            if count
            else np.zeros((catalogue.num_items, 0), np.int32)
        ),
        breadth=distribution().by_chief(
            lambda: teacher_breadth(catalogue.content, config.loss.teacher_temperature, config.seed)
        ),
        stand_in=(
            fit_stand_in(catalogue.grams, catalogue.content)
            if config.features.text and config.features.content_vector
            else None
        ),
    )


def _targets(data: _Examples, config: TrainingConfig) -> int:
    """Targets of a trigger to learn from: where items are rare, those beyond the evaluation's window only blur."""
    if config.trainer.targets is not None:
        return config.trainer.targets
    window: dict[str, int] = load_manifest(str(data.directory)).config.get("pairs", {})
    count = data.items.interaction_count
    dense = count.sum() >= _DENSE_INTERACTIONS * np.count_nonzero(count)
    return window.get("train_window" if dense else "window", _MOST_TARGETS)


def _trend(items: ItemTable, pairs: PairSummary, part: str) -> NDArray[np.float64]:
    """The trend by the end of a part, float64 [N]; an item that is no target has none: no pair tells what it gains."""
    trend = popularity_trend(items.recent_count[:, schema.PERIODS.index(part)], pairs.row_count)
    return np.where(pairs.target_count > 0, trend, 1.0)


def _build(
    data: _Examples, parts: Sequence[str], config: TrainingConfig, *, told: bool = False
) -> tuple[MTMHModel, Batches]:
    """A new model, ready to learn from the pairs of ``parts``, and the batches of them; ``told`` goes to the log."""
    targets = _targets(data, config)
    pairs = summarise_pairs(data.directory, parts, data.catalogue.num_items, _MOST_KNOWN_POSITIVES, targets)
    if not pairs.num_pairs:
        raise UserError(
            f"{data.directory} holds no training pairs; raise split.quantile or pairs.window and preprocess again"
        )
    # An item that is in no pair has nothing to learn an identity from.
    known = (pairs.target_count > 0) | (np.diff(pairs.known_row_splits) > 0)
    catalogue = dataclasses.replace(data.catalogue, known=known)
    num_known = int(known.sum())
    content, temperature = data.catalogue.content, config.loss.teacher_temperature
    gain = distribution().by_chief(lambda: teacher_gain(content, pairs, temperature, config.seed))
    paths = (path for part in parts for path in (data.directory / part).glob("*.tfrecord.gz"))
    shrink = learns_from_teacher(config.model.name)
    batches = make_batches(config.trainer, pairs, sorted(str(path) for path in paths), config.seed, shrink=shrink)
    with distribution().scope():
        model = MTMHModel(catalogue, config.features, config.model, config.loss, config.seed)
        if model.encoder.has_ids and len(known) <= MOST_ITEMS:
            model.encoder.start_ids_from(spectral_embeddings(pairs, config.model.dimension, config.seed))
        if data.stand_in is not None:
            model.encoder.stand_in.assign(*data.stand_in)
        tables = TrainingTables(
            annotations=data.annotations,
            num_known=num_known,
            triggers_per_item=pairs.num_triggers / num_known,
            teacher_breadth=data.breadth,
            teacher_gain=gain,
            chance=batches.chance,
            known_row_splits=pairs.known_row_splits,
            known_values=pairs.known_values,
            teacher_neighbours=data.neighbours,
            draws_per_batch=batches.draws,
            trend=_trend(data.items, pairs, parts[-1]),
        )
        model.prepare_training(tables, config.trainer.precision)
    if told:
        logger.info("%s", data_in_words(tables, config.model.name))
        if decided := left_to_data(config, model.suited):
            logger.info("left to the data: %s", decided)
    distribution().adopt(model.variables)
    return model, batches
