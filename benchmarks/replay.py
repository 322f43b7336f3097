"""Latency of a SavedModel in a process of its own, as TF Serving meets it: loaded, warmed up, asked.

``python -m benchmarks.replay DIRECTORY QUESTIONS`` prints one JSON document.
"""

import argparse
import json
import resource
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

Inputs = dict[str, Any]


def main() -> None:
    """Loads, replays the warm-up requests, and times the questions."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay", description=main.__doc__)
    parser.add_argument("directory", type=Path, help="of the SavedModel")
    parser.add_argument("questions", type=Path, help='JSON: lists of item ids, "items", and of categories, "filters"')
    arguments = parser.parse_args()
    directory, questions = arguments.directory, json.loads(arguments.questions.read_text(encoding="utf-8"))
    import scann  # noqa: F401  registers its ops

    from preprocessing.backend import tf

    started = time.perf_counter()
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(directory))
        loaded = time.perf_counter()
        calls = {name: _callable(session, graph.signature_def[name]) for name in graph.signature_def if name[0] != "_"}
        for signature, inputs in _warm_up(tf, directory):
            if signature in calls:
                calls[signature](inputs)
        warm = time.perf_counter()
        figures: dict[str, Any] = {"load_seconds": loaded - started, "warm_up_seconds": warm - loaded}
        plain = [_inputs(item_id) for item_id in questions["items"]]
        figures["retrieve"] = _times(calls["retrieve"], plain)
        for allow in questions["filters"]:
            filters = {"allow_category": _text([[allow]]), "deny_category": _text([[""]])}
            figures[allow] = _times(calls["retrieve_filtered"], [each | filters for each in plain])
    figures["rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(figures))


def _callable(session: Any, definition: Any) -> Any:
    names = sorted(definition.inputs)
    fetches = {name: info.name for name, info in definition.outputs.items()}
    call = session.make_callable(fetches, [definition.inputs[name].name for name in names])
    return lambda inputs: call(*(inputs[name] for name in names))


def _warm_up(tf: Any, directory: Path) -> list[tuple[str, Inputs]]:
    from tensorflow_serving.apis import prediction_log_pb2

    from serving.warmup import WARMUP_FILE

    found = []
    for record in tf.compat.v1.io.tf_record_iterator(str(directory / WARMUP_FILE)):
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        found.append(
            (
                request.model_spec.signature_name,
                {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()},
            )
        )
    return found


def _inputs(item_id: str) -> Inputs:
    return {
        "item_id": _text([["", item_id]]),
        "relevance_weight": np.array([np.nan], np.float32),
        "k": np.array([50], np.int32),
        "exclude_id": _text([[""]]),
    }


def _text(rows: list[list[str]]) -> Any:
    return np.array(rows, dtype=object)


def _times(call: Any, questions: list[Inputs]) -> dict[str, float]:
    """Milliseconds: of the first call, and percentiles of all."""
    seconds = []
    for inputs in questions:
        started = time.perf_counter()
        call(inputs)
        seconds.append(1000.0 * (time.perf_counter() - started))
    return {
        "first": seconds[0],
        "p50": statistics.median(seconds),
        "p99": float(np.quantile(seconds, 0.99)),
    }


if __name__ == "__main__":
    main()
