"""A small SavedModel with every signature of ``serving.signatures``, in plain TensorFlow.

Twenty items on a line: item ``i`` has score ``1 - |i - trigger| / 100``; an unknown trigger gets the first items as
``popular``. The marker of a version is its ``engagement_score``.
"""

import os
import shutil
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

from serving.signatures import SIGNATURES, Signature

ITEMS = [f"item{i}" for i in range(20)]
DEFAULT_K = 5


class ToyModel(tf.Module):
    """Answers by arithmetic on the item's number."""

    def __init__(self, marker: float, busy: int = 0) -> None:
        """``busy``: rounds of matrix products per request, to make it slow."""
        super().__init__()
        self._table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(tf.constant(ITEMS), tf.range(len(ITEMS), dtype=tf.int64)), -1
        )
        self._ids = tf.constant(ITEMS)
        self._titles = tf.constant([f"Title {i} é" for i in range(len(ITEMS))])
        self._marker = tf.Variable(marker)
        self._noise = tf.Variable(tf.random.uniform((300, 300), seed=1) / 300)
        self._busy = busy

    def _work(self) -> tf.Tensor:
        matrix = self._noise
        for _ in tf.range(self._busy):
            matrix = tf.matmul(matrix, self._noise)
        return tf.reduce_sum(matrix) * 0.0

    def _answer(self, trigger: tf.Tensor, k: tf.Tensor, exclude: tf.Tensor) -> dict[str, tf.Tensor]:
        k = tf.minimum(tf.where(k < 0, DEFAULT_K, k), len(ITEMS) - 1)
        numbers = tf.range(len(ITEMS), dtype=tf.int64)
        score = 1.0 - tf.abs(tf.cast(trigger[:, None] - numbers, tf.float32)) / 100.0
        banned = tf.reduce_any(self._table.lookup(exclude)[:, :, None] == numbers, axis=1)
        banned |= trigger[:, None] == numbers
        score, index = tf.math.top_k(tf.where(banned, -1.0, score), tf.reduce_max(k))
        count = tf.minimum(k, tf.reduce_sum(tf.cast(~banned, tf.int32), axis=1))
        real = tf.range(tf.reduce_max(k))[None, :] < count[:, None]
        known = (trigger >= 0)[:, None]
        return {
            "item_id": tf.where(real, tf.gather(self._ids, index), ""),
            "score": tf.where(real, score + self._work(), 0.0),
            "engagement_score": tf.where(real, self._marker, 0.0),
            "relevance_score": tf.where(real, 0.2, 0.0),
            "source": tf.where(real, tf.where(known, "both", "popular"), ""),
            "count": count,
        }

    def serving_default(self, item_id):
        return self._answer(
            self._table.lookup(item_id), -tf.ones_like(item_id, tf.int32), tf.fill([tf.size(item_id), 1], "")
        )

    def retrieve(self, item_id, relevance_weight, k, exclude_id):
        tf.debugging.assert_less(tf.shape(exclude_id)[1], 9, message="too many exclusions")
        del relevance_weight
        return self._answer(tf.reduce_max(self._table.lookup(item_id), axis=1), k, exclude_id)

    def retrieve_filtered(self, item_id, relevance_weight, k, exclude_id, allow_category, deny_category):
        known = tf.constant(["drama", "war"])
        asked = tf.reduce_any(allow_category != "", axis=1)
        allowed = tf.reduce_any(allow_category[:, :, None] == known, axis=[1, 2]) | ~asked
        denied = tf.reduce_any(deny_category[:, :, None] == known, axis=[1, 2])
        return self.retrieve(item_id, relevance_weight, tf.where(allowed & ~denied, k, 0), exclude_id)

    def retrieve_by_content(self, title, description, categories, content_vector, relevance_weight, k):
        del description, categories, content_vector, relevance_weight
        number = tf.strings.to_number(tf.strings.regex_replace(title, "[^0-9]", ""), tf.int64)
        return self._answer(number, k, tf.fill([tf.size(title), 1], ""))

    def embed(self, item_id):
        number = tf.cast(self._table.lookup(item_id), tf.float32)[:, None]
        return {"engagement_trigger": number, "engagement_candidate": -number, "relevance": number * 0.1}

    def describe(self, item_id):
        number = self._table.lookup(item_id)
        safe = tf.maximum(number, 0)
        return {
            "title": tf.where(number >= 0, tf.gather(self._titles, safe), ""),
            "categories": tf.where(number >= 0, "drama|war", ""),
        }


def _concrete(model: ToyModel, signature: Signature) -> tf.types.experimental.ConcreteFunction:
    specs = [tf.TensorSpec(each.shape, each.dtype, name=each.name) for each in signature.inputs]
    return tf.function(getattr(model, signature.name), input_signature=specs).get_concrete_function()


def export(path: Path, marker: float = 0.5, *, busy: int = 0, without: tuple[str, ...] = ()) -> Path:
    """Writes the model to ``path``; ``without`` leaves signatures out."""
    model = ToyModel(marker, busy)
    signatures = {name: _concrete(model, each) for name, each in SIGNATURES.items() if name not in without}
    staging = path.with_name(f"staging-{path.name}")
    tf.saved_model.save(model, str(staging), signatures)
    os.rename(staging, path)
    return path


def copy(source: Path, target: Path) -> Path:
    """An atomic push of the same model as another version."""
    staging = target.with_name(f"staging-{target.name}")
    shutil.copytree(source, staging)
    os.rename(staging, target)
    return target


def predict_request(name: str = "mtmh", signature: str = "", **inputs: object) -> predict_pb2.PredictRequest:
    """A request of TensorFlow Serving's own kind."""
    request = predict_pb2.PredictRequest(model_spec=model_pb2.ModelSpec(name=name, signature_name=signature))
    for key, value in inputs.items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return request


def write_warmup(version: Path, requests: list[predict_pb2.PredictRequest]) -> None:
    """Writes ``assets.extra/tf_serving_warmup_requests``."""
    file = version / "assets.extra" / "tf_serving_warmup_requests"
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for request in requests:
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())


def retrieve_request(*ids: str, k: int = 3, exclude: tuple[str, ...] = ("",), name: str = "mtmh"):
    """A request of signature ``retrieve`` with one row."""
    return predict_request(
        name,
        "retrieve",
        item_id=[["", *ids]],
        relevance_weight=np.array([np.nan], np.float32),
        k=np.array([k], np.int32),
        exclude_id=[list(exclude)],
    )
