"""What a training shows in TensorBoard besides its losses: tags, and the run that the HParams page reads.

Below ``logs`` of a training: ``training`` and ``final``, a run for each stage with a step an epoch; ``outcome``, what
the first stage found, for the HParams page; ``final`` also holds the projector's files, see `trainer.projector`. With
``tensorboard --logdir <work directory>/training`` each is a run of its model.
"""

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from preprocessing.backend import tf
from trainer import metrics
from trainer.choice import Choice
from trainer.config import TrainingConfig
from trainer.evaluate import Scores

LOGS: Final = "logs"
"""Directory of a training's runs."""
TRAINING: Final = "training"
FINAL: Final = "final"
OUTCOME: Final = "outcome"
"""Names of the runs of a training."""

FRONTIER_AREA: Final = "outcome/frontier_area"
_SECTIONS: Final = ("model", "loss", "trainer")
_OUTCOMES: Final = (metrics.RECALL, metrics.RELEVANCE, metrics.TOPIC_MATCH)
_HEADS: Final = {0.0: "validation_engagement_head", 1.0: "validation_relevance_head"}
"""The settings of the dial at which one head answers alone."""


def validation_tag(relevance_weight: float) -> str:
    """First part of the tags of a head's metrics, by the setting of the dial at which it answers alone."""
    return _HEADS[relevance_weight]


def validation_scalars(scores: Sequence[Scores]) -> dict[str, float | None]:
    """Metrics of each head by tag, overall and by slice of the trigger; other settings of the dial are left out."""
    found: dict[str, float | None] = {}
    for point in scores:
        head = _HEADS.get(point.relevance_weight)
        if head is None:
            continue
        found |= {f"{head}/{name}@{point.k}": value for name, value in point.values.items()}
        for part, values in point.slices.items():
            found |= {f"{head}_by_slice/{name}@{point.k}/{part}": value for name, value in values.items()}
    return found


def gradient_shares(norms: Mapping[str, Any]) -> dict[str, float | None]:
    """Share of each loss in the sum of the norms of the shared encoder's gradients, by tag.

    >>> gradient_shares({"engagement": 3.0, "align": 1.0})
    {'gradient_share/engagement': 0.75, 'gradient_share/align': 0.25}
    """
    total = float(sum(norms.values()))
    return {f"gradient_share/{name}": float(norm) / total if total else None for name, norm in norms.items()}


def write_scalars(writer: Any, step: int, scalars: Mapping[str, float | None]) -> None:
    """Writes the known ones at once, so that a page that is open shows them."""
    with writer.as_default(step=step):
        for tag, value in scalars.items():
            if value is not None:
                tf.summary.scalar(tag, value)
    writer.flush()


def hyperparameters(config: TrainingConfig) -> dict[str, bool | float | int | str]:
    """The options of model, losses and trainer by their full names, as the HParams page takes them."""
    return {
        f"{section}.{name}": "null" if value is None else value
        for section in _SECTIONS
        for name, value in dataclasses.asdict(getattr(config, section)).items()
        if name != "tensorboard"
    }


def write_outcome(logs: Path, config: TrainingConfig, choice: Choice) -> None:
    """Writes the run of the HParams page anew: the options, and what they brought on the validation slice.

    Args:
      logs: directory of the training's runs.
      config: as trained, see `trainer.variants.as_variant`.
      choice: its metrics at the first setting of the dial, 0 where there is one, and the area under the frontier.
    """
    from tensorboard.plugins.hparams import api as hparams

    shutil.rmtree(logs / OUTCOME, ignore_errors=True)
    first = choice.scores[0]
    found = {f"outcome/{name}@{first.k}": first.values[name] for name in _OUTCOMES}
    found[FRONTIER_AREA] = choice.frontier_area
    writer = tf.summary.create_file_writer(str(logs / OUTCOME))
    with writer.as_default():
        # Named by its place: equal options of two trainings would be one row.
        hparams.hparams(hyperparameters(config), trial_id="/".join(logs.absolute().parent.parts[-3:]))
    write_scalars(writer, choice.epochs, found)
    writer.close()
