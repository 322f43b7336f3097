"""The heads on the shared encoder: two query towers and the engagement candidate projection."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.backend import tf
from trainer.precision import MixedDense


class _Projection(tf.keras.layers.Layer):
    """A linear map to the unit sphere: float32 [n, hidden] to L2-normalised [n, dimension]."""

    def __init__(self, dimension: int, name: str) -> None:
        super().__init__(name=name)
        self._dense = MixedDense(dimension, use_bias=False, name="dense")

    def call(self, hidden: Any) -> Any:
        return tf.math.l2_normalize(self._dense(hidden), axis=1, epsilon=1e-12)


class EngagementQueryTower(_Projection):
    """The trigger's side of co-engagement, which is not symmetric: what follows an item is not what it follows."""

    def __init__(self, dimension: int) -> None:
        super().__init__(dimension, name="engagement_query_tower")


class EngagementCandidateTower(_Projection):
    """The candidate's side of co-engagement."""

    def __init__(self, dimension: int) -> None:
        super().__init__(dimension, name="engagement_candidate_tower")


class RelevanceQueryTower(tf.keras.layers.Layer):
    """Both sides of relevance, which is symmetric.

    The head starts as a projection of the teacher's own vector, the encoder's part next to nothing, and learns what
    to add to it: an untrained part would spoil the projection, and send its noise back into the encoder. Where the
    vector is absent (a zero row), the encoder's part stands alone.
    """

    def __init__(self, dimension: int, use_content: bool) -> None:
        super().__init__(name="relevance_query_tower")
        start = tf.keras.initializers.VarianceScaling(1e-6 if use_content else 1.0, "fan_avg", "uniform")
        self._dense = MixedDense(dimension, use_bias=False, kernel_initializer=start, name="dense")
        self._use_content = use_content
        if use_content:
            self._content = MixedDense(dimension, use_bias=False, kernel_initializer="orthogonal", name="content")

    def call(self, hidden: Any, content: Any) -> Any:
        """Float32 [n, hidden] and [n, D] to L2-normalised [n, dimension]."""
        vector = self._dense(hidden)
        if self._use_content:
            vector += self._content(content)
        return tf.math.l2_normalize(vector, axis=1, epsilon=1e-12)

    def carry_over(self, other: "RelevanceQueryTower", rotation: Any) -> None:
        """Takes another tower's weights; ``rotation`` [D, E] leads from its own content vectors to the other's."""
        self._dense.set_weights(other._dense.get_weights())
        if self._use_content:
            self._content.kernel.assign(rotation @ other._content.kernel.numpy())

    def initialise_content(self, components: Any) -> None:
        """Sets the content projection: float32 [D, dimension], the teacher's principal axes."""
        self._content.kernel.assign(components)


class Temperature(tf.keras.layers.Layer):
    """A learned softmax temperature, kept in [1/100, 1]."""

    def __init__(self, initial: float, name: str) -> None:
        super().__init__(name=name)
        self._log_inverse = self.add_weight(
            name="log_inverse",
            shape=(),
            initializer=tf.keras.initializers.Constant(-float(tf.math.log(initial))),
            constraint=lambda value: tf.clip_by_value(value, 0.0, 4.605),
            # Each replica clips the same value for itself.
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )

    @property
    def value(self) -> Any:
        """The temperature, a float32 scalar."""
        return tf.exp(-self._log_inverse)

    def call(self, cosines: Any) -> Any:
        """Divides by the temperature: cosines to logits, or one factor of the product that makes them; any shape."""
        return cosines * tf.exp(self._log_inverse)


def principal_axes(content: NDArray[np.float32], dimension: int) -> NDArray[np.float32]:
    """Leading axes of the teacher's second moment, so that dot products are kept best: [D, ``dimension``]."""
    values, axes = np.linalg.eigh(content.T.astype(np.float64) @ content)
    leading = axes[:, np.argsort(-values, kind="stable")][:, :dimension]
    padding = max(0, dimension - leading.shape[1])
    return np.pad(leading, ((0, 0), (0, padding))).astype(np.float32)
