"""Records the requests that a server replays before it makes a version available."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from preprocessing.backend import tf
from serving import signatures

WARMUP_FILE: Final = "assets.extra/tf_serving_warmup_requests"


def write_warmup(
    directory: Path,
    model_name: str,
    item_ids: Sequence[str],
    content_dimension: int,
    categories: Sequence[Sequence[str]] = (),
    names: Collection[str] = tuple(signatures.SIGNATURES),
) -> int:
    """Writes ``assets.extra/tf_serving_warmup_requests`` of an export.

    Filters allow and deny a category of the trigger's in turn, so that either way to answer is warm.

    Args:
      directory: the version directory, or what will become it.
      model_name: name that the server knows the model by.
      item_ids: triggers to ask for, one request of each signature for each.
      content_dimension: D.
      categories: of the triggers, or none.
      names: of the signatures that are asked; those that the export has.

    Returns:
      Number of requests.
    """
    path = directory / WARMUP_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    logs = []
    for place, item_id in enumerate(item_ids):
        category = next(iter(categories[place]), "") if categories else ""
        filters = (category, "") if place % 2 == 0 else ("", category)
        requests = _requests(item_id, filters, content_dimension)
        logs += [_log(model_name, name, inputs) for name, inputs in requests if name in names]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for log in logs:
            writer.write(log.SerializeToString())
    return len(logs)


def _requests(item_id: str, filters: tuple[str, str], content_dimension: int) -> list[tuple[str, dict[str, Any]]]:
    weight, k = np.full(1, np.nan, np.float32), np.full(1, -1, np.int32)
    text = np.array(["warm-up"], dtype=object)
    ids = np.array([item_id], dtype=object)
    retrieve = {
        "item_id": ids[np.newaxis],
        "relevance_weight": weight,
        "k": k,
        "exclude_id": np.array([[""]], dtype=object),
    }
    allow, deny = (np.array([[name]], dtype=object) for name in filters)
    return [
        (signatures.SERVING_DEFAULT, {"item_id": ids}),
        (signatures.RETRIEVE, retrieve),
        (signatures.RETRIEVE_FILTERED, {**retrieve, "allow_category": allow, "deny_category": deny}),
        (
            signatures.RETRIEVE_BY_CONTENT,
            {
                "title": text,
                "description": text,
                "categories": text,
                "content_vector": np.zeros((1, content_dimension), np.float32),
                "relevance_weight": weight,
                "k": k,
            },
        ),
        (signatures.EMBED, {"item_id": ids}),
        (signatures.DESCRIBE, {"item_id": ids}),
    ]


def _log(model_name: str, signature: str, inputs: dict[str, Any]) -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model_name
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
