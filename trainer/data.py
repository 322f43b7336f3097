"""Reads the preprocessed pairs as a stream of training batches."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing import schema
from preprocessing.backend import tf
from preprocessing.read import read_pairs, read_triggers
from trainer.histories import RowCounter
from trainer.pair_counts import PairCounter, row_splits_of

_SHUFFLED_BLOCKS = 32
"""Blocks mixed into one shuffle: about 260,000 pairs of as many groups of users."""
_LATE_TRIGGERS = 1_000_000
"""Triggers of a later period counted at a time."""
_Columns = tuple[bool, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]
"""Whether of a later period; triggers, their users, numbers of targets, targets, and the targets' weights."""


def _parse_block(record: Any, late_weight: float) -> tuple[Any, Any, Any]:
    """Trigger, targets and weights of a block; triggers of a later period have no weights of their own."""
    features = {
        schema.TRIGGER.name: tf.io.RaggedFeature(tf.int64),
        schema.TARGETS_OF_TRIGGER.name: tf.io.RaggedFeature(tf.int64),
        schema.TARGET.name: tf.io.RaggedFeature(tf.int64),
        schema.WEIGHT.name: tf.io.RaggedFeature(tf.float32),
    }
    block = tf.io.parse_single_example(record, features)
    target, lengths = block[schema.TARGET.name], block[schema.TARGETS_OF_TRIGGER.name]
    weight = block[schema.WEIGHT.name]
    weight = tf.cond(tf.size(weight) == tf.size(target), lambda: weight, lambda: tf.fill(tf.shape(target), late_weight))
    return (
        block[schema.TRIGGER.name],
        tf.RaggedTensor.from_row_lengths(target, lengths),
        tf.RaggedTensor.from_row_lengths(weight, lengths),
    )


def training_batches(
    files: Sequence[str], *, batch_size: int, window: int, seed: int, epoch: int, late_weight: float = 1.0
) -> Any:
    """One epoch of shuffled batches; equal arguments, under an equal global seed of TensorFlow, give equal batches.

    Args:
      files: TFRecords of pairs.
      batch_size: B, triggers of a batch.
      window: W, most targets of a trigger.
      seed: of the shuffle.
      epoch: enters the seed, so that a resumed training sees what an uninterrupted one would.
      late_weight: weight of the pairs of the validation and evaluation periods, see `PairSummary`.

    Returns:
      A `tf.data.Dataset` of ``trigger`` int32 [B], ``target`` int32 [B, W] and ``weight`` float32 [B, W], 0 where
      ``target`` is padded.
    """

    @tf.autograph.experimental.do_not_convert
    def dense_block(record: Any) -> tuple[Any, Any, Any]:
        trigger, target, weight = _parse_block(record, late_weight)
        return (
            tf.cast(trigger, tf.int32),
            tf.cast(target.to_tensor(0, shape=[None, window]), tf.int32),
            weight.to_tensor(0.0, shape=[None, window]),
        )

    @tf.autograph.experimental.do_not_convert
    def shuffle_rows(number: Any, block: tuple[Any, Any, Any]) -> dict[str, Any]:
        trigger, target, weight = block
        order = tf.random.experimental.stateless_shuffle(
            tf.range(tf.shape(trigger)[0]), seed=tf.stack([number, tf.constant(seed * 1009 + epoch, tf.int64)])
        )
        return {
            "trigger": tf.gather(trigger, order),
            "target": tf.gather(target, order),
            "weight": tf.gather(weight, order),
        }

    @tf.autograph.experimental.do_not_convert
    def concatenate(trigger: Any, target: Any, weight: Any) -> tuple[Any, Any, Any]:
        return trigger.values, target.values, weight.values

    order = np.random.default_rng([seed, epoch]).permutation(len(files))
    blocks = tf.data.TFRecordDataset([files[place] for place in order], compression_type=schema.COMPRESSION)
    blocks = blocks.shuffle(1024, seed=seed * 1009 + epoch, reshuffle_each_iteration=False)
    blocks = blocks.map(dense_block, num_parallel_calls=2, deterministic=True)
    groups = blocks.ragged_batch(_SHUFFLED_BLOCKS).map(concatenate)
    groups = groups.enumerate().map(shuffle_rows, num_parallel_calls=2)
    return untuned(groups.rebatch(batch_size, drop_remainder=False).prefetch(4))


