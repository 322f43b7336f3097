"""Batches of distinct triggers, drawn from the table of all pairs.

What follows an item is the same for all its events, as far as an item-to-item model can know: the loss of many events
of one trigger is that of one row with all their targets and the sums of their weights. A step over such rows speaks for
many times as many events, so that its gradient is that much quieter, at the price of one.
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from preprocessing.backend import tf
from trainer.data import PairSummary, untuned

_FLATTENING: Final = 0.5
"""Triggers are drawn by this power of their weight, and weighted so that the loss is that of all pairs."""
_MOST_CELLS: Final = 10_000_000
"""Logits of a step."""
_MOST_ROWS: Final = 2048
FEWEST_ROWS: Final = 512
_MOST_TARGETS, _FEWEST_TARGETS = 256, 48
"""Targets of a row in a step: where candidates are the whole catalogue anyhow, and where they are a sample of it."""


def rows_and_targets(num_items: int) -> tuple[int, int]:
    """Triggers of a step, and most targets of each, for a catalogue of N items.

    >>> rows_and_targets(5_000), rows_and_targets(12_000), rows_and_targets(1_000_000)
    ((2048, 256), (1024, 256), (512, 48))
    """
    rows = 2 ** round(np.log2(_MOST_CELLS / max(num_items, 1)))
    if rows < FEWEST_ROWS:
        return FEWEST_ROWS, _FEWEST_TARGETS
    return min(_MOST_ROWS, int(rows)), _MOST_TARGETS


class TriggerTable:
    """Triggers, what follows them, and how often each is to be drawn.

    Attributes:
      num_triggers: how many items are triggers.
    """

    def __init__(self, pairs: PairSummary, targets: int) -> None:
        """Takes the counted pairs, and T, most targets of a row."""
        lengths = np.diff(pairs.known_row_splits)
        self._trigger = np.flatnonzero(lengths)
        self._length = lengths[self._trigger]
        self._start = pairs.known_row_splits[self._trigger]
        self._target = pairs.known_values
        self._weight = pairs.known_weights
        self._ends = np.cumsum(self._weight)
        before = np.concatenate([[0.0], self._ends])
        self._before = before[self._start]
        self._total = before[self._start + self._length] - self._before
        share = self._total**_FLATTENING
        self._share = share / share.sum()
        self._shares = np.cumsum(self._share)
        self._targets = targets
        self.num_triggers = len(self._trigger)

    def chance(self, num_items: int) -> NDArray[np.float64]:
        """How likely it is that a drawn row holds an item among its targets: float64 [N]."""
        row = np.repeat(np.arange(self.num_triggers), self._length)
        held = np.where(
            self._length[row] <= self._targets, 1.0, np.minimum(1.0, self._targets * self._weight / self._total[row])
        )
        chance: NDArray[np.float64] = np.zeros(num_items)
        np.add.at(chance, self._target, held * self._share[row])
        return chance

    def batches(self, size: int, *, steps: int, seed: tuple[int, ...]) -> Any:
        """So many batches, each of at most ``size`` distinct triggers; the same for the same seed.

        Returns:
          A `tf.data.Dataset` of ``trigger`` int32 [B], ``target`` int32 [B, T] and ``weight`` float32 [B, T], 0 where
          ``target`` is padded.
        """
        signature = {
            "trigger": tf.TensorSpec([None], tf.int32),
            "target": tf.TensorSpec([None, None], tf.int32),
            "weight": tf.TensorSpec([None, None], tf.float32),
        }

        def draws() -> Iterator[dict[str, NDArray[Any]]]:
            rng = np.random.default_rng(seed)
            for _ in range(steps):
                yield self._draw(size, rng)

        return untuned(tf.data.Dataset.from_generator(draws, output_signature=signature).prefetch(2))

    def _draw(self, size: int, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        drawn = np.minimum(np.searchsorted(self._shares, rng.random(size)), self.num_triggers - 1)
        row, times = np.unique(drawn, return_counts=True)
        order = rng.permutation(len(row))
        row, times = row[order], times[order]
        length, total = self._length[row, np.newaxis], self._total[row, np.newaxis]
        width = min(self._targets, int(length.max()))
        place = np.arange(width)
        whole = length <= self._targets
        # Of a longer row T targets, evenly spread over its weight from a random start.
        points = self._before[row, np.newaxis] + total * (place + rng.random((len(row), 1))) / width
        spread = np.clip(np.searchsorted(self._ends, points, "right") - self._start[row, np.newaxis], 0, length - 1)
        place = self._start[row, np.newaxis] + np.where(whole, np.minimum(place, length - 1), spread)
        weight = np.where(whole, self._weight[place] * (np.arange(width) < length), total / width)
        # What a row counts among all, over how often it is drawn; about 1 in the mean.
        weight *= (times / (self._share[row] * self._total.sum()))[:, np.newaxis]
        return {
            "trigger": self._trigger[row].astype(np.int32),
            "target": self._target[place].astype(np.int32),
            "weight": weight.astype(np.float32),
        }
