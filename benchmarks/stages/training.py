"""Training against the TFRS tutorial's way, the bare matrix products, and its own step fed from memory."""

import dataclasses
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.generate import World, generate
from benchmarks.stages.figures import Figure, in_turn
from benchmarks.stages.tutorial import TutorialModel, examples
from preprocessing.backend import tf
from preprocessing.pipeline import preprocess
from preprocessing.read import read_items, read_pairs
from tfx_pipeline.config import load_config
from trainer import train
from trainer.config import EVENTS, TRIGGERS, TrainingConfig
from trainer.data import untuned
from trainer.optimizer import FusedAdam

_STEPS_PER_CALL = 8
_KINDS = {TRIGGERS: "distinct triggers, the default", EVENTS: "trigger events"}


def measure(*, quick: bool) -> list[Figure]:
    """Pairs a second of ours and theirs, and seconds of a step."""
    interactions, items, batch, calls = (60_000, 10_000, 1024, 2) if quick else (300_000, 20_000, 1024, 3)
    repeats = 3 if quick else 5
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        generate(World(interactions, items, interactions // 40), directory / "in")
        config = load_config(None, [])
        files = ([str(directory / "in" / f"{name}-*.csv")] for name in ("interactions", "items"))
        preprocess(config.preprocessing, *files, str(directory / "examples"))
        ours = {kind: Ours(directory / "examples", config.training, batch, kind) for kind in _KINDS}
        fit_theirs = _theirs(directory / "examples", config.training, batch)
        steps = calls * _STEPS_PER_CALL
        works: dict[str, Callable[[], object]] = {"theirs": lambda: fit_theirs(steps)}
        for kind, each in ours.items():
            works[kind] = functools.partial(each.fit, each.batches, steps)
            works[f"{kind} from memory"] = functools.partial(each.fit, each.from_memory, steps)
            works[f"{kind} products"] = functools.partial(_repeat, each.products, steps)
        for work in works.values():
            work()
        seconds = {name: value / steps for name, value in in_turn(works, repeats).items()}
    other = batch / seconds["theirs"]
    figures = []
    for kind, each in ours.items():
        rate = each.pairs_a_step / seconds[kind]
        over = seconds[f"{kind} from memory"] / seconds[f"{kind} products"]
        fed = seconds[f"{kind} from memory"] / seconds[kind]
        sizes = f"batch {batch:,}, {items:,} items; {each.pairs_a_step:,.0f} pairs a step of ours"
        name = _KINDS[kind]
        figures += [
            Figure(f"training, {name}", "two-head model the TFRS tutorial's way", "pairs/s", rate, other, rate / other,
                   ">= 3 x", rate / other >= 3.0, sizes),
            Figure(f"training step, {name}", "its bare matrix products", "s", seconds[f"{kind} from memory"],
                   seconds[f"{kind} products"], over, "<= 2 x", over <= 2.0, each.shapes),
            Figure(f"input pipeline, {name}", "the step fed from memory", "s", seconds[kind],
                   seconds[f"{kind} from memory"], fed, ">= 0.9 of its rate", fed >= 0.9),
        ]  # fmt: skip
    return figures


class Ours:
    """Our model with its batches."""

    def __init__(self, directory: Path, config: TrainingConfig, batch: int, kind: str) -> None:
        """Args are the examples, the options, the triggers of a step and where batches come from."""
        trainer = dataclasses.replace(config.trainer, batches=kind, batch_size=batch)
        self._config = dataclasses.replace(config, trainer=trainer)
        data = train._read(directory, self._config)
        self.model, self._batches = train._build(data, ["pairs"], self._config)
        self.model.compile(optimizer=FusedAdam(1e-3), steps_per_execution=_STEPS_PER_CALL)
        held = [each for each in self._batches.epoch(0).take(2 * _STEPS_PER_CALL) if len(each["trigger"]) == batch]
        held = held or list(self._batches.epoch(0).take(_STEPS_PER_CALL))
        self.pairs_a_step = float(np.mean([np.count_nonzero(each["weight"]) for each in held]))
        spec = {name: tf.TensorSpec([None] * value.ndim, value.dtype) for name, value in held[0].items()}
        memory = tf.data.Dataset.from_generator(lambda: iter(held), output_signature=spec).cache().repeat().prefetch(2)
        self.from_memory = untuned(memory)
        # Epoch after epoch, as the loop would read them.
        self.batches = self._batches.epoch(1).repeat()
        self._set_products(held[0])

    def fit(self, data: Any, steps: int) -> None:
        """So many steps."""
        self.model.fit(data, epochs=1, steps_per_epoch=steps, verbose=0)

    def _set_products(self, batch: dict[str, Any]) -> None:
        """All products of matrices of one step, forward and, twice as much, backward, on matrices of their shapes."""
        model, loss = self.model, self._config.loss
        step = tf.constant(0, tf.int64)
        candidates = int(tf.size(model.sampler.for_engagement(batch["target"], batch["weight"], step)))
        unseen = model.sampler.unseen(step)
        rows = min(loss.relevance_rows, len(batch["trigger"])) + len(unseen)
        compared = int(tf.size(model.sampler.for_relevance(unseen, step)))
        number = len(batch["trigger"])
        distinct = len(
            np.unique(
                np.concatenate(
                    [
                        model.sampler.for_engagement(batch["target"], batch["weight"], step),
                        batch["trigger"],
                        unseen,
                        model.sampler.for_relevance(unseen, step),
                    ]
                )
            )
        )
        d, hidden = self._config.model.dimension, self._config.model.hidden
        content = int(model.relevance_query._content.kernel.shape[0])
        wide = 3 * d + content
        shapes = [
            (distinct, wide, hidden), (distinct, hidden, hidden), (distinct, hidden, hidden),
            (distinct, hidden, d), (number, hidden, d), (rows, hidden, d), (distinct, hidden, d),
            (number, d, candidates), (rows, d, compared), (rows, d, compared),
        ]  # fmt: skip
        rng = np.random.default_rng(0)

        def drawn(m: int, k: int, n: int) -> list[Any]:
            return [tf.constant(rng.normal(size=shape), tf.float32) for shape in ((m, k), (k, n), (m, n))]

        pairs = [drawn(*shape) for shape in shapes]
        # Nothing trains the content vectors: a product of theirs has no gradient on that side.
        of_content, weights, against = drawn(distinct, content, d)
        teacher = [tf.constant(rng.normal(size=(m, content)), tf.float32) for m in (rows, compared)]
        self.shapes = f"{distinct:,} items encoded, logits {number:,} x {candidates:,}"

        @tf.function(autograph=False)
        def products() -> Any:
            results = [
                tf.matmul(*teacher, transpose_b=True),
                tf.matmul(of_content, weights),
                tf.matmul(of_content, against, transpose_a=True),
            ]
            for left, right, gradient in pairs:
                results += [
                    tf.matmul(left, right),
                    tf.matmul(gradient, right, transpose_b=True),
                    tf.matmul(left, gradient, transpose_a=True),
                ]
            return [tf.reshape(result, [-1])[0] for result in results]

        self.products = products


def _theirs(directory: Path, config: TrainingConfig, batch: int) -> Callable[[int], object]:
    items = read_items(str(directory))
    blocks = list(read_pairs(str(directory)))
    trigger = np.concatenate([np.repeat(block.trigger, block.targets_of_trigger) for block in blocks])
    target = np.concatenate([block.target for block in blocks])
    chosen = np.random.default_rng(0).permutation(len(target))[: 64 * batch]
    model = TutorialModel(items, config.model, config.loss)
    model.compile(optimizer=tf.keras.optimizers.Adam(1e-3))
    data = examples(items, trigger[chosen], target[chosen], batch)
    return lambda steps: model.fit(data, epochs=1, steps_per_epoch=steps, verbose=0)


def _repeat(work: Callable[[], object], times: int) -> None:
    for _ in range(times):
        work()
