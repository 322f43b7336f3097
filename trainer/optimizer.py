"""Adam with its dense update in one kernel."""

from typing import Any

from preprocessing.backend import tf


class FusedAdam(tf.keras.optimizers.Adam):
    """Keras' Adam, the same formula, whose dense update is TensorFlow's own kernel.

    Keras spells the update out in a dozen operations, each of them a pass over the variable: for the table of the
    text n-grams that is a good part of a training step.
    """

    def update_step(self, gradient: Any, variable: Any) -> None:
        """Updates one variable; a sparse gradient goes Keras' way."""
        if isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable)
            return
        place = self._index_dict[self._var_key(variable)]
        steps = tf.cast(self.iterations + 1, variable.dtype)
        beta_1, beta_2 = tf.cast(self.beta_1, variable.dtype), tf.cast(self.beta_2, variable.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[place].handle,
            v=self._velocities[place].handle,
            beta1_power=tf.pow(beta_1, steps),
            beta2_power=tf.pow(beta_2, steps),
            lr=tf.cast(self.learning_rate, variable.dtype),
            beta1=beta_1,
            beta2=beta_2,
            epsilon=tf.cast(self.epsilon, variable.dtype),
            grad=gradient,
        )
