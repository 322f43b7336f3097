"""The item table as tensors, from which a model gathers what its encoder sees."""

from typing import Any

from preprocessing.backend import tf
from trainer.catalogue import Catalogue
from trainer.encoder import ItemInputs


class CatalogueTensors:
    """The catalogue's columns as constants, kept out of Keras' tracking and so out of checkpoints.

    Attributes:
      content: float32 [N, D]; a zero row is an absent vector.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._tokens = tf.constant(catalogue.tokens)
        self._grams = tf.RaggedTensor.from_row_splits(
            tf.constant(catalogue.grams.values), catalogue.grams.row_splits, validate=False
        )
        self._categories = tf.constant(catalogue.categories)
        self.content = tf.constant(catalogue.content)

    def inputs_of(self, index: Any, identity: Any) -> ItemInputs:
        """Encoder inputs of n items.

        Args:
          index: int32 [n], their rows.
          identity: int32 [n], the rows of their id embeddings.
        """
        return ItemInputs(
            index=identity,
            tokens=tf.gather(self._tokens, index),
            grams=tf.cast(tf.gather(self._grams, index), tf.int32),
            categories=tf.gather(self._categories, index),
            content=tf.gather(self.content, index),
        )
