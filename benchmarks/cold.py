"""Asks for items that no part of the training has seen, by title and by content vector, and prints one table.

``python -m benchmarks.cold [--interactions CSV --items CSV] [--teacher lsa|onnx|column] [--teacher-path DIR]``
``[--asked N] [--set section.key=value]... [--output DIR]``

Items drawn at random are taken out of the log and of the catalogue; the rest is preprocessed, trained on and exported.
Then the SavedModel is asked for each of them through ``retrieve_by_content``: by its title and description alone, and
by these and the teacher's vector. *relevance* is the mean teacher cosine between the item and its answers, *kept* the
share of it that the words alone reach. *recall* is that of what people engaged with next, after the split, beside that
of the most popular items.
"""

import argparse
import json
import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.take_out import TakenOut, items_of, take_out
from tfx_pipeline import tables
from tfx_pipeline.config import RunConfig, load_config
from tfx_pipeline.steps import Inputs, export_step, preprocess_step, train_step
from tfx_pipeline.workdir import Workdir

K = 50
_BATCH = 50
DATA = Path(__file__).parents[1] / "tests" / "data" / "online_retail"


def main() -> None:
    """Trains without the items that are then asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold", description=main.__doc__)
    parser.add_argument("--interactions", default=str(DATA / "interactions.csv.gz"))
    parser.add_argument("--items", default=str(DATA / "items.csv.gz"))
    parser.add_argument("--teacher", choices=("lsa", "onnx", "column"), default="lsa")
    parser.add_argument(
        "--teacher-path",
        help="a sentence encoder's directory: for onnx the teacher; for column the items bring its vectors, projected",
    )
    parser.add_argument("--asked", type=int, default=1000, help="items taken out")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument("--output", type=Path, default=Path("demo/bench"), help="where the JSON goes")
    arguments = parser.parse_args()
    if arguments.teacher != "lsa" and arguments.teacher_path is None:
        parser.error(f"--teacher {arguments.teacher} needs --teacher-path")
    logging.disable(logging.INFO)
    settings = [f"teacher.kind={arguments.teacher}", "trainer.tensorboard=false", *arguments.settings]
    if arguments.teacher == "onnx":
        settings.append(f"teacher.path={arguments.teacher_path}")
    config = load_config(None, settings)
    inputs = Inputs((arguments.interactions,), (arguments.items,))
    encoder = arguments.teacher_path if arguments.teacher == "column" else None
    with tempfile.TemporaryDirectory() as directory:
        rows = measure(Path(directory), config, inputs, arguments.asked, encoder)
    arguments.output.mkdir(parents=True, exist_ok=True)
    document = {"teacher": arguments.teacher, "settings": arguments.settings, "dial": rows}
    path = arguments.output / f"cold-{arguments.teacher}.json"
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print_table(rows)


def measure(
    root: Path, config: RunConfig, inputs: Inputs, count: int, encoder: str | None = None
) -> list[dict[str, float]]:
    """One row for each setting of the dial: what ``count`` items are answered with, by words and by vector."""
    taken = take_out(root, config, inputs, count, encoder)
    workdir = Workdir(root / "kept")
    workdir.prepare()
    preprocess_step(workdir, taken.config, taken.inputs)
    train_step(workdir, taken.config)
    exported = export_step(workdir, taken.config)
    dial = dict.fromkeys((0.0, exported.relevance_weight, 1.0))
    return [ask(workdir, exported.directory, taken, weight) for weight in dial]


def teacher_vectors(workdir: Workdir, taken: TakenOut) -> NDArray[np.float32]:
    """What the teacher of a finished preprocessing says of the items taken out: float32 [A, D]."""
    from preprocessing.onnx_encoder import OnnxEncoder
    from preprocessing.read import read_items
    from preprocessing.semantics import Encoder, column_encoder, fit_lsa, fit_sample

    config = taken.config
    table = read_items(str(workdir.examples))
    left = items_of(table)
    encoder: Encoder
    if config.teacher.kind == "lsa":
        fitted_on = [left[row] for row in fit_sample(len(left))]
        encoder = fit_lsa(fitted_on, config.teacher, config.seed, with_categories=config.features.categories)
        if not np.allclose(encoder.encode(left[:100]), table.content_vectors[:100], atol=1e-5):
            raise RuntimeError("the teacher fitted here is not that of the examples")
    elif config.teacher.kind == "onnx":
        encoder = OnnxEncoder(config.teacher, with_categories=config.features.categories)
    else:
        encoder = column_encoder(taken.items)
    return encoder.encode(taken.items)


def ask(workdir: Workdir, version: Path, taken: TakenOut, weight: float) -> dict[str, float]:
    """Relevance and recall of the answers by words, by vector, and of what is popular, at one setting of the dial."""
    from preprocessing.backend import tf
    from preprocessing.read import read_items
    from serving.signatures import RETRIEVE_BY_CONTENT

    table = read_items(str(workdir.examples))
    vectors = teacher_vectors(workdir, taken)
    retrieve = tf.saved_model.load(str(version)).signatures[RETRIEVE_BY_CONTENT]

    def answers(content: NDArray[np.float32]) -> list[list[str]]:
        found: list[list[str]] = []
        for start in range(0, len(taken.items), _BATCH):
            batch = taken.items[start : start + _BATCH]
            reply = retrieve(
                title=tf.constant([item.title for item in batch]),
                description=tf.constant([item.description for item in batch]),
                categories=tf.fill([len(batch)], ""),
                content_vector=tf.constant(content[start : start + _BATCH]),
                relevance_weight=tf.fill([len(batch)], tf.constant(weight, tf.float32)),
                k=tf.fill([len(batch)], K),
            )
            found += [[item_id.decode() for item_id in row if item_id] for row in reply["item_id"].numpy()]
        return found

    order = np.argsort(-table.interaction_count, kind="stable")[:K]
    popular = [[table.ids[row] for row in order]] * len(taken.items)
    by_words, by_vector = answers(np.zeros_like(vectors)), answers(vectors)
    places = {item_id: row for row, item_id in enumerate(table.ids)}
    words, whole = (_relevance(vectors, found, places, table.content_vectors) for found in (by_words, by_vector))
    return {
        "relevance_weight": weight,
        "relevance_by_words": words,
        "relevance_by_vector": whole,
        "kept": words / whole,
        "recall_by_words": _recall(by_words, taken.following),
        "recall_by_vector": _recall(by_vector, taken.following),
        "recall_of_popular": _recall(popular, taken.following),
    }


def _relevance(
    vectors: NDArray[np.float32], answers: list[list[str]], places: dict[str, int], content: NDArray[np.float32]
) -> float:
    """Mean teacher cosine between an item, [A, D], and its answers, by their places in the catalogue's [N, D]."""
    means = [
        float(np.mean(content[[places[item_id] for item_id in row]] @ vector))
        for vector, row in zip(vectors, answers, strict=True)
        if vector.any()
    ]
    return float(np.mean(means))


def _recall(answers: list[list[str]], following: list[list[str]]) -> float:
    """Share of the pairs whose target is among the answers."""
    hits = [target in set(row) for row, targets in zip(answers, following, strict=True) for target in targets]
    return float(np.mean(hits)) if hits else float("nan")


def print_table(rows: list[dict[str, Any]]) -> None:
    """The figures for people."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    columns = ("dial", "relevance by words", "by vector", "kept", "recall by words", "by vector", "of popular")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        first, *others = row.values()
        table.add_row(f"{first:.2f}", *(f"{value:.3f}" for value in others))
    tables.console().print(table)


if __name__ == "__main__":
    main()
