"""What a training finds in its data, for the log."""

import math
from collections.abc import Mapping
from operator import attrgetter

from trainer.candidates import TrainingTables
from trainer.config import TrainingConfig
from trainer.teacher_breadth import SAMPLE
from trainer.variants import learns_from_teacher


def data_in_words(tables: TrainingTables, model: str) -> str:
    """How much there is to learn from, and, where the named model learns from the teacher, what that knows."""
    events = f"data: {tables.triggers_per_item:.3g} trigger events an item"
    if not learns_from_teacher(model):
        return events
    alike, times = 100.0 * tables.teacher_breadth / SAMPLE, math.exp(tables.teacher_gain)
    return f"{events}; teacher: {alike:.2g} % of items alike, {times:.3g} times as good as chance at what comes next"


def left_to_data(config: TrainingConfig, suited: Mapping[str, float]) -> str:
    """The options that a configuration leaves open, as the data decide them; empty where there are none.

    Args:
      config: as spelled out by `trainer.variants.as_variant`.
      suited: see `trainer.model.MTMHModel.suited`.
    """
    found = {name: value for name, value in suited.items() if attrgetter(name)(config) is None}
    if not config.features.ids:
        found = {name: value for name, value in found.items() if not name.startswith("model.id_")}
    return ", ".join(f"{name} {value:.2g}" for name, value in found.items())
