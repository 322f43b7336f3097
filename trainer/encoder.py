"""The shared item encoder: id, text, categories and content vector to one hidden representation."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.backend import tf
from preprocessing.config import FeaturesConfig
from trainer.config import ModelConfig
from trainer.precision import MixedDense
from trainer.stand_in import ContentStandIn

_STRANGE = 0.1
"""Scale of the random id embedding of an item of which no co-engagement is known."""


@dataclasses.dataclass(frozen=True)
class EncoderSizes:
    """Sizes that the data decide.

    Attributes:
      num_items: N, rows of the id table besides the one for unknown items.
      num_categories: category ids, padding and unknown included.
      content_dimension: D.
    """

    num_items: int
    num_categories: int
    content_dimension: int


@dataclasses.dataclass(frozen=True)
class ItemInputs:
    """Encoder inputs of n items.

    Attributes:
      index: int32 [n]; ``num_items`` stands for an item without an identity of its own.
      tokens: int32 [n, T], 0 pads.
      grams: ragged int32 [n, (grams)], see `preprocessing.transform.text_grams`.
      categories: int32 [n, C], 0 pads.
      content: float32 [n, D]; a zero row is an absent vector.
    """

    index: Any
    tokens: Any
    grams: Any
    categories: Any
    content: Any


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows of the same things in two tables: ``mine`` and ``theirs``, int64 [n] each."""

    mine: NDArray[np.int64]
    theirs: NDArray[np.int64]

    def put(self, table: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
        """The first table with these rows of the other."""
        table = table.copy()
        table[self.mine] = other[self.theirs]
        return table


@dataclasses.dataclass(frozen=True)
class Carried:
    """What one catalogue's model takes over from another's, see `trainer.warm_start`.

    Attributes:
      items, categories: those of both.
      rotation: float32 [D, E], from this catalogue's content vectors to the other's.
    """

    items: Rows
    categories: Rows
    rotation: NDArray[np.float32]


class MeanEmbedding(tf.keras.layers.Layer):
    """Mean embedding of the non-zero ids of each row: int32 [n, T] to float32 [n, dimension]; zero for an empty row.

    A product with a sparse matrix, whose gradient is one dense table: a gather of every token and the sorting of its
    gradient took most of a training step.
    """

    def __init__(self, size: int, dimension: int, name: str) -> None:
        """Args are the number of ids, 0 included, and the width of an embedding."""
        super().__init__(name=name)
        self._size = size
        self._table = self.add_weight(
            name="embeddings",
            shape=(size, dimension),
            initializer=tf.keras.initializers.RandomNormal(stddev=dimension**-0.5),
        )

    def carry_over(self, other: "MeanEmbedding", rows: Rows) -> None:
        """Takes rows of another table."""
        self._table.assign(rows.put(self._table.numpy(), other._table.numpy()))

    def call(self, ids: Any) -> Any:
        """Looks up int32 [n, T], 0 pads."""
        present = tf.where(ids > 0)
        share = tf.math.reciprocal_no_nan(tf.reduce_sum(tf.cast(ids > 0, tf.float32), axis=1))
        bags = tf.SparseTensor(
            indices=tf.stack([present[:, 0], tf.cast(tf.gather_nd(ids, present), tf.int64)], axis=1),
            values=tf.gather(share, present[:, 0]),
            dense_shape=tf.stack([tf.shape(ids, tf.int64)[0], self._size]),
        )
        return tf.sparse.sparse_dense_matmul(bags, self._table)


class ItemEncoder(tf.keras.layers.Layer):
    """Feature groups, concatenated, through a residual MLP: `ItemInputs` of n items to float32 [n, hidden].

    Each feature group can be switched off.
    """

    def __init__(self, sizes: EncoderSizes, features: FeaturesConfig, model: ModelConfig) -> None:
        super().__init__(name="item_encoder")
        self._sizes = sizes
        self._features = features
        self._dimension = dimension = model.dimension
        if features.ids:
            self._ids = tf.keras.layers.Embedding(
                sizes.num_items + 1,
                dimension,
                embeddings_initializer=tf.keras.initializers.RandomNormal(stddev=dimension**-0.5),
                name="ids",
            )
        if features.text:
            self._text = MeanEmbedding(model.text_buckets + 1, dimension, name="text")
        if features.categories:
            self._categories = MeanEmbedding(sizes.num_categories, dimension, name="categories")
        if features.content_vector and features.text:
            self.stand_in = ContentStandIn(sizes.content_dimension)
        self._project = MixedDense(model.hidden, name="project")
        self._widen = MixedDense(model.hidden, activation="gelu", name="widen")
        self._narrow = MixedDense(model.hidden, name="narrow")

    @property
    def has_ids(self) -> bool:
        """Whether items have an embedding of their identity."""
        return self._features.ids

    def start_ids_from(self, vectors: Any) -> None:
        """Sets the id embeddings, once built: float32 [N, dimension]; a zero row leaves the random one, made small."""
        table = self._ids.embeddings.numpy()
        given = vectors.any(axis=1)
        table[:-1] = np.where(given[:, np.newaxis], vectors, _STRANGE * table[:-1])
        self._ids.embeddings.assign(table)

    def carry_over(self, other: "ItemEncoder", carried: Carried) -> None:
        """Takes the weights of an encoder of the same features and widths; what it doesn't know stays as it is."""
        width = 0
        if self._features.ids:
            stranger = np.array([-1])
            rows = Rows(*(np.append(part, stranger) for part in (carried.items.mine, carried.items.theirs)))
            self._ids.embeddings.assign(rows.put(self._ids.embeddings.numpy(), other._ids.embeddings.numpy()))
            width += self._dimension
        if self._features.text:
            self._text.set_weights(other._text.get_weights())
            width += self._dimension
        if self._features.categories:
            self._categories.carry_over(other._categories, carried.categories)
            width += self._dimension
        kernel, bias = other._project.get_weights()
        content = carried.rotation @ kernel[width:] if self._features.content_vector else kernel[width:]
        self._project.set_weights([np.concatenate([kernel[:width], content]), bias])
        self._widen.set_weights(other._widen.get_weights())
        self._narrow.set_weights(other._narrow.get_weights())

    def with_content(self, items: ItemInputs, keep: Any | None = None) -> ItemInputs:
        """The items as the heads and `call` are to see them: a stand-in where the content vector is absent.

        Args:
          items: n items.
          keep: float32 [n, 1] of 0 and 1, for training; 0 hides an item's content vector.
        """
        content = items.content if keep is None else keep * items.content
        if self._features.content_vector and self._features.text:
            content = self.stand_in.fill(content, items.grams)
        return dataclasses.replace(items, content=content)

    def call(self, items: ItemInputs, keep_id: Any | None = None, id_scale: Any | None = None) -> Any:
        """Encodes n items to float32 [n, hidden].

        Args:
          items: what is known of them.
          keep_id: float32 [n, 1] of 0 and 1, for training; 0 hides an item's identity, the OOV row takes its place.
          id_scale: float32 [n, dimension], for training; what each element of an identity is multiplied by.
        """
        groups = []
        if self._features.ids:
            identity = self._ids(items.index)
            if keep_id is not None:
                stranger = self._ids(tf.fill([1], self._sizes.num_items))
                identity = keep_id * identity + (1.0 - keep_id) * stranger
            groups.append(identity if id_scale is None else id_scale * identity)
        if self._features.text:
            groups.append(self._text(items.tokens))
        if self._features.categories:
            groups.append(self._categories(items.categories))
        if self._features.content_vector:
            groups.append(items.content)
        hidden = self._project(tf.concat(groups, axis=1))
        return hidden + self._narrow(self._widen(hidden))
