"""Which part of the output a row belongs to: training, validation or evaluation.

The evaluation period is everybody's, from the split on. Validation repeats it inside the training period: the last
rows of all users, or of a share of them, so that epochs, the dial and the baselines' parameters are chosen without a
look at the evaluation period. Nothing is lost: once all is chosen, the trainer learns from the slice as well.
"""

import dataclasses
import enum

import numpy as np
import numpy.typing as npt

from preprocessing.config import SplitConfig
from preprocessing.mixing import pick
from preprocessing.parse import Rows, parse_split_time
from preprocessing.statistics import Counts, quantile


class Part(enum.IntEnum):
    """What a row serves, in the order of a user's time."""

    TRAINING = 0
    VALIDATION = 1
    EVALUATION = 2


@dataclasses.dataclass(frozen=True)
class Split:
    """Two times in unix seconds: a validation user's rows from ``validation_time`` to ``split_time`` are held out."""

    validation_time: float
    split_time: float


def find_split(times: Counts, config: SplitConfig) -> Split:
    """The configured split of a log whose rows have these times.

    Without rows before the split there is nothing to hold out, and both times are the same.

    Raises:
      UserError: ``split.time`` is no time.
    """
    split_time = quantile(times, config.quantile) if config.time is None else parse_split_time(config.time)
    values, numbers = times
    early = values < split_time
    if not early.any():
        return Split(split_time, split_time)
    return Split(quantile((values[early], numbers[early]), config.validation_quantile), split_time)


def part_of_rows(rows: Rows, split: Split, share: float, seed: int) -> npt.NDArray[np.int8]:
    """The ``Part`` of each row, int8 [n]; of one user it ascends with time."""
    part = np.full(len(rows), Part.TRAINING, np.int8)
    held_out = pick(rows.users, share, seed)[rows.user]
    part[held_out & (rows.timestamp >= split.validation_time)] = Part.VALIDATION
    part[rows.timestamp >= split.split_time] = Part.EVALUATION
    return part
