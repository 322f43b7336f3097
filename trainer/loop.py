"""Epochs with checkpoints, evaluation, early stopping and TensorBoard."""

import dataclasses
import functools
import json
import logging
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from preprocessing.backend import tf
from preprocessing.errors import UserError
from preprocessing.progress import Progress
from trainer import metrics
from trainer.averaging import AveragedWeights
from trainer.batches import Batches
from trainer.checkpoint import check_checkpoint, read_checkpoint
from trainer.config import TrainingConfig
from trainer.deciding import deciding_options
from trainer.distribution import distribution
from trainer.evaluate import Scores
from trainer.model import JOINT, MTMHModel
from trainer.optimizer import FusedAdam
from trainer.sources import trainer_version
from trainer.tensorboard import LOGS, gradient_shares, validation_scalars, validation_tag, write_scalars
from trainer.variants import has_engagement_head

logger = logging.getLogger("mtmh.trainer")

CHECKPOINTS: Final = "checkpoints"
"""Directory of a training's checkpoints."""


class DivergedError(UserError):
    """The loss is no longer a number."""


class DamagedCheckpointError(UserError):
    """A checkpoint cannot be resumed from, or is another training's; ``fault`` says so without the remedy."""

    def __init__(self, fault: str, remedy: str = "start anew without --resume") -> None:
        super().__init__(f"{fault}; {remedy}")
        self.fault = fault


@dataclasses.dataclass(frozen=True)
class Criterion:
    """What says which epoch is best: a metric at a setting of the dial."""

    metric: str
    relevance_weight: float

    @classmethod
    def of(cls, model: str) -> "Criterion":
        """Recall of the engagement head; relevance where there is none."""
        return cls(metrics.RECALL, 0.0) if has_engagement_head(model) else cls(metrics.RELEVANCE, 1.0)

    def score(self, scores: Sequence[Scores]) -> float:
        """The metric among scores at several settings; 0 where it is not known."""
        (found,) = (point.values[self.metric] for point in scores if point.relevance_weight == self.relevance_weight)
        return found or 0.0


Watch = Callable[[int, Sequence[Scores]], None]
"""Sees a finished epoch, from 1, and its scores; what it raises ends the training, to be resumed from there."""

_MOST_STEPS_PER_CALL = 8
_LOSS: Final = "train/loss"
"""Tag of the joint loss, and where those of its terms begin."""
_SHOWN_METRICS = (metrics.RECALL, metrics.RELEVANCE)


@dataclasses.dataclass
class _State:
    """What a resumed training has to know besides the weights; ``code`` is what began it."""

    code: str = ""
    epoch: int = 0
    best_epoch: int = 0
    best_score: float = -1.0
    history: list[dict[str, float | None]] = dataclasses.field(default_factory=list)


