"""Queries of items that no model has seen engaged with: what items of such content lead to.

An encoder that knows every item of the training knows each by its content too, and what it makes of content that it has
never met is often worse than what is popular. So a ridge regression maps content vectors to the vectors of trained
triggers, as Gantner et al., "Learning Attribute-to-Feature Mappings for Cold-Start Recommendations" (ICDM 2010), map
attributes to the factors of a factorisation. Where content says nothing of engagement, the map says what is engaged
with anyway.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from preprocessing.backend import tf

FIT_ITEMS: Final = 10_000
"""The regression sees at most this many items, evenly spread over those that are known."""
_PENALTIES: Final = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""Of them leave-one-out validation chooses."""


class ColdStartQuery(tf.keras.layers.Layer):
    """Trigger vectors of items without an identity: the map's answer and the encoder's, at a fixed share."""

    def __init__(self, content_dimension: int, dimension: int, share: float) -> None:
        """Leaves the encoder's answer as it is until `assign`.

        Args:
          content_dimension: D.
          dimension: d, of the vectors.
          share: of the map's answer, in [0, 1].
        """
        super().__init__(name="cold_start_query", trainable=False)
        self._share = share
        self._kernel = self.add_weight("kernel", (content_dimension, dimension), initializer="zeros", trainable=False)
        self._bias = self.add_weight("bias", (dimension,), initializer="zeros", trainable=False)

    def assign(self, kernel: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        """Takes the result of `fit_cold_start`."""
        self._kernel.assign(kernel)
        self._bias.assign(bias)

    def call(self, encoded: Any, content: Any) -> Any:
        """What to ask with, L2-normalised.

        Args:
          encoded: float32 [n, d], L2-normalised; trigger vectors as the encoder has them.
          content: float32 [n, D], content vectors of the same items.

        Returns:
          float32 [n, d].
        """
        mapped = tf.math.l2_normalize(tf.matmul(content, self._kernel) + self._bias, axis=1, epsilon=1e-12)
        return tf.math.l2_normalize(self._share * mapped + (1.0 - self._share) * encoded, axis=1, epsilon=1e-12)


def fit_cold_start(
    content: NDArray[np.float32], triggers: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fits the map; equal inputs give equal maps.

    Args:
      content: float32 [n, D], of items that are known; those with a zero row teach nothing.
      triggers: float32 [n, d], their trigger vectors; those of weights that have diverged teach nothing.

    Returns:
      Kernel float32 [D, d] and bias float32 [d]; zeros where fewer than two items teach anything.
    """
    from sklearn.linear_model import RidgeCV

    taught = content.any(axis=1) & np.isfinite(triggers).all(axis=1)
    if taught.sum() < 2:
        return np.zeros((content.shape[1], triggers.shape[1]), np.float32), np.zeros(triggers.shape[1], np.float32)
    with threadpool_limits(1):  # one order of summing, whatever the machine's load
        fitted = RidgeCV(alphas=_PENALTIES).fit(content[taught], triggers[taught])
    return np.ascontiguousarray(fitted.coef_.T, np.float32), np.asarray(fitted.intercept_, np.float32)
