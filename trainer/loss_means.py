"""Means of the losses over the steps of an epoch."""

from collections.abc import Mapping, Sequence

from preprocessing.backend import tf
from trainer.replica import Replica


class LossMeans:
    """Sums up losses in training and gives their means.

    Keras' metrics would talk to the other workers in every step; this does once an epoch. A plain object, so that Keras
    does not find its variable, which has no place in a checkpoint.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """Takes the names of the losses."""
        self._names = tuple(names)
        self._sums = tf.Variable(
            tf.zeros([len(self._names) + 1]),
            trainable=False,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.SUM,
        )

    def add(self, losses: Mapping[str, object]) -> None:
        """Adds a step's losses, float32 scalars: of several replicas each adds its part."""
        share = 1.0 / Replica.current().number
        self._sums.assign_add(tf.stack([*(losses[name] for name in self._names), share]))

    def take(self) -> dict[str, float]:
        """The means since the last call; all workers are to call it."""
        *sums, steps = self._sums.read_value().numpy().tolist()
        self._sums.assign(tf.zeros_like(self._sums))
        return {name: value / steps if steps else float("nan") for name, value in zip(self._names, sums, strict=True)}
