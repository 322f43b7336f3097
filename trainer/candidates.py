"""What the rows of a batch are compared with: candidates, and which of them are positives."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.backend import tf
from trainer.config import LossConfig
from trainer.losses import log_inclusion


@dataclasses.dataclass(frozen=True)
class TrainingTables:
    """What the losses look up besides the catalogue.

    Attributes:
      target_count: int64 [N], training pairs whose target is the item.
      known_row_splits, known_values: known targets of each trigger, see `trainer.data.PairSummary`.
      teacher_neighbours: int32 [N, m], near neighbours of each item by the teacher, itself excluded.
      draws_per_batch: expected number of targets in a batch.
    """

    target_count: NDArray[np.int64]
    known_row_splits: NDArray[np.int64]
    known_values: NDArray[np.int32]
    teacher_neighbours: NDArray[np.int32]
    draws_per_batch: float


class CandidateSampler:
    """Draws candidates of a batch, the same ones for the same seed and step."""

    def __init__(self, tables: TrainingTables, config: LossConfig, seed: int) -> None:
        """Args are the tables of the training data, the losses' options, and the seed of the draws."""
        self._config = config
        self._seed = seed
        self._num_items = len(tables.target_count)
        self._row_splits = tf.constant(tables.known_row_splits)
        self._known = tf.constant(tables.known_values)
        self._neighbours = tf.constant(tables.teacher_neighbours)
        correction = log_inclusion(tables.target_count, draws=tables.draws_per_batch, uniform=config.uniform_negatives)
        self.log_inclusion = tf.constant(correction if config.log_q else np.zeros_like(correction))

    def stream(self, step: Any, number: int) -> Any:
        """A seed for one use of randomness in a step, int64 [2]; a resumed training draws what it would have drawn."""
        return tf.stack([tf.constant(self._seed * 16 + number, tf.int64), step])

    def for_engagement(self, target: Any, weight: Any, step: Any) -> Any:
        """Distinct items, int32 [C]: the targets of the batch and uniform draws, or a small catalogue whole.

        Args:
          target: int32 [B, W].
          weight: float32 [B, W], 0 pads.
          step: int64 scalar.
        """
        uniform = self._config.uniform_negatives
        if uniform >= self._num_items:
            return tf.range(self._num_items)
        drawn = tf.random.stateless_uniform([uniform], self.stream(step, 1), 0, self._num_items, tf.int32)
        return tf.unique(tf.concat([tf.boolean_mask(target, weight > 0), drawn], axis=0))[0]

    def for_relevance(self, rows: Any, step: Any) -> Any:
        """Distinct items, int32 [C']: uniform draws, and near neighbours of the rows' items by the teacher."""
        count = self._config.relevance_candidates
        drawn = tf.random.stateless_uniform([count], self.stream(step, 2), 0, self._num_items, tf.int32)
        near = tf.reshape(tf.gather(self._neighbours, rows), [-1])
        return tf.unique(tf.concat([drawn, near], axis=0))[0]

    def places(self, candidates: Any) -> Any:
        """Where among the candidates each item of the catalogue is, int32 [N]; -1 where it is not."""
        return tf.tensor_scatter_nd_update(
            tf.fill([self._num_items], -1), candidates[:, tf.newaxis], tf.range(tf.size(candidates))
        )

    def positives(self, trigger: Any, target: Any, weight: Any, places: Any, size: Any) -> Any:
        """Candidates that are no negatives of a row: its own targets, and all that its trigger is known to lead to.

        Args:
          trigger: int32 [B].
          target: int32 [B, W].
          weight: float32 [B, W], 0 pads.
          places: int32 [N], from `places`.
          size: int32 scalar C.

        Returns:
          bool [B, C].
        """
        rows = tf.shape(trigger)[0]
        row = tf.repeat(tf.range(rows), tf.shape(target)[1])
        item = tf.reshape(tf.where(weight > 0, target, -1), [-1])
        if self._config.mask_known_positives:
            start, stop = tf.gather(self._row_splits, trigger), tf.gather(self._row_splits, trigger + 1)
            known = tf.ragged.range(start, stop)
            row = tf.concat([row, tf.cast(known.value_rowids(), tf.int32)], axis=0)
            item = tf.concat([item, tf.gather(self._known, known.flat_values)], axis=0)
        column = tf.where(item >= 0, tf.gather(places, tf.maximum(item, 0)), -1)
        inside = column >= 0
        indices = tf.stack([tf.boolean_mask(row, inside), tf.boolean_mask(column, inside)], axis=1)
        return tf.scatter_nd(indices, tf.ones_like(indices[:, 0]), tf.stack([rows, size])) > 0
