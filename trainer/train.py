"""Trains a model on preprocessed examples."""

import dataclasses
import json
import logging
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from preprocessing import schema
from preprocessing.backend import tf
from preprocessing.errors import UserError
from preprocessing.read import read_items, read_triggers
from trainer import metrics
from trainer.artefact import DialPoint, ModelDescription, save_model
from trainer.catalogue import build_catalogue
from trainer.config import TrainingConfig
from trainer.data import PairSummary, summarise_pairs, training_batches
from trainer.evaluate import DIAL, Judge, Scores, evaluate, make_judge, sample_triggers
from trainer.model import MTMHModel, TrainingTables
from trainer.neighbours import teacher_neighbours
from trainer.progress import Progress

logger = logging.getLogger("mtmh.trainer")

_MOST_KNOWN_POSITIVES = 4096


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """Where a training ended.

    Attributes:
      model: directory of the trained model, see `trainer.artefact`.
      epochs: epochs of the kept weights.
      scores: metrics of the kept weights at dial 0, on the triggers used for early stopping.
    """

    model: Path
    epochs: int
    scores: Scores


def train(examples: Path, output: Path, config: TrainingConfig, *, resume: bool = False) -> TrainResult:
    """Trains until the recall on the eval split stops rising, and keeps the best weights.

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
    sample = sample_triggers(read_triggers(str(examples)), config.trainer.eval_triggers, config.seed)
    judge = make_judge(items, sample, categories_seen=config.features.categories)
    catalogue = build_catalogue(items, buckets=config.model.text_buckets, tokens=config.model.text_tokens)

    def build(parts: tuple[str, ...]) -> tuple[MTMHModel, PairSummary]:
        pairs = summarise_pairs(examples, parts, catalogue.num_items, _MOST_KNOWN_POSITIVES)
        table = dataclasses.replace(catalogue, target_count=pairs.target_count)
        model = MTMHModel(table, config.features, config.model, config.loss, config.seed)
        neighbours = (
            teacher_neighbours(catalogue.content, config.loss.teacher_neighbours, config.seed)
            if model.two_heads
            else np.zeros((catalogue.num_items, 0), np.int32)
        )
        model.prepare_training(
            TrainingTables(
                known_row_splits=pairs.known_row_splits,
                known_values=pairs.known_values,
                teacher_neighbours=neighbours,
                draws_per_batch=config.trainer.batch_size * pairs.num_pairs / pairs.num_triggers,
            )
        )
        return model, pairs

    model, pairs = build((schema.PAIRS,))
    loop = _Loop(output, config, model, pairs, judge, _files(examples, (schema.PAIRS,)), name="training")
    loop.run(resume=resume)
    loop.restore_best()
    dial = tuple(
        DialPoint(
            score.relevance_weight, score.values[metrics.RECALL] or 0.0, score.values[metrics.RELEVANCE]
        )
        for score in evaluate(model.embed_catalogue(), judge, config.evaluate, DIAL if model.two_heads else (0.0,))
    )
    epochs = loop.state.best_epoch
    scores = loop.best_scores()
    if config.trainer.refit:
        parts = (schema.PAIRS, schema.EVAL)
        model, pairs = build(parts)
        refit = _Loop(output, config, model, pairs, None, _files(examples, parts), name="refit", epochs=epochs)
        refit.run(resume=resume)
    save_model(
        output / "model",
        model,
        ModelDescription(
            features=config.features,
            model=config.model,
            loss=config.loss,
            seed=config.seed,
            num_items=catalogue.num_items,
            content_dimension=catalogue.content.shape[1],
            vocabulary=catalogue.vocabulary,
            epochs=epochs,
            dial=dial,
            refit=config.trainer.refit,
        ),
    )
    return TrainResult(output / "model", epochs, scores)


def _files(examples: Path, parts: tuple[str, ...]) -> list[str]:
    return sorted(str(path) for part in parts for path in (examples / part).glob("*.tfrecord.gz"))


@dataclasses.dataclass
class _State:
    """What a resumed training has to know besides the weights."""

    epoch: int = 0
    best_epoch: int = 0
    best_recall: float = -1.0
    history: list[dict[str, float | None]] = dataclasses.field(default_factory=list)


class _Loop:
    """Epochs with checkpoints, evaluation, early stopping and TensorBoard."""

    def __init__(
        self,
        output: Path,
        config: TrainingConfig,
        model: MTMHModel,
        pairs: PairSummary,
        judge: Judge | None,
        files: list[str],
        *,
        name: str,
        epochs: int | None = None,
    ) -> None:
        self._config = config
        self._model = model
        self._judge = judge
        self._files = files
        self._name = name
        self._epochs = config.trainer.epochs if epochs is None else epochs
        self._window = pairs.most_targets
        self._steps = math.ceil(pairs.num_triggers / config.trainer.batch_size)
        self._directory = output / "checkpoints" / name
        self._state_file = self._directory / "state.json"
        self._logs = output / "logs" / name
        self.state = _State()
        total = self._steps * config.trainer.epochs
        rate = tf.keras.optimizers.schedules.CosineDecay(
            0.0,
            total,
            alpha=0.1,
            warmup_target=config.trainer.learning_rate,
            warmup_steps=max(1, min(self._steps // 2, 500)),
        )
        model.compile(optimizer=tf.keras.optimizers.Adam(rate), steps_per_execution=min(8, self._steps))
        model.optimizer.build(model.trainable_variables)
        self._checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)

    def run(self, *, resume: bool) -> None:
        self._start(resume)
        logger.info(
            "%s: %d steps an epoch, at most %d epochs, from epoch %d",
            self._name, self._steps, self._epochs, self.state.epoch,
        )
        writer = tf.summary.create_file_writer(str(self._logs)) if self._config.trainer.tensorboard else None
        while self.state.epoch < self._epochs and not self._stale():
            losses = self._train_epoch(self.state.epoch)
            self.state.epoch += 1
            record: dict[str, float | None] = {f"train/{key}": value for key, value in losses.items()}
            if self._judge is not None:
                score = evaluate(self._model.embed_catalogue(), self._judge, self._config.evaluate)[0]
                record |= {f"eval/{key}@{score.k}": value for key, value in score.values.items()}
                recall = score.values[metrics.RECALL] or 0.0
                better = recall > self.state.best_recall
            else:
                recall, better = 0.0, True
            if better:
                self.state.best_recall, self.state.best_epoch = recall, self.state.epoch
                self._checkpoint.write(str(self._directory / f"best-{self.state.epoch}"))
            self.state.history.append(record)
            self._save_state()
            self._report(record, writer)

    def restore_best(self) -> None:
        """Puts the best epoch's weights into the model."""
        self._checkpoint.read(str(self._directory / f"best-{self.state.best_epoch}")).assert_existing_objects_matched()

    def best_scores(self) -> Scores:
        """Metrics of the weights now in the model, at dial 0."""
        assert self._judge is not None
        return evaluate(self._model.embed_catalogue(), self._judge, self._config.evaluate)[0]

    def _train_epoch(self, epoch: int) -> dict[str, float]:
        batches = training_batches(
            self._files,
            batch_size=self._config.trainer.batch_size,
            window=self._window,
            seed=self._config.seed,
            epoch=epoch,
        )
        with Progress(logger, f"{self._name} epoch {epoch + 1}", self._steps, "steps") as progress:
            history = self._model.fit(
                batches, epochs=1, steps_per_epoch=self._steps, verbose=0, callbacks=[_StepProgress(progress)]
            )
        losses = {key: float(values[-1]) for key, values in history.history.items()}
        if not math.isfinite(losses["loss"]):
            raise UserError(
                f"the loss became {losses['loss']} in epoch {epoch + 1}; lower trainer.learning_rate, now "
                f"{self._config.trainer.learning_rate}"
            )
        losses |= {name: value for name, value in self._model.temperatures().items()}
        return losses

    def _stale(self) -> bool:
        return self._judge is not None and self.state.epoch - self.state.best_epoch >= max(self._config.trainer.patience, 1)

    def _start(self, resume: bool) -> None:
        identity = json.dumps(dataclasses.asdict(self._config), sort_keys=True)
        if resume and self._state_file.exists():
            document: dict[str, Any] = json.loads(self._state_file.read_text(encoding="utf-8"))
            if document["config"] != identity:
                raise UserError(
                    f"{self._directory} is a training of another configuration; resume with the configuration it was "
                    "started with, or start anew without --resume"
                )
            self.state = _State(**document["state"])
            self._checkpoint.read(str(self._directory / f"last-{self.state.epoch}")).assert_consumed()
            return
        for directory in (self._directory, self._logs):
            shutil.rmtree(directory, ignore_errors=True)
        self._directory.mkdir(parents=True)

    def _save_state(self) -> None:
        """Weights first, then the small file that names them: a kill between the two resumes one epoch earlier."""
        self._checkpoint.write(str(self._directory / f"last-{self.state.epoch}"))
        document = {
            "config": json.dumps(dataclasses.asdict(self._config), sort_keys=True),
            "state": dataclasses.asdict(self.state),
        }
        staging = self._state_file.with_suffix(".tmp")
        staging.write_text(json.dumps(document), encoding="utf-8")
        staging.replace(self._state_file)
        current = {f"last-{self.state.epoch}", f"best-{self.state.best_epoch}"}
        for path in self._directory.iterdir():
            if path.stem not in current and path != self._state_file:
                path.unlink()

    def _report(self, record: dict[str, float | None], writer: Any) -> None:
        shown = "  ".join(f"{key.partition('/')[2]} {value:.4f}" for key, value in record.items() if _worth_a_line(key, value))
        logger.info("%s epoch %d: %s", self._name, self.state.epoch, shown)
        if writer is not None:
            with writer.as_default(step=self.state.epoch):
                for key, value in record.items():
                    if value is not None:
                        tf.summary.scalar(key, value)
            writer.flush()


def _worth_a_line(key: str, value: float | None) -> bool:
    names = ("loss", "loss_engagement", "loss_relevance", "loss_align", "recall", "relevance", "tail_share")
    return value is not None and key.partition("/")[2].partition("@")[0] in names


class _StepProgress(tf.keras.callbacks.Callback):
    """Reports steps to a `Progress`."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress
        self._seen = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._progress.advance(batch + 1 - self._seen, f"loss {(logs or {}).get('loss', math.nan):.3f}")
        self._seen = batch + 1
