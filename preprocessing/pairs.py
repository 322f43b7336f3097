"""Mines co-engagement pairs, and triggers to validate and evaluate by, from sequences."""

import dataclasses
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from preprocessing.config import PairsConfig
from preprocessing.schema import BLOCK_PAIRS
from preprocessing.sessions import Sequences
from preprocessing.split import Part

_NONE: Final = -1
_DAY: Final = 86_400.0
_LEAST_WEIGHT: Final = float(np.finfo(np.float32).tiny)


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Pairs of m trigger events as columns: int64 [m] items, users and numbers of targets (1 or more).

    ``target`` is int64 and ``weight`` float32, both [sum of ``targets_of_trigger``].
    """

    trigger: npt.NDArray[np.int64]
    user: npt.NDArray[np.int64]
    targets_of_trigger: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Triggers:
    """Triggers as columns: int64 [m] items, users and numbers of targets, int64 [sum of the numbers] targets."""

    trigger: npt.NDArray[np.int64]
    user: npt.NDArray[np.int64]
    targets_of_trigger: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]


def mine_pairs(sequences: Sequences, split_time: float, config: PairsConfig) -> Iterator[Pairs]:
    """Yields blocks of the training pairs, in the order of their trigger's row, nearest target first.

    A row of the training part is a trigger; its targets are the next ``train_window`` rows of its sequence that are of
    the training part too, come at most ``max_seconds`` later and hold another item; a target met twice counts where it
    is nearest. A target d rows away from a trigger that came s seconds before the split weighs
    ``distance_decay ** (d - 1) * 0.5 ** (s / half_life)``, and never 0, which would be no pair.
    """
    window = max(config.window, config.train_window)
    train = sequences.part == Part.TRAINING
    item, timestamp, sequence = sequences.item[train], sequences.timestamp[train], sequences.sequence[train]
    user = sequences.user[train]
    age = np.ones(len(item))
    if config.half_life_days is not None:
        age = np.power(0.5, (split_time - timestamp) / (config.half_life_days * _DAY))
    decay = np.power(config.distance_decay, np.arange(window))
    step = max(1, BLOCK_PAIRS // window)
    for begin in range(0, len(item), step):
        rows = np.arange(begin, min(begin + step, len(item)))
        targets = window_targets(item, timestamp, sequence, rows, window, config.max_seconds)
        row, column = np.nonzero(targets != _NONE)
        if len(row):
            triggers, numbers = np.unique(row, return_counts=True)
            weight = np.maximum(decay[column] * age[rows[row]], _LEAST_WEIGHT)
            yield Pairs(
                trigger=item[rows[triggers]].astype(np.int64),
                user=user[rows[triggers]],
                targets_of_trigger=numbers.astype(np.int64),
                target=targets[row, column],
                weight=weight.astype(np.float32),
            )


def mine_triggers(sequences: Sequences, part: Part, config: PairsConfig) -> Iterator[Triggers]:
    """Yields blocks of the triggers of the validation or evaluation part, in the order of their rows.

    A row of the part that has a predecessor in its sequence makes that predecessor, also one of an earlier part, a
    trigger; its targets are the next ``window`` rows of the sequence that are of no later part, chosen as for the
    training pairs. A trigger left without targets is none.
    """
    known = sequences.part <= part
    item, timestamp, sequence = sequences.item[known], sequences.timestamp[known], sequences.sequence[known]
    user = sequences.user[known]
    follows = (sequence[1:] == sequence[:-1]) & (sequences.part[known][1:] == part)
    triggers = np.flatnonzero(follows)
    for begin in range(0, len(triggers), BLOCK_PAIRS):
        rows = triggers[begin : begin + BLOCK_PAIRS]
        targets = window_targets(item, timestamp, sequence, rows, config.window, config.max_seconds)
        real = targets != _NONE
        numbers = np.count_nonzero(real, axis=1)
        some = numbers > 0
        if some.any():
            yield Triggers(
                trigger=item[rows[some]].astype(np.int64),
                user=user[rows[some]],
                targets_of_trigger=numbers[some].astype(np.int64),
                target=targets[real],
            )


def window_targets(
    item: npt.NDArray[Any],
    timestamp: npt.NDArray[np.float64],
    sequence: npt.NDArray[Any],
    rows: npt.NDArray[Any],
    window: int,
    max_seconds: float | None,
) -> npt.NDArray[np.int64]:
    """Items at distance 1 to ``window`` after each of the given rows.

    Returns:
      int64 [len(rows), window]; -1 beyond the sequence, later than ``max_seconds``, for the trigger's own item, and for
      an item that is nearer already.
    """
    targets = np.full((len(rows), window), _NONE, np.int64)
    for distance in range(1, window + 1):
        after = np.minimum(rows + distance, len(item) - 1)
        valid = (rows + distance < len(item)) & (sequence[after] == sequence[rows]) & (item[after] != item[rows])
        if max_seconds is not None:
            valid &= timestamp[after] - timestamp[rows] <= max_seconds
        target = np.where(valid, item[after], _NONE)
        for nearer in range(distance - 1):
            target[target == targets[:, nearer]] = _NONE
        targets[:, distance - 1] = target
    return targets
