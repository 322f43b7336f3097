"""A replica's share of a training step.

Each replica knows the ids of the whole batch, and so the step's whole list of distinct items: targets, triggers, drawn
negatives. It encodes its part of that list; the vectors of all parts are gathered, so that every row meets the same
candidates as it would in one process; and it computes the loss of its own rows. A loss is normalised by the whole
batch, so that the replicas' losses, and with them their gradients, add up to those of one process.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from preprocessing.backend import tf


@dataclasses.dataclass(frozen=True)
class Replica:
    """One of the replicas that take a step together; outside of a distributed step, the only one.

    Attributes:
      context: TensorFlow's.
      number: how many replicas there are.
    """

    context: Any
    number: int

    @classmethod
    def current(cls) -> "Replica":
        """The one that is running; to be asked where its part is computed."""
        context = tf.distribute.get_replica_context()
        return cls(context, 1 if context is None else context.num_replicas_in_sync)

    @property
    def place(self) -> Any:
        """Of this replica among them, from 0: an int32 scalar."""
        return self.context.replica_id_in_sync_group

    def rows(self, whole: Any) -> Any:
        """The rows [b, ...] of this replica of a batch's [B, ...]: every ``number``-th."""
        return whole if self.number == 1 else whole[self.place :: self.number]

    def part(self, whole: Any) -> Any:
        """This replica's part [m, ...] of a list [n, ...]: consecutive, all equally long by zeros at the end."""
        if self.number == 1:
            return whole
        missing = tf.math.floormod(-tf.shape(whole)[0], self.number)
        padded = tf.pad(whole, [[0, missing]] + [[0, 0]] * (len(whole.shape) - 1))
        length = tf.shape(padded)[0] // self.number
        return padded[self.place * length : (self.place + 1) * length]

    def joined(self, parts: Sequence[Any], size: Any) -> list[Any]:
        """Whole lists [n, d], one for each of ``parts`` [m, d], float32; the inverse of `part`.

        What a replica's part gets as its gradient is the sum over all replicas that use it.

        Args:
          parts: this replica's.
          size: n, an int32 scalar.
        """
        if self.number == 1:
            return list(parts)

        @tf.custom_gradient
        def gather(part: Any) -> Any:
            def gradient(upstream: Any) -> Any:
                dense = tf.convert_to_tensor(upstream)
                return self.part(self.context.all_reduce(tf.distribute.ReduceOp.SUM, dense))

            return self.context.all_gather(part, axis=0)[:size], gradient

        widths = [part.shape[1] for part in parts]
        return list(tf.split(tf.ensure_shape(gather(tf.concat(parts, axis=1)), [None, sum(widths)]), widths, axis=1))
