"""Mines co-engagement pairs, and triggers to validate and evaluate by, from sequences."""

import dataclasses
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from preprocessing.config import PairsConfig
from preprocessing.schema import BLOCK_PAIRS
from preprocessing.sessions import Sequences
from preprocessing.split import Part

_NONE: Final = -1
_DAY: Final = 86_400.0
_BLOCKS_AT_ONCE: Final = 16
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
    windows = _Windows(item, timestamp, sequence, window, config.max_seconds)
    step = max(1, BLOCK_PAIRS // window)
    # Many blocks at a time: numpy's calls would cost more than what they do for one.
    for begin in range(0, len(item), step * _BLOCKS_AT_ONCE):
        rows = np.arange(begin, min(begin + step * _BLOCKS_AT_ONCE, len(item)))
        targets, real = windows.after(rows)
        numbers = np.count_nonzero(real, axis=1)
        weights = np.maximum(decay * age[rows, np.newaxis], _LEAST_WEIGHT).astype(np.float32)
        ends = np.concatenate([[0], np.cumsum(numbers)])
        target, weight = targets[real], weights[real]
        for first in range(0, len(rows), step):
            block = slice(first, first + step)
            some = first + np.flatnonzero(numbers[block])
            own = slice(ends[first], ends[min(first + step, len(rows))])
            if len(some):
                yield Pairs(
                    trigger=item[rows[some]].astype(np.int64),
                    user=user[rows[some]],
                    targets_of_trigger=numbers[some].astype(np.int64),
                    target=target[own],
                    weight=weight[own],
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
    windows = _Windows(item, timestamp, sequence, config.window, config.max_seconds)
    for begin in range(0, len(triggers), BLOCK_PAIRS):
        rows = triggers[begin : begin + BLOCK_PAIRS]
        targets, real = windows.after(rows)
        numbers = np.count_nonzero(real, axis=1)
        some = numbers > 0
        if some.any():
            yield Triggers(
                trigger=item[rows[some]].astype(np.int64),
                user=user[rows[some]],
                targets_of_trigger=numbers[some].astype(np.int64),
                target=targets[real],
            )


class _Windows:
    """What follows each row of the sequences within reach."""

    def __init__(
        self,
        item: npt.NDArray[Any],
        timestamp: npt.NDArray[np.float64],
        sequence: npt.NDArray[Any],
        window: int,
        max_seconds: float | None,
    ):
        """Takes the columns of all n rows."""
        self._max_seconds = max_seconds
        self._item, self._sequence, self._timestamp = (
            sliding_window_view(np.pad(column, (0, window + 1), constant_values=_NONE), window + 1)
            for column in (item, sequence, timestamp)
        )
        # Where the same item stood last, -1 for nowhere.
        order = np.argsort(item, kind="stable")
        again = item[order[1:]] == item[order[:-1]]
        earlier = np.full(len(item) + window + 1, _NONE, np.int64)
        earlier[order[1:][again]] = order[:-1][again]
        self._earlier = sliding_window_view(earlier, window + 1)

    def after(self, rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Items int64 [m, window] at distance 1 to ``window`` after m rows, and bool, which of them are targets.

        None is beyond the sequence, later than ``max_seconds``, the trigger's own item, or an item that is nearer
        already.
        """
        sequence = self._sequence[rows]
        real = sequence[:, 1:] == sequence[:, :1]
        # What stands at or after the trigger already is the trigger's own item, or a target that is nearer.
        real &= self._earlier[rows, 1:] < rows[:, np.newaxis]
        if self._max_seconds is not None:
            timestamp = self._timestamp[rows]
            real &= timestamp[:, 1:] - timestamp[:, :1] <= self._max_seconds
        return self._item[rows, 1:].astype(np.int64), real