def untuned(dataset: Any) -> Any:
    """The dataset without tf.data's autotuning, which has nothing to tune where no size is left to it.

    Its thread sleeps for twice as long each time, and an iterator that is let go sometimes waits until it wakes: an
    epoch of three seconds took five, or ten.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


@dataclasses.dataclass(frozen=True)
class PairSummary:
    """What a training has to know of its pairs beforehand.

    Attributes:
      num_triggers, num_pairs: trigger events, and their pairs.
      most_targets: W, most targets of one trigger event.
      late_weight: targets of a trigger event of the training pairs over those of one of a later period, which looks
        fewer items ahead; with this weight a late trigger counts as much as any.
      target_count: int64 [N], pairs whose target is the item.
      row_count: int64 [N], rows of the item that the pairs were mined from, see `trainer.histories`.
      known_row_splits: int64 [N + 1].
      known_counts: int32, how often each of the known values is a target of its trigger.
      known_weights: float64, the sum of those pairs' weights.
      known_values: int32; the known targets of trigger i, ascending, are
        ``known_values[known_row_splits[i]:known_row_splits[i + 1]]``.
      exact: whether there are no more distinct pairs than `trainer.pair_counts.MOST_COUNTED_PAIRS`. Of more, what is
        rare for its trigger was let go while others were counted, and may be unknown, or known with too small a count
        and weight.
    """

    num_triggers: int
    num_pairs: int
    most_targets: int
    late_weight: float
    target_count: NDArray[np.int64]
    row_count: NDArray[np.int64]
    known_row_splits: NDArray[np.int64]
    known_values: NDArray[np.int32]
    known_counts: NDArray[np.int32]
    known_weights: NDArray[np.float64]
    exact: bool = True


def summarise_pairs(
    directory: Path, parts: Sequence[str], num_items: int, most_known: int, targets: int | None = None
) -> PairSummary:
    """Reads all pairs once.

    Args:
      directory: the preprocessing's output.
      parts: which of its parts to learn from: `schema.PAIRS`, `schema.VALIDATION`, `schema.EVAL`.
      num_items: N.
      targets: of each trigger event only so many count, the nearest ones; by default all.
      most_known: known targets kept of one trigger, the most frequent ones.
    """
    triggers = pairs = most_targets = 0
    by_period = np.zeros((2, 2))
    target_count = np.zeros(num_items, dtype=np.int64)
    counter = PairCounter(num_items, most_known)
    rows = RowCounter(num_items)
    for late, trigger, user, lengths, target, weight in _columns(directory, parts):
        rows.add(user, trigger, target[np.cumsum(lengths) - lengths])
        if targets is not None:
            lengths, target, weight = _nearest(lengths, target, weight, targets)
        by_period[int(late)] += len(target), len(trigger)
        triggers += len(trigger)
        pairs += len(target)
        most_targets = max(most_targets, int(lengths.max(initial=0)))
        np.add.at(target_count, target, 1)
        counter.add(np.repeat(trigger, lengths) * num_items + target, weight, late=late)
    late_weight = _late_weight(*by_period)
    known = counter.finish()
    return PairSummary(
        num_triggers=triggers,
        num_pairs=pairs,
        most_targets=most_targets,
        late_weight=late_weight,
        target_count=target_count,
        row_count=rows.rows,
        known_row_splits=row_splits_of(known.key, num_items),
        known_values=np.remainder(known.key, num_items, out=known.key).astype(np.int32),
        known_counts=known.count,
        known_weights=np.add(known.weight, late_weight * known.late, out=known.weight),
        exact=counter.exact,
    )


def _columns(directory: Path, parts: Sequence[str]) -> Iterator[_Columns]:
    """The pairs block by block."""
    if schema.PAIRS in parts:
        for block in read_pairs(str(directory)):
            yield False, block.trigger, block.user, block.targets_of_trigger, block.target, block.weight
    for part in (schema.VALIDATION, schema.EVAL):
        if part not in parts:
            continue
        triggers = read_triggers(str(directory), part)
        for first in range(0, len(triggers), _LATE_TRIGGERS):
            some = slice(first, first + _LATE_TRIGGERS)
            splits = triggers.row_splits[first : first + _LATE_TRIGGERS + 1]
            target = triggers.target[splits[0] : splits[-1]]
            weight = np.ones(len(target), np.float32)
            yield True, triggers.trigger[some], triggers.user[some], np.diff(splits), target, weight


def _nearest(
    lengths: NDArray[np.int64], target: NDArray[np.int64], weight: NDArray[np.float32], most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """The first ``most`` targets of each trigger: their numbers, themselves, and their weights."""
    near = np.arange(len(target)) - np.repeat(np.cumsum(lengths) - lengths, lengths) < most
    return np.minimum(lengths, most), target[near], weight[near]


def _late_weight(early: NDArray[np.float64], late: NDArray[np.float64]) -> float:
    """Pairs a trigger of both periods, each given as (pairs, triggers), the early over the late; 1 without either."""
    if not early.all() or not late.all():
        return 1.0
    return float((early[0] / early[1]) / (late[0] / late[1]))
