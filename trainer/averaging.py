"""A moving average of the weights, which is what is judged and kept.

With a large step the weights jitter about where they are going; their average (Polyak and Juditsky, "Acceleration of
stochastic approximation by averaging", SIAM J. Control Optim. 1992) does not, and no schedule has to end where the best
epoch happens to be.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from preprocessing.backend import tf


class AveragedWeights(tf.Module):
    """The exponential moving average of some variables, of any shapes."""

    def __init__(self, variables: Sequence[Any], steps: float) -> None:
        """Args are the variables, and how many steps the average looks back."""
        super().__init__(name="averaged_weights")
        self._variables = list(variables)
        self._steps = steps
        self._averages = [tf.Variable(variable, trainable=False) for variable in self._variables]
        self._seen = tf.Variable(0.0, trainable=False)

    @property
    def own_variables(self) -> list[Any]:
        """What the average is made of: all that it keeps besides the variables themselves."""
        return [self._seen, *self._averages]

    @tf.function(autograph=False)
    def update(self, steps: Any) -> None:
        """Takes in the variables as they are ``steps`` after the last update, a float32 scalar."""
        self._seen.assign_add(steps)
        # While little has been seen the average is over all of it, and the first weights are soon forgotten.
        share = tf.maximum(1.0 - tf.exp(-steps / self._steps), tf.minimum(1.0, 2.0 * steps / self._seen))
        for average, variable in zip(self._averages, self._variables, strict=True):
            average.assign_add(share * (variable - average))

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Puts the average in the variables' place for a while."""
        present = [tf.identity(variable) for variable in self._variables]
        for variable, average in zip(self._variables, self._averages, strict=True):
            variable.assign(average)
        try:
            yield
        finally:
            for variable, value in zip(self._variables, present, strict=True):
                variable.assign(value)
