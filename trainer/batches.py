"""Where a training's batches come from: the stream of trigger events, or draws from the table of what follows what."""

import logging
import math
from collections.abc import Sequence
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from trainer.config import EVENTS, TRIGGERS, TrainerConfig
from trainer.data import PairSummary, training_batches
from trainer.trigger_draws import FEWEST_ROWS, TriggerTable, rows_and_targets

logger = logging.getLogger("mtmh.trainer")

_STEPS_OF_A_PASS: Final = 200
_STREAM_SIZES: Final = (1024, 4096)
_FEWEST_STEPS: Final = 20
"""Steps of an epoch of draws. With a handful, the rate would rise and early stopping give up within a few dozen."""
_USUAL_EVENTS: Final = 1024
"""Trigger events in a step to which `trainer.learning_rate` belongs."""
_LARGEST_RATE: Final = 4.0
"""Most times that rate, however many events a step sums up."""


class Batches(Protocol):
    """A training's batches.

    Attributes:
      size: B, most triggers of a step.
      steps: of one pass over the trigger events; of draws, of as many events or more.
      rate: of learning, as a multiple of ``trainer.learning_rate``.
      draws: draws that make up a batch.
      chance: float64 [N], how likely it is that the targets of one draw hold an item.
    """

    size: int
    steps: int
    rate: float
    draws: float
    chance: NDArray[np.float64]

    def epoch(self, number: int) -> Any:
        """The batches of an epoch, see `trainer.data.training_batches`; the same whenever they are asked for."""


class EventBatches:
    """Trigger events in a shuffled order, read from the TFRecords: any number of them, in little memory."""

    def __init__(self, config: TrainerConfig, pairs: PairSummary, files: Sequence[str], seed: int) -> None:
        """Args are the options, the sizes of the data, TFRecords of pairs and the seed of the shuffle."""
        self._pairs, self._files, self._seed = pairs, files, seed
        wanted = 2 ** round(math.log2(max(1, pairs.num_triggers) / _STEPS_OF_A_PASS))
        self.size = config.batch_size or int(np.clip(wanted, *_STREAM_SIZES))
        self.steps = math.ceil(pairs.num_triggers / self.size)
        self.rate = _rate(self.size)
        self.draws = self.size * pairs.num_pairs / max(1, pairs.num_triggers)
        self.chance = np.maximum(pairs.target_count, 1.0) / max(pairs.target_count.sum(), 1.0)

    def epoch(self, number: int) -> Any:
        """The batches of an epoch."""
        return training_batches(
            self._files,
            batch_size=self.size,
            window=self._pairs.most_targets,
            late_weight=self._pairs.late_weight,
            seed=self._seed,
            epoch=number,
        )


class TriggerBatches:
    """Distinct triggers, each with the targets of all its events, see `trainer.trigger_draws`."""

    def __init__(self, config: TrainerConfig, pairs: PairSummary, seed: int, *, shrink: bool = False) -> None:
        """Args are the options, the counted pairs and the seed of the draws; ``shrink``: see `make_batches`."""
        num_items = len(pairs.target_count)
        rows, targets = rows_and_targets(num_items)
        if shrink:
            rows = min(rows, max(FEWEST_ROWS, 2 ** int(math.log2(max(1, pairs.num_triggers / _FEWEST_STEPS)))))
        self.size = config.batch_size or rows
        self.steps = max(_FEWEST_STEPS, math.ceil(pairs.num_triggers / self.size))
        self._table = TriggerTable(pairs, targets)
        self._seed = seed
        self.rate = _rate(self.size * pairs.num_triggers / self._table.num_triggers)
        self.draws = float(self.size)
        self.chance = self._table.chance(num_items)

    def epoch(self, number: int) -> Any:
        """The batches of an epoch."""
        return self._table.batches(self.size, steps=self.steps, seed=(self._seed, number))


def make_batches(
    config: TrainerConfig, pairs: PairSummary, files: Sequence[str], seed: int, *, shrink: bool = False
) -> Batches:
    """The batches that ``trainer.batches`` asks for, or by default those that the size of the data allows.

    Args:
      config: options.
      pairs: what the pairs sum up to.
      files: TFRecords of them.
      seed: of draws and shuffles.
      shrink: rather draw fewer triggers in a step of a small log than have fewer steps. It helps where the teacher is
        learnt too; co-engagement alone fares better with quiet steps, see docs/quality.md.
    """
    kind = config.batches or (TRIGGERS if pairs.exact else EVENTS)
    if kind == TRIGGERS:
        if not pairs.exact:
            logger.warning(
                "trainer.batches=triggers draws from %d pairs, the rest are too many", len(pairs.known_values)
            )
        return TriggerBatches(config, pairs, seed, shrink=shrink)
    return EventBatches(config, pairs, files, seed)


def _rate(events: float) -> float:
    """The noise of a step falls with the square root of the events that it sums up."""
    return min(_LARGEST_RATE, math.sqrt(max(1.0, events / _USUAL_EVENTS)))
