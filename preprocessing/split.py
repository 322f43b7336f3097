"""Which part of the output a row belongs to: training, validation or evaluation.

The evaluation period is everybody's, from the split on. Validation repeats it inside the training period: the last
rows of all users, or of a share of them, so that epochs, the dial and the baselines' parameters are chosen without a
look at the evaluation period. Nothing is lost: once all is chosen, the trainer learns from the slice as well.
"""

import dataclasses
import enum
from typing import Final

import numpy as np
import numpy.typing as npt

from preprocessing.config import SplitConfig
from preprocessing.mixing import pick
from preprocessing.parse import Rows, parse_split_time
from preprocessing.statistics import Counts, count_values, quantile

RECENT_SHARE: Final = 0.1
"""The last rows of a period, that tell what is popular by its end."""


class Part(enum.IntEnum):
    """What a row serves, in the order of a user's time."""

    TRAINING = 0
    VALIDATION = 1
    EVALUATION = 2


@dataclasses.dataclass(frozen=True)
class Split:
    """Times in unix seconds.

    Attributes:
      validation_time, split_time: a validation user's rows from the first to the second are held out.
      recent_times: when the last tenth began of the rows before ``validation_time``, of those before ``split_time``,
        and of all.
    """

    validation_time: float
    split_time: float
    recent_times: tuple[float, float, float]


def find_split(times: Counts, config: SplitConfig) -> Split:
    """The configured split of a log whose rows have these times, in whole seconds; so it falls on a second itself.

    Without rows before the split there is nothing to hold out, and both times are the same. So they are where all of
    those rows are of one moment, and holding out everybody's would leave none to learn from. What began before there
    were rows began then.

    Raises:
      UserError: ``split.time`` is no time.
    """
    split_time = quantile(times, config.quantile) if config.time is None else parse_split_time(config.time)
    early = _before(times, split_time)
    validation_time = quantile(early, config.validation_quantile) if len(early[0]) else split_time
    if len(early[0]) and validation_time <= early[0].min() and config.validation_users >= 1.0:
        validation_time = split_time
    parts = (_before(times, validation_time), early, times)
    first, second, third = (quantile(part, 1.0 - RECENT_SHARE) if len(part[0]) else validation_time for part in parts)
    return Split(validation_time, split_time, (first, second, third))


def _before(times: Counts, end: float) -> Counts:
    early = times[0] < end
    return times[0][early], times[1][early]


def part_of_rows(rows: Rows, split: Split, share: float, seed: int) -> npt.NDArray[np.int8]:
    """The ``Part`` of each row, int8 [n]; of one user it ascends with time."""
    part = np.full(len(rows), Part.TRAINING, np.int8)
    held_out = pick(rows.users, share, seed)[rows.user]
    part[held_out & (rows.timestamp >= split.validation_time)] = Part.VALIDATION
    part[rows.timestamp >= split.split_time] = Part.EVALUATION
    return part


def recent_counts(
    item: npt.NDArray[np.int32], timestamp: npt.NDArray[np.float64], part: npt.NDArray[np.int8], split: Split
) -> Counts:
    """How many rows name item i in the last tenth of period p, as counts of ``3 i + p``.

    The periods are the training part, with the validation part, and with the evaluation part as well.
    """
    return count_values(
        np.concatenate(
            [
                len(Part) * item[(part <= period) & (timestamp >= split.recent_times[period])].astype(np.int64) + period
                for period in Part
            ]
        )
    )
