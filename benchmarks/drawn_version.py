"""A SavedModel of drawn vectors, see `benchmarks.head_vectors`, as a server loads it.

``python -m benchmarks.drawn_version --items 100000 --base DIR/mtmh [--flavour stock]`` writes ``DIR/mtmh/1``.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.head_vectors import Catalogue, draw
from preprocessing.backend import tf
from serving.config import IndexConfig, ServingConfig
from serving.flavours import SCANN, STOCK
from serving.index import IndexPlan, plan_index
from serving.index_gate import tune_index
from serving.retriever import RetrievalDefaults, Retriever
from serving.signatures import EMBED, RETRIEVE, RETRIEVE_FILTERED, SIGNATURES
from serving.warmup import write_warmup

FILTERS = ("half", "twentieth", "rare")
"""Categories of `benchmarks.head_vectors`, the widest first."""
WARM_UP = 16
_TUNED_WITH = 400


def item_ids(number: int) -> list[str]:
    """What drawn items are called."""
    return [f"item-{row:08d}" for row in range(number)]


def build(catalogue: Catalogue, plan: IndexPlan, scratch: Path) -> Retriever:
    """Builds the index of all items; the file of their ids goes to ``scratch``."""
    number = len(catalogue.categories)
    return Retriever(
        item_ids(number),
        catalogue.vectors,
        np.ones(number, np.int64),
        plan,
        RetrievalDefaults(k=50, relevance_weight=0.3, max_k=1000, trigger_decay=0.9),
        scratch / "item_ids.txt",
        catalogue.categories,
    )


def tune(retriever: Retriever, catalogue: Catalogue, plan: IndexPlan, config: IndexConfig) -> IndexPlan:
    """Widens a tree's search as the exporter does."""
    if plan.kind == "exact":
        return plan
    number = len(catalogue.categories)
    triggers = np.random.default_rng(1).choice(number, min(_TUNED_WITH, number), replace=False)
    return tune_index(retriever, catalogue.vectors, triggers, plan, ServingConfig(index=config))[0]


def save(retriever: Retriever, version: Path, warm_up: Sequence[str]) -> None:
    """Writes the signatures that are measured, and warm-up requests for some items."""
    module = tf.Module()
    module.retriever = retriever
    bodies = {
        RETRIEVE: retriever.retrieve,
        RETRIEVE_FILTERED: retriever.retrieve_filtered,
        EMBED: retriever.embed,
    }
    functions = {}
    for name, body in bodies.items():
        specs = {each.name: tf.TensorSpec(each.shape, each.dtype, each.name) for each in SIGNATURES[name].inputs}
        functions[name] = tf.function(body, autograph=False).get_concrete_function(**specs)
    tf.saved_model.save(module, str(version), signatures=functions)
    # In turn a filter of each width.
    categories = [(FILTERS[at // 2 % len(FILTERS)],) for at in range(len(warm_up))]
    write_warmup(version, "mtmh", warm_up, 1, categories, names=tuple(bodies))


def main() -> None:
    """Draws and writes a version."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drawn_version", description=main.__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--flavour", choices=(SCANN, STOCK), default=SCANN)
    parser.add_argument("--kind", choices=("auto", "exact", "tree"), default="auto", help="of the index")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--base", type=Path, required=True, help="gets the version 1")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    catalogue = draw(arguments.items, 1, arguments.dimension, arguments.seed)
    config = IndexConfig(kind=arguments.kind)
    plan = plan_index(arguments.items, config, arguments.flavour)
    arguments.base.mkdir(parents=True, exist_ok=True)
    retriever = build(catalogue, plan, arguments.base)
    tune(retriever, catalogue, plan, config)
    save(retriever, arguments.base / "1", item_ids(arguments.items)[:: max(1, arguments.items // WARM_UP)][:WARM_UP])


if __name__ == "__main__":
    main()
