"""Tunes the options of a training: what is searched, and what a trial is."""

import dataclasses
import gc
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from optuna.distributions import FloatDistribution, IntDistribution

from preprocessing.backend import tf
from preprocessing.errors import UserError
from trainer import metrics
from trainer.choice import Choice, frontier_area
from trainer.config import TrainingConfig
from trainer.evaluate import Scores
from trainer.loop import CHECKPOINTS, DivergedError
from trainer.search import Distribution, Objective, Options, PrunedError, Report
from trainer.tensorboard import LOGS, write_outcome
from trainer.train import choose, suited_options
from trainer.variants import as_variant

SPACE: Final[Mapping[str, Distribution]] = {
    "loss.relevance": FloatDistribution(0.1, 4.0, log=True),
    "loss.align": FloatDistribution(0.005, 0.5, log=True),
    "loss.teacher_temperature": FloatDistribution(0.02, 0.2, log=True),
    "model.dimension": IntDistribution(32, 128, step=16),
    "model.id_dropout": FloatDistribution(0.0, 0.8),
    "trainer.learning_rate": FloatDistribution(0.0005, 0.01, log=True),
}
"""Ranges of the tuned options by full name."""

FIGURES: Final = (metrics.RECALL, metrics.RELEVANCE, metrics.TOPIC_MATCH)
"""Metrics at dial 0 that are kept with a trial."""


def start_of(examples: Path, config: TrainingConfig) -> dict[str, float]:
    """What the first trial stands for in the search: the configuration, what it leaves open as the data decide it."""
    options = options_of(config)
    if any(options[name] is None for name in SPACE):
        options |= {name: value for name, value in suited_options(examples, config).items() if options[name] is None}
    return {name: options[name] for name in SPACE}


def with_options(config: TrainingConfig, options: Options) -> TrainingConfig:
    """The configuration with some options, given by full name, replaced."""
    for name, value in options.items():
        section, _, option = name.partition(".")
        config = dataclasses.replace(
            config, **{section: dataclasses.replace(getattr(config, section), **{option: value})}
        )
    return config


def options_of(config: TrainingConfig) -> dict[str, Any]:
    """All options by full name."""

    def flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
        if dataclasses.is_dataclass(value):
            for field in dataclasses.fields(value):
                yield from flat(getattr(value, field.name), f"{name}.{field.name}" if name else field.name)
        else:
            yield name, value

    return dict(flat(config, ""))


def trial_directory(directory: Path, number: int) -> Path:
    """Where a trial keeps its logs and, until it is finished, its checkpoints."""
    return directory / f"trial-{number:04d}"


def trial_of(examples: Path, directory: Path, config: TrainingConfig) -> Objective:
    """The objective of the search: area under the frontier of recall and relevance on the validation slice.

    A trial is the first stage of a training, see `trainer.train`. The first is the configuration as it stands: what it
    leaves to the data stays open. Where a trial was interrupted it goes on from its last epoch, or begins anew where
    that is damaged. Each leaves a row of TensorBoard's HParams page; checkpoints of finished trials are removed.

    Args:
      examples: output of the preprocessing, with a validation slice.
      directory: of the tuning.
      config: options that are not searched.
    """

    def objective(number: int, options: Options, report: Report) -> tuple[float, dict[str, float | None]]:
        output, shown = trial_directory(directory, number), with_options(config, options)
        trial = shown if number else config
        seen: list[Choice] = []

        def watch(epoch: int, scores: Sequence[Scores]) -> None:
            seen.append(Choice(epoch, tuple(scores)))
            report(epoch, _area(scores))

        try:
            choice = choose(examples, output, trial, resume=True, or_anew=True, watch=watch)
        except (PrunedError, DivergedError) as error:
            if seen and trial.trainer.tensorboard:
                write_outcome(output / LOGS, as_variant(shown), seen[-1])
            _clear(output)
            raise PrunedError(str(error)) from error
        finally:
            # Keras keeps hold of the graphs of earlier models.
            tf.keras.backend.clear_session()
            gc.collect()
        if trial != shown and trial.trainer.tensorboard:
            write_outcome(output / LOGS, as_variant(shown), choice)  # the page's scales need numbers
        _clear(output)
        first = choice.scores[0].values
        return _area(choice.scores), {name: first[name] for name in FIGURES} | {"epochs": choice.epochs}

    return objective


def _area(scores: Sequence[Scores]) -> float:
    area = frontier_area(scores)
    if area is None:
        raise UserError(
            "the validation slice has no frontier to tune by: no item of it has a text that the teacher knows, or none "
            "was seen in training; see teacher.kind and split.validation_users"
        )
    return area


def _clear(output: Path) -> None:
    shutil.rmtree(output / CHECKPOINTS, ignore_errors=True)
