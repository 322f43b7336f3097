"""Leaves out one part of the recipe at a time, and prints what the validation slice says.

``python -m benchmarks.ablation --workdir DIR [--only A,B] [--set section.key=value]... [--output DIR]``

DIR is a work directory with examples (``mtmh preprocess``). Every row is the first stage of a training, the one that
never sees the validation slice, with the options of the work directory but for those that the row names. *area* is that
under the frontier of recall and relevance over the dial. Rows that are finished are kept in the JSON and not run again
by the same code, examples and options.
"""

import argparse
import hashlib
import json
import logging
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from preprocessing.errors import UserError
from tfx_pipeline.config import RunConfig, dump_config
from tfx_pipeline.workdir import Workdir, write_whole
from trainer.sources import trainer_version

RECIPE: Final = "the recipe"
ROWS: Final = {
    RECIPE: (),
    "no relevance head's loss in the encoder": ("loss.relevance=0.0001",),
    "λ 1": ("loss.relevance=1.0",),
    "no alignment of the engagement head": ("loss.align=0",),
    "μ 0.3 on any data": ("loss.align=0.3",),
    "identities hidden of one in ten": ("model.id_dropout=0.1",),
    "no identity hidden": ("model.id_dropout=0",),
    "identities whole": ("model.id_element_dropout=0",),
    "seven in ten elements of identities dropped": ("model.id_element_dropout=0.7",),
    "no content hidden": ("model.content_dropout=0",),
    "what is unseen asked with by the encoder alone": ("model.cold_start=0",),
    "what is unseen asked with by its like alone": ("model.cold_start=1",),
    "no item taught that was never a trigger": ("loss.unseen_rows=0",),
    "128 items taught that were never a trigger": ("loss.unseen_rows=128",),
    "256 items taught that were never a trigger": ("loss.unseen_rows=256",),
    "without near neighbours of what was never a trigger": ("loss.teacher_neighbours=0",),
    "negatives of the batch alone": ("loss.uniform_negatives=0",),
    "no logQ correction": ("loss.log_q=false",),
    "no trend of popularity": ("loss.trend=0",),
    "the trend of popularity in full": ("loss.trend=1",),
    "known positives always left out": ("loss.mask_known_positives=true",),
    "known positives never left out": ("loss.mask_known_positives=false",),
    "events instead of distinct triggers": ("trainer.batches=events", "trainer.steps_per_epoch=100"),
    "no average of the weights": ("trainer.averaged_steps=0.01",),
    "targets 5 ahead": ("trainer.targets=5",),
    "targets 20 ahead": ("trainer.targets=20",),
    "128 dimensions": ("model.dimension=128", "model.hidden=256"),
    "no content vector": ("features.content_vector=false",),
    "no identity": ("features.ids=false",),
}


def main() -> None:
    """Trains the recipe with one part left out at a time."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=main.__doc__)
    parser.add_argument("--workdir", type=Path, required=True, help="with examples, from mtmh preprocess")
    parser.add_argument("--only", default="", metavar="A,B", help="rows whose names hold one of these")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument("--output", type=Path, help="JSON of the rows; by default ablation.json in the work directory")
    arguments = parser.parse_args()
    logging.disable(logging.INFO)
    wanted = [word for word in arguments.only.split(",") if word]
    rows = {name: sets for name, sets in ROWS.items() if not wanted or any(word in name for word in wanted)}
    workdir = Workdir(arguments.workdir)
    try:
        found = measure(workdir, arguments.settings, rows, arguments.output or workdir.root / "ablation.json")
    except UserError as error:
        parser.error(str(error))
    print_table(found)


def measure(workdir: Workdir, settings: list[str], rows: dict[str, tuple[str, ...]], path: Path) -> dict[str, Any]:
    """What each row brings, by its name; kept in ``path`` as they come."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name, overrides in rows.items():
        config = workdir.load_config(None, [*settings, *overrides, "trainer.tensorboard=false"])
        workdir.require_examples(config)
        identity = _identity(workdir, config)
        if found.get(name, {}).get("identity") != identity:
            found[name] = {"identity": identity, "settings": list(overrides)} | _choose(workdir, config)
            write_whole(path, json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    return {name: found[name] for name in rows}


def _identity(workdir: Workdir, config: RunConfig) -> str:
    manifest = (workdir.examples / "manifest.json").read_bytes()
    return hashlib.sha256(manifest + f"{dump_config(config)}\n{trainer_version()}".encode()).hexdigest()


def _choose(workdir: Workdir, config: RunConfig) -> dict[str, Any]:
    from trainer import metrics
    from trainer.train import choose

    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as directory:
        choice = choose(workdir.examples, Path(directory), config.training)
    first = choice.scores[0].values
    return {
        "recall": first[metrics.RECALL],
        "cold_recall": first[metrics.RECALL_COLD],
        "relevance": first[metrics.RELEVANCE],
        "coverage": first[metrics.COVERAGE],
        "tail_share": first[metrics.TAIL_SHARE],
        "area": choice.frontier_area,
        "epochs": choice.epochs,
        "seconds": time.perf_counter() - started,
    }


def print_table(rows: dict[str, Any]) -> None:
    """Prints the rows as Markdown."""
    print("| recipe but for | options | recall | cold recall | relevance | coverage | tail share | area | epochs |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, row in rows.items():
        options = " ".join(f"`{setting}`" for setting in row["settings"])
        keys = ("recall", "cold_recall", "relevance", "coverage", "tail_share", "area")
        figures = ["" if row[key] is None else f"{row[key]:.4f}" for key in keys]
        print(f"| {name} | {options} | {' | '.join(figures)} | {row['epochs']} |")


if __name__ == "__main__":
    main()
