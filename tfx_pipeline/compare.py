"""``mtmh compare``: MTMH and the baselines on the same examples, split, triggers and metrics."""

import dataclasses
import itertools
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfx_pipeline.config import RunConfig
from tfx_pipeline.workdir import Workdir

if TYPE_CHECKING:
    from preprocessing.read import ItemTable
    from trainer.baselines import BaselineData
    from trainer.compare import Contender
    from trainer.comparison import Comparison
    from trainer.names import ModelName

logger = logging.getLogger("mtmh.compare")


def compare_step(workdir: Workdir, config: RunConfig, names: Sequence[str] = ()) -> "Comparison":
    """Trains what is not trained yet, counts the baselines, scores all of them and writes the comparison.

    Args:
      workdir: with examples; trainings there that fit the configuration are kept.
      config: of the trainings, the evaluation and the default dial.
      names: of the models, see `trainer.names`; by default all but those that are `trainer.names.ON_REQUEST`.

    Raises:
      UserError: a model is unknown, the examples are missing, or there is nothing to train or evaluate on.
    """
    from trainer.names import MODELS, pick_models

    models = pick_models(names or MODELS)
    workdir.require_examples(config)

    from preprocessing.manifest import load_manifest, manifest_digest
    from preprocessing.read import read_annotations, read_items, read_triggers
    from tfx_pipeline.comparison_files import write_comparison, write_tensorboard
    from trainer.base import model_digest
    from trainer.compare import compare
    from trainer.evaluate import make_judge, sample_triggers, sees_categories
    from trainer.variants import trainings

    train_missing(workdir, config, models)
    items = read_items(str(workdir.examples))
    triggers = read_triggers(str(workdir.examples))
    if config.evaluate.max_triggers is not None:
        triggers = sample_triggers(triggers, config.evaluate.max_triggers, config.seed)
    annotations = read_annotations(str(workdir.examples))
    categories_seen = sees_categories(config.features, load_manifest(str(workdir.examples)))
    judge = make_judge(items, triggers, categories_seen=categories_seen, annotations=annotations)
    # Counted models come first in tables. What they are counted from is let go before the first trained one is loaded.
    contenders = itertools.chain(_counted(workdir, config, models), _trained(workdir, config, models, items))
    comparison = dataclasses.replace(
        compare(contenders, judge, config.evaluate, config.seed),
        examples_digest=manifest_digest(workdir.examples),
        trained={part: model_digest(workdir.model(part)) for model in models for part in trainings(model.name)},
    )
    comparison = write_comparison(workdir.comparison, comparison)
    if config.trainer.tensorboard:
        write_tensorboard(workdir.training("comparison") / "logs", comparison)
    return comparison


def train_missing(workdir: Workdir, config: RunConfig, models: "Sequence[ModelName]") -> None:
    """Trains what the models need and the work directory does not hold with this configuration and these examples.

    A training of both that was cut off goes on; what there is of another is begun anew.
    """
    from preprocessing.manifest import manifest_digest
    from trainer.trained import what_differs
    from trainer.variants import trainings

    needed = list(dict.fromkeys(part for model in models for part in trainings(model.name)))
    digest = manifest_digest(workdir.examples)
    # What is compared has seen the same rows, and none of those that it is judged by.
    fair = dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, warm_start=False, refit=False))
    for number, name in enumerate(needed, start=1):
        wanted = with_model(fair, name)
        differs = what_differs(workdir.model(name), wanted.training, digest)
        if differs is None:
            logger.info("training %d of %d, %s: kept", number, len(needed), name)
            continue
        from tfx_pipeline.steps import train_step

        logger.info("training %d of %d, %s: %s", number, len(needed), name, differs)
        train_step(workdir, wanted, resume=True, or_anew=True)


def with_model(config: RunConfig, name: str) -> RunConfig:
    """The configuration for another model."""
    return dataclasses.replace(config, model=dataclasses.replace(config.model, name=name))


def _counted(workdir: Workdir, config: RunConfig, models: "Sequence[ModelName]") -> "Iterator[Contender]":
    """The counted models, each tuned and counted anew when it is its turn: that takes less than to keep them."""
    from trainer.baselines import load_baseline_data
    from trainer.names import COUNTED

    wanted = [model for model in models if model.kind == COUNTED]
    if not wanted:
        return
    data = load_baseline_data(workdir.examples)
    for number, model in enumerate(wanted, start=1):
        logger.info("counting %d of %d, %s", number, len(wanted), model.name)
        yield _count(model, data, config)


def _count(model: "ModelName", data: "BaselineData", config: RunConfig) -> "Contender":
    from trainer.baselines import fit_baseline
    from trainer.compare import Contender

    recommender, parameters = fit_baseline(model.name, data, k=config.evaluate.k, seed=config.seed)
    return Contender(model, recommender, parameters=parameters)


def _trained(
    workdir: Workdir, config: RunConfig, models: "Sequence[ModelName]", items: "ItemTable"
) -> "Iterator[Contender]":
    """The trained models, each loaded when it is its turn."""
    from trainer.compare import Contender
    from trainer.names import TRAINED
    from trainer.trained import load_recommender

    for model in models:
        if model.kind == TRAINED:
            yield Contender(
                model,
                load_recommender(model.name, workdir.model, items, config.retrieval.merge),
                _default_weight(workdir, config, model),
            )


def _default_weight(workdir: Workdir, config: RunConfig, model: "ModelName") -> float | None:
    """The dial by the exporter's rule; None for what has no dial, or was never exported by itself."""
    from serving.export import default_weight
    from trainer.artefact import load_description
    from trainer.names import merge_of
    from trainer.variants import trainings

    if not model.has_dial:
        return None
    first, *others = trainings(model.name)
    if others:
        return config.retrieval.relevance_weight
    retrieval = dataclasses.replace(config.retrieval, merge=merge_of(model.name, config.retrieval.merge))
    serving = dataclasses.replace(config.serving, retrieval=retrieval)
    return default_weight(load_description(workdir.model(first)), serving)


def print_comparison(console: Any, comparison: "Comparison", workdir: Workdir) -> None:
    """Tables, headline, and where the files are."""
    from tfx_pipeline.comparison_sheets import comparison_sheets, headline_sentences, summary
    from tfx_pipeline.sheets import rich_table

    for sheet in comparison_sheets(comparison).values():
        console.print(rich_table(sheet))
        console.print()
    console.print(f"{summary(comparison)}.", style="dim")
    console.print()
    for sentence in headline_sentences(comparison):
        console.print(sentence, style="bold", markup=False)
    for path in _written(workdir, comparison):
        console.print(str(path), markup=False, soft_wrap=True)


def _written(workdir: Workdir, comparison: "Comparison") -> list[Path]:
    return [workdir.comparison / name for name in comparison.files.values()]
