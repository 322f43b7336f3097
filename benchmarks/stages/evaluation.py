"""Exact retrieval of the evaluation against ``tfrs.metrics.FactorizedTopK``, and against the bare product."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks.stages.figures import Figure, in_turn
from preprocessing.backend import tf, tfrs
from trainer.evaluate import DIAL
from trainer.exact import nearest, retrieve_along_dial
from trainer.model import ItemVectors

_K = 100
_DIMENSION = 64
_CANDIDATE_BATCHES = (128, 4096)
"""128 is what the tutorials of TFRS take."""


def measure(*, quick: bool) -> list[Figure]:
    """Seconds for all triggers; the metric and the dial, which take long, are timed on a part of them and scaled up."""
    items, triggers = (20_000, 5_000) if quick else (100_000, 100_000)
    part, repeats = (512, 3) if quick else (2_048, 3)
    rng = np.random.default_rng(0)
    candidates = _unit(rng.normal(size=(items, _DIMENSION)))
    at = rng.permutation(items)[:triggers]
    target = (at + 1) % items
    queries = _unit(candidates[target] + 2.4 * _unit(rng.normal(size=(triggers, _DIMENSION))))
    nobody = np.full(triggers, -1)

    def ours() -> NDArray[np.int32]:
        return nearest(queries, candidates, k=_K, exclude=nobody)

    def product() -> None:
        with threadpool_limits(limits=None):
            for start in range(0, triggers, 256):
                for first in range(0, items, 4096):
                    _ = queries[start : start + 256] @ candidates[first : first + 4096].T

    metrics = {size: _metric(candidates, size) for size in _CANDIDATE_BATCHES}
    works = {"ours": ours, "product": product}
    works |= {f"peer {size}": _update(metrics[size], queries[:part], candidates, target[:part]) for size in metrics}
    for work in works.values():
        if work is not ours and work is not product:
            work()
    seconds = in_turn(works, repeats)
    found = ours()[:part]
    recall = {k: float((found[:, :k] == target[:part, np.newaxis]).any(axis=1).mean()) for k in (1, 10, _K)}
    figures = []
    for size, metric in metrics.items():
        theirs = {k: float(value) for k, value in zip((1, 10, _K), metric.result(), strict=True)}
        equal = all(abs(recall[k] - theirs[k]) < 1e-6 for k in recall)
        peer = seconds[f"peer {size}"] * triggers / part
        ratio = peer / seconds["ours"]
        figures.append(
            Figure(
                "evaluation", f"FactorizedTopK, candidates in batches of {size}", "s", seconds["ours"], peer, ratio,
                ">= 10 x, equal numbers" if size == _CANDIDATE_BATCHES[0] else "", ratio >= 10.0 and equal
                if size == _CANDIDATE_BATCHES[0] else None,
                f"{triggers:,} x {items:,}, K {_K}, the metric's time that of {part:,} triggers scaled up; "
                f"recall@10 of these {recall[10]:.4f} and {theirs[10]:.4f}",
            )
        )  # fmt: skip
    dial = in_turn({"dial": lambda: _along_dial(candidates, at[:part])}, 1)["dial"] * triggers / part
    return [
        *figures,
        Figure("evaluation", "bare product", "s", seconds["ours"], seconds["product"],
               seconds["ours"] / seconds["product"], note="what the machine allows"),
        Figure("evaluation along the dial", "one setting", "s", dial, seconds["ours"], dial / seconds["ours"],
               note=f"{len(DIAL)} settings of two heads in one pass, the time that of {part:,} triggers scaled up"),
    ]  # fmt: skip


def _along_dial(candidates: NDArray[np.float32], trigger: NDArray[np.int64]) -> None:
    vectors = ItemVectors(candidates, candidates, candidates[::-1].copy())
    retrieve_along_dial(vectors, trigger, k=_K, weights=DIAL)


def _metric(candidates: NDArray[np.float32], size: int) -> Any:
    named = tf.data.Dataset.from_tensor_slices((np.arange(len(candidates)), candidates)).batch(size)
    streaming = tfrs.layers.factorized_top_k.Streaming(k=_K).index_from_dataset(named)
    return tfrs.metrics.FactorizedTopK(candidates=streaming, ks=(1, 10, _K))


def _update(
    metric: Any, queries: NDArray[np.float32], candidates: NDArray[np.float32], target: NDArray[np.int64]
) -> Callable[[], None]:
    """Feeds the metric. Told by their ids, hits are exact; by scores alone it misses some at rank K by rounding."""

    def update() -> None:
        metric.reset_states()
        for start in range(0, len(queries), 512):
            truth = target[start : start + 512]
            metric.update_state(
                tf.constant(queries[start : start + 512]),
                tf.constant(candidates[truth]),
                true_candidate_ids=tf.constant(truth[:, np.newaxis]),
            )

    return update


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