class TrainingLoop:
    """Trains one model; every finished epoch can be resumed from.

    Of several workers the chief alone judges, reads and writes, and the others take its word, see
    `trainer.distribution`.
    """

    def __init__(
        self,
        name: str,
        output: Path,
        config: TrainingConfig,
        model: MTMHModel,
        batches: Batches,
        *,
        examples: str,
        epochs: int,
        judge: Callable[[], Sequence[Scores]] | None,
        watch: Watch | None = None,
    ) -> None:
        """Compiles the model.

        Args:
          name: of the checkpoints and the logs below ``output``.
          output: the training's directory.
          config: options.
          model: prepared for training, in the distribution's scope.
          batches: to learn from.
          examples: names examples and start; a checkpoint is resumed with the same ones only.
          epochs: most epochs.
          judge: scores the model between epochs at some settings of the dial, the criterion's among them, for early
            stopping; None trains all epochs and keeps the last.
          watch: called after each epoch that was judged.
        """
        self._distribution = distribution()
        self._name = name
        self._config = config
        self._model = model
        self._batches = batches
        self._examples = examples
        self._epochs = epochs
        self._judge = judge
        self._watch = watch
        self._criterion = Criterion.of(config.model.name)
        self._steps = min(batches.steps, config.trainer.steps_per_epoch)
        self._directory = output / CHECKPOINTS / name
        self._state_file = self._directory / "state.json"
        self._logs = output / LOGS / name
        self._writer: Any = None
        self._state = _State(code=trainer_version())
        rate = tf.keras.optimizers.schedules.CosineDecay(
            0.0,
            self._steps * config.trainer.epochs,
            alpha=0.1,
            warmup_target=config.trainer.learning_rate * batches.rate,
            warmup_steps=self._steps,
        )
        with self._distribution.scope():
            model.compile(optimizer=FusedAdam(rate), steps_per_execution=min(_MOST_STEPS_PER_CALL, self._steps))
            model.optimizer.build(model.trainable_variables)
            self._average = AveragedWeights(model.trainable_variables, config.trainer.averaged_steps)
        self._checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer, average=self._average)

    @property
    def best_epoch(self) -> int:
        """The epoch, from 1, whose weights are kept."""
        return self._state.best_epoch

    def run(self, *, resume: bool, or_anew: bool = False) -> None:
        """Trains until the epochs are over or the criterion stops rising, and leaves the best weights in the model.

        Args:
          resume: go on from the last finished epoch, where there is one.
          or_anew: begin anew, with a warning, where the checkpoint is damaged, or another training's or other code's.

        Raises:
          UserError: the loss is no longer a number; or, without ``or_anew``, the checkpoint is damaged or belongs to
            another configuration, other examples or other code.
        """
        self._distribution.require_equal("options or examples", self._identity())
        self._start(resume, or_anew)
        done = self._state.epoch
        logger.info("%s: %d steps an epoch, %d epochs at most, %d done", self._name, self._steps, self._epochs, done)
        if self._config.trainer.tensorboard and self._distribution.is_chief:
            self._writer = tf.summary.create_file_writer(str(self._logs))
        while self._state.epoch < self._epochs and not self._stale():
            losses = self._train_epoch()
            self._state.epoch += 1
            self._state.best_epoch = self._distribution.by_chief(functools.partial(self._finish_epoch, losses))
        if self._writer is not None:
            self._writer.close()
        if self._judge is not None and self._state.best_score == 0.0:
            logger.warning(
                "%s: %s@%d on the validation slice is 0 or unknown after every epoch, so nothing says when to stop: "
                "trained for %d epochs; a larger slice (split.validation_quantile, split.validation_users) may tell",
                self._name,
                self._criterion.metric,
                self._config.evaluate.k,
                self._state.epoch,
            )
        self._read_weights("best", self._state.best_epoch)

    def _finish_epoch(self, losses: Mapping[str, float | None]) -> int:
        """Judges and keeps the weights, writes down the epoch, and says which epoch is best."""
        with self._average.applied():
            scores = [] if self._judge is None else self._judge()
            self._keep(self._criterion.score(scores) if scores else 0.0)
        record = {**losses, **validation_scalars(scores)}
        if self._config.trainer.tensorboard:
            record |= gradient_shares(self._model.gradient_norms(self._fixed_batch))
        self._state.history.append(record)
        self._save_state()
        self._report(record)
        if self._watch is not None and scores:
            self._watch(self._state.epoch, scores)
        return self._state.best_epoch

    @functools.cached_property
    def _fixed_batch(self) -> dict[str, Any]:
        """The same triggers after every epoch, so that the shares of the losses can be compared."""
        return next(iter(self._batches.epoch(0)))

    def _train_epoch(self) -> dict[str, float]:
        epoch = self._state.epoch
        batches = self._distribution.feed(self._batches.epoch(epoch))
        with Progress(logger, f"{self._name} epoch {epoch + 1}", self._steps, "steps") as progress:
            self._model.fit(
                batches,
                epochs=1,
                steps_per_epoch=self._steps,
                verbose=0,
                callbacks=[_StepProgress(progress, self._average)],
            )
        means = self._model.loss_means.take()
        losses = {_LOSS: means.pop(JOINT)} | {f"{_LOSS}_{name}": value for name, value in means.items()}
        if not math.isfinite(losses[_LOSS]):
            raise DivergedError(
                f"the loss became {losses[_LOSS]} in epoch {epoch + 1}; lower trainer.learning_rate, now "
                f"{self._config.trainer.learning_rate}"
            )
        return losses | {f"train/{name}": value for name, value in self._model.temperatures().items()}

    def _stale(self) -> bool:
        waited = self._state.epoch - self._state.best_epoch
        return self._judge is not None and waited >= max(1, self._config.trainer.patience)

    # --- checkpoints --------------------------------------------------------------------------------------------

    def _identity(self) -> str:
        """Names what a checkpoint may be resumed with; of what the epochs were chosen by, their number is enough."""
        options = deciding_options(self._config, validated=self._judge is not None)
        return json.dumps(options | {"examples": self._examples, "epochs": self._epochs}, sort_keys=True)

    def _weights(self, kind: str, epoch: int) -> Path:
        return self._directory / f"{kind}-{epoch}"

    def _start(self, resume: bool, or_anew: bool) -> None:
        found = self._distribution.by_chief(lambda: self._find_state(resume, or_anew))
        if found is not None:
            self._read_weights("last", found["epoch"])
            self._state = _State(**found)

    def _find_state(self, resume: bool, or_anew: bool) -> dict[str, Any] | None:
        """What to go on from; None, and no trace of an earlier training, where this one begins."""
        if resume and self._state_file.exists():
            try:
                state = self._read_state()
                if or_anew:
                    self._check(state)
                return state
            except DamagedCheckpointError as error:
                if not or_anew:
                    raise
                logger.warning("%s; beginning anew", error.fault)
        # The stage that chooses is the first: what has followed an earlier one goes with that.
        checkpoints = self._directory if self._judge is None else self._directory.parent
        for directory in (checkpoints, self._logs):
            shutil.rmtree(directory, ignore_errors=True)
        self._directory.mkdir(parents=True)
        return None

    def _check(self, state: Mapping[str, Any]) -> None:
        """Finds out beforehand whether a checkpoint can be resumed from, while there are the first weights still."""
        for kind, epoch in (("last", state["epoch"]), ("best", state["best_epoch"])):
            try:
                check_checkpoint(self._weights(kind, epoch))
            except ValueError as error:
                raise self._damaged(error) from None

    def _read_state(self) -> dict[str, Any]:
        try:
            document = json.loads(self._state_file.read_text(encoding="utf-8"))
            identity, state = document["identity"], dataclasses.asdict(_State(**document["state"]))
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged(error) from None
        if identity != self._identity():
            raise DamagedCheckpointError(
                f"{self._directory} is a training of another configuration, of other examples or from another start",
                "resume with those it was started with, or start anew without --resume",
            )
        if state["code"] != trainer_version():
            # What came of it would be neither version's, and could not be made again.
            raise DamagedCheckpointError(
                f"{self._directory} is a training by other code",
                "resume with the version of mtmh that began it, or start anew without --resume",
            )
        return state

    def _read_weights(self, kind: str, epoch: int) -> None:
        """Reads a checkpoint; the other workers need not see the chief's directory."""
        self._distribution.by_chief(lambda: self._restore(kind, epoch))
        self._distribution.adopt(self._model.variables)
        self._distribution.adopt(self._model.optimizer.variables)
        self._distribution.adopt(self._average.own_variables)

    def _restore(self, kind: str, epoch: int) -> None:
        try:
            read_checkpoint(self._checkpoint, self._weights(kind, epoch))
        except ValueError as error:
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> DamagedCheckpointError:
        return DamagedCheckpointError(f"the checkpoint in {self._directory} is damaged ({error})")

    def _keep(self, score: float) -> None:
        """Remembers the weights when they are the best so far; where nothing tells epochs apart the latest are."""
        if self._judge is None or score > self._state.best_score or score == self._state.best_score == 0.0:
            self._state.best_score, self._state.best_epoch = score, self._state.epoch
            self._checkpoint.write(str(self._weights("best", self._state.epoch)))

    def _save_state(self) -> None:
        """Weights first, then the small file that names them: a kill between the two resumes an epoch earlier."""
        self._checkpoint.write(str(self._weights("last", self._state.epoch)))
        staging = self._state_file.with_suffix(".tmp")
        document = {"identity": self._identity(), "state": dataclasses.asdict(self._state)}
        staging.write_text(json.dumps(document), encoding="utf-8")
        staging.replace(self._state_file)
        current = {f"last-{self._state.epoch}", f"best-{self._state.best_epoch}"}
        for path in self._directory.iterdir():
            if path.is_dir():  # TensorFlow's own, of a write that was killed
                shutil.rmtree(path, ignore_errors=True)
            elif path.stem not in current and path != self._state_file:
                path.unlink(missing_ok=True)

    # --- what people see ----------------------------------------------------------------------------------------

    def _report(self, record: Mapping[str, float | None]) -> None:
        head, k = validation_tag(self._criterion.relevance_weight), self._config.evaluate.k
        terms = {tag.removeprefix(f"{_LOSS}_"): value for tag, value in record.items() if tag.startswith(f"{_LOSS}_")}
        scores = {f"{name}@{k}": record.get(f"{head}/{name}@{k}") for name in _SHOWN_METRICS}
        shown = f"loss {record[_LOSS]:.3f} ({_figures(terms, 3)})"
        if known := _figures(scores, 4):
            shown += f"; {known}"
        logger.info("%s epoch %d: %s", self._name, self._state.epoch, shown)
        if self._writer is not None:
            write_scalars(self._writer, self._state.epoch, record)


def _figures(values: Mapping[str, float | None], decimals: int) -> str:
    """Names and values of those that are known."""
    return ", ".join(f"{name} {value:.{decimals}f}" for name, value in values.items() if value is not None)


class _StepProgress(tf.keras.callbacks.Callback):
    """Averages the weights, reports finished steps, and ends an epoch whose loss is no longer a number."""

    def __init__(self, progress: Progress, average: AveragedWeights) -> None:
        super().__init__()
        self._progress = progress
        self._average = average
        self._seen = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        loss = (logs or {}).get("loss", math.nan)
        self._average.update(tf.constant(batch + 1 - self._seen, tf.float32))
        self._progress.advance(batch + 1 - self._seen, f"loss {loss:.3f}")
        self._seen = batch + 1
        if not math.isfinite(loss):
            self.model.stop_training = True
