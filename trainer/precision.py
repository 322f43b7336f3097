"""Products of matrices in bfloat16 where a training asks for it; weights, sums and results stay float32."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any, Final

from preprocessing.backend import tf

_halved: Final[contextvars.ContextVar[bool]] = contextvars.ContextVar("products_in_bfloat16", default=False)


@contextlib.contextmanager
def products_in_bfloat16(wanted: bool) -> Iterator[None]:
    """While it lasts, if wanted, every `MixedDense` that is called multiplies in bfloat16.

    bfloat16 has the range of float32, so that no loss has to be scaled. What is asked of a trained model is outside of
    it: the same weights give the same vectors whatever they were trained with.
    """
    token = _halved.set(wanted)
    try:
        yield
    finally:
        _halved.reset(token)


class MixedDense(tf.keras.layers.Dense):
    """A dense layer with float32 weights and results; see `products_in_bfloat16` for the product between them."""

    def call(self, inputs: Any) -> Any:
        """Float32 [n, m] to float32 [n, units]."""
        if not _halved.get():
            return super().call(inputs)
        product = tf.matmul(tf.cast(inputs, tf.bfloat16), tf.cast(self.kernel, tf.bfloat16))
        result = tf.cast(product, tf.float32)
        if self.use_bias:
            result = tf.nn.bias_add(result, self.bias)
        return result if self.activation is None else self.activation(result)
