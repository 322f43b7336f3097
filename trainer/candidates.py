"""What the rows of a batch are compared with: candidates, and which of them are positives."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.backend import tf
from preprocessing.read import Annotations
from trainer.config import LossConfig
from trainer.density import unseen_rows
from trainer.losses import log_inclusion

_DENSE_SHARE = 0.02
"""Share of all pairs of the items that occur from which known positives are too many to be left out as negatives."""


@dataclasses.dataclass(frozen=True)
class TrainingTables:
    """What the losses look up besides the catalogue.

    Attributes:
      chance: float64 [N], how likely it is that the targets of one draw hold an item, see `trainer.batches`.
      known_row_splits, known_values: known targets of each trigger, see `trainer.data.PairSummary`.
      teacher_neighbours: int32 [N, m], near neighbours of each item by the teacher, itself excluded.
      draws_per_batch: draws that make up a batch.
      num_known: items that occur in the training's pairs.
      trend: float64 [N], how popularity has moved, see `trainer.trend`; None as if it hadn't.
      triggers_per_item: trigger events of the training over the items that occur in them.
      teacher_breadth: among how many items the teacher divides its word, see `trainer.teacher_breadth`.
      teacher_gain: nats that the teacher saves of finding what is engaged with, see `trainer.teacher_gain`.
      annotations: graded pairs to learn from; None where there are none.
    """

    chance: NDArray[np.float64]
    known_row_splits: NDArray[np.int64]
    known_values: NDArray[np.int32]
    teacher_neighbours: NDArray[np.int32]
    draws_per_batch: float
    num_known: int
    trend: NDArray[np.float64] | None = None
    triggers_per_item: float = 1.0
    teacher_breadth: float = 1024.0
    teacher_gain: float = 1.0
    annotations: Annotations | None = None


class CandidateSampler:
    """Draws what a batch is compared with, the same items for the same seed and step."""

    def __init__(self, tables: TrainingTables, config: LossConfig, seed: int) -> None:
        """Args are the tables of the training data, the losses' options, and the seed of the draws."""
        self._config = config
        self._seed = seed
        self._num_items = len(tables.chance)
        self.masks_known_positives = config.mask_known_positives
        if self.masks_known_positives is None:
            self.masks_known_positives = len(tables.known_values) < _DENSE_SHARE * tables.num_known**2
        self._row_splits = tf.constant(tables.known_row_splits, tf.int32)
        self._known = tf.constant(tables.known_values)
        self._neighbours = tf.constant(tables.teacher_neighbours)
        (unseen,) = np.nonzero(np.diff(tables.known_row_splits) == 0)
        self._unseen = tf.constant(unseen.astype(np.int32))
        due = unseen_rows(tables.triggers_per_item, len(unseen), self._num_items, config.relevance_rows)
        self._unseen_rows = due if config.unseen_rows is None else config.unseen_rows
        graded = tables.annotations if tables.annotations is not None and len(tables.annotations) else None
        self._graded = None if graded is None else [tf.constant(c) for c in (graded.trigger, graded.item, graded.grade)]
        correction = log_inclusion(tables.chance, draws=tables.draws_per_batch, uniform=config.uniform_negatives)
        offset = correction if config.log_q else np.zeros_like(correction)
        if tables.trend is not None:
            # What an item has gained lately is no news in a pair of old: its logit has to be larger to explain it.
            offset = offset + config.trend * np.log(tables.trend)
        self.log_offset = tf.constant(offset, tf.float32)

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

    def unseen(self, step: Any) -> Any:
        """Distinct items that were never a trigger, int32 [u]: uniform draws, at most ``loss.unseen_rows``."""
        total, wanted = int(self._unseen.shape[0]), self._unseen_rows
        if total <= wanted:
            return self._unseen
        drawn = tf.random.stateless_uniform([wanted], self.stream(step, 7), 0, total, tf.int32)
        return tf.gather(self._unseen, tf.unique(drawn)[0])

    def for_relevance(self, unseen: Any, step: Any) -> Any:
        """Distinct items, int32 [C']: uniform draws, and near neighbours of ``unseen``, int32 [u], by the teacher."""
        count = self._config.relevance_candidates
        drawn = tf.random.stateless_uniform([count], self.stream(step, 2), 0, self._num_items, tf.int32)
        near = tf.reshape(tf.gather(self._neighbours, unseen), [-1])
        return tf.unique(tf.concat([drawn, near], axis=0))[0]

    @property
    def has_annotations(self) -> bool:
        """Whether there are graded pairs to learn from."""
        return self._graded is not None

    def for_annotations(self, step: Any) -> tuple[Any, Any, Any]:
        """Graded pairs drawn uniformly: triggers and items int32 [n], grades float32 [n]; all where they are few.

        Raises:
          ValueError: there are none.
        """
        if self._graded is None:
            raise ValueError("there are no annotations")
        trigger, item, grade = self._graded
        total, wanted = int(grade.shape[0]), self._config.annotation_pairs
        drawn = tf.range(total)
        if wanted < total:
            drawn = tf.random.stateless_uniform([wanted], self.stream(step, 5), 0, total, tf.int32)
        return (
            tf.cast(tf.gather(trigger, drawn), tf.int32),
            tf.cast(tf.gather(item, drawn), tf.int32),
            tf.gather(grade, drawn),
        )

    def places(self, candidates: Any) -> Any:
        """Where among the candidates each item of the catalogue is, int32 [N]; -1 where it is not."""
        return tf.tensor_scatter_nd_update(
            tf.fill([self._num_items], -1), candidates[:, tf.newaxis], tf.range(tf.size(candidates))
        )

    def positives(self, trigger: Any, places: Any) -> Any:
        """Candidates that are no negatives of a row, for its trigger is known to lead to them.

        None where known positives are not left out, see `LossConfig.mask_known_positives`.

        Args:
          trigger: int32 [B].
          places: int32 [N], from `places`.

        Returns:
          int32 [n, 2], cells (row, candidate).
        """
        if not self.masks_known_positives:
            return None
        # A frequent trigger may be in a batch many times: what it leads to is looked up once.
        distinct, position = tf.unique(trigger)
        start = tf.gather(self._row_splits, distinct)
        row, place = _runs(start, tf.gather(self._row_splits, distinct + 1) - start)
        column = tf.gather(places, tf.gather(self._known, place))
        row, column = (tf.boolean_mask(part, column >= 0) for part in (row, column))
        length = tf.math.unsorted_segment_sum(tf.ones_like(row), row, tf.size(distinct))
        start = tf.cumsum(length, exclusive=True)
        row, place = _runs(tf.gather(start, position), tf.gather(length, position))
        return tf.stack([row, tf.gather(column, place)], axis=1)


def _runs(start: Any, length: Any) -> tuple[Any, Any]:
    """Runs of consecutive places, int32 [n] each, one after another: which run, and the places; int32 [sum of n]."""
    run = tf.repeat(tf.range(tf.size(length)), length)
    return run, tf.range(tf.size(run)) + tf.gather(start - tf.cumsum(length, exclusive=True), run)
