"""The two-head model written the way of TFRS's tutorials: what a user would begin with."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.backend import tf, tfrs
from preprocessing.read import ItemTable
from trainer.config import LossConfig, ModelConfig

_CATEGORIES = 4


class TutorialEncoder(tf.keras.Model):
    """Features of an item to one hidden vector: `StringLookup`, `TextVectorization`, embeddings, an MLP."""

    def __init__(self, items: ItemTable, sizes: ModelConfig) -> None:
        """Args are the items that the vocabularies are made of, and the sizes of our own encoder."""
        super().__init__()
        keras = tf.keras
        dimension = sizes.dimension
        names = sorted({name for each in items.categories for name in each})
        self.ids = keras.Sequential(
            [keras.layers.StringLookup(vocabulary=items.ids), keras.layers.Embedding(len(items.ids) + 1, dimension)]
        )
        text = keras.layers.TextVectorization(
            max_tokens=sizes.text_buckets, ngrams=2, output_sequence_length=sizes.text_tokens
        )
        text.adapt(tf.data.Dataset.from_tensor_slices(items.titles).batch(1024))
        self.text = keras.Sequential(
            [
                text,
                keras.layers.Embedding(sizes.text_buckets, dimension, mask_zero=True),
                keras.layers.GlobalAveragePooling1D(),
            ]
        )
        lookup = keras.layers.StringLookup(vocabulary=names, mask_token="")
        self.categories = keras.Sequential(
            [
                lookup,
                keras.layers.Embedding(len(names) + 2, dimension, mask_zero=True),
                keras.layers.GlobalAveragePooling1D(),
            ]
        )
        self.project = keras.layers.Dense(sizes.hidden)
        self.widen = keras.layers.Dense(sizes.hidden, activation="gelu")
        self.narrow = keras.layers.Dense(sizes.hidden)

    def call(self, features: dict[str, Any]) -> Any:
        """Features of n items, see `features_of`, to float32 [n, hidden]."""
        parts = [
            self.ids(features["id"]),
            self.text(features["title"]),
            self.categories(features["categories"]),
            features["content"],
        ]
        hidden = self.project(tf.concat(parts, axis=1))
        return hidden + self.narrow(self.widen(hidden))


class TutorialModel(tfrs.Model):
    """Both heads, a default `Retrieval` task each, and the teacher's cosines of the batch as targets."""

    def __init__(self, items: ItemTable, sizes: ModelConfig, loss: LossConfig) -> None:
        """Args are the items, sizes, and the weights and temperature of the joint loss."""
        super().__init__()
        self.encoder = TutorialEncoder(items, sizes)
        self.query, self.candidate, self.relevance = (
            tf.keras.layers.Dense(sizes.dimension, use_bias=False) for _ in range(3)
        )
        self.engagement_task, self.relevance_task = tfrs.tasks.Retrieval(), tfrs.tasks.Retrieval()
        self._loss = loss

    def compute_loss(self, inputs: dict[str, dict[str, Any]], training: bool = False) -> Any:
        """The sum of the losses over a batch of pairs."""
        trigger, target = self.encoder(inputs["trigger"]), self.encoder(inputs["target"])
        engagement = self.engagement_task(
            _unit(self.query(trigger)) / 0.07, _unit(self.candidate(target)), compute_metrics=False
        )
        left, right = _unit(self.relevance(trigger)), _unit(self.relevance(target))
        relevance = self.relevance_task(left / 0.07, right, compute_metrics=False)
        cosine = tf.matmul(inputs["trigger"]["content"], inputs["target"]["content"], transpose_b=True)
        temperature = self._loss.teacher_temperature
        teacher = tf.nn.softmax(cosine / temperature)
        student = tf.nn.log_softmax(tf.matmul(left, right, transpose_b=True) / temperature)
        distilled = -tf.reduce_sum(teacher * student)
        return engagement + self._loss.relevance * (relevance + distilled)


def features_of(items: ItemTable) -> dict[str, NDArray[Any]]:
    """Columns of all items: ``id``, ``title``, ``categories`` (padded by empty texts) and ``content``."""
    categories = np.full((len(items.ids), _CATEGORIES), "", object)
    for row, names in enumerate(items.categories):
        categories[row, : len(names[:_CATEGORIES])] = names[:_CATEGORIES]
    return {
        "id": np.array(items.ids, object),
        "title": np.array(items.titles, object),
        "categories": categories,
        "content": items.content_vectors,
    }


def examples(items: ItemTable, trigger: NDArray[np.int64], target: NDArray[np.int64], batch: int) -> Any:
    """A `tf.data.Dataset` of batches of pairs, each with the features of both its items."""
    columns = features_of(items)

    def side(index: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        return {name: column[index] for name, column in columns.items()}

    data = tf.data.Dataset.from_tensor_slices({"trigger": side(trigger), "target": side(target)})
    return data.batch(batch, drop_remainder=True).repeat().prefetch(2)


def _unit(vectors: Any) -> Any:
    return tf.math.l2_normalize(vectors, axis=1)
