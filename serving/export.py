"""Exports a trained model as one SavedModel: encoder, index, ids, signatures and warm-up requests."""

import dataclasses
import json
import logging
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from preprocessing.backend import tf
from preprocessing.read import read_items
from serving.config import PushConfig, ServingConfig
from serving.flavours import SCANN, STOCK, base_of
from serving.index import IndexPlan, plan_index
from serving.index_gate import GATE_K, check_index_floor, gate_triggers, tune_index
from serving.local_shelf import staged
from serving.push import Pushed, push
from serving.retriever import RetrievalDefaults, Retriever
from serving.serving_module import ServingModule
from serving.version_content import VersionContent
from serving.version_manifest import CONTENT, MODEL_CARD, WEIGHTS
from serving.warmup import write_warmup
from trainer.artefact import DialPoint, ModelDescription, load_model, weights_digest
from trainer.names import QUOTA

logger = logging.getLogger("mtmh.serving")

_ALL_STAY: Final = PushConfig(keep_versions=None)


@dataclasses.dataclass(frozen=True)
class ExportResult:
    """What was built.

    Attributes:
      directory: the version directory.
      plan: parameters of the index.
      index_recall: index recall@50 against exact search, by setting of the dial.
      relevance_weight: the exported default.
      stock: the same of the stock flavour, where one was built.
    """

    directory: Path
    plan: IndexPlan
    index_recall: dict[float, float]
    relevance_weight: float
    stock: "ExportResult | None" = None

    @property
    def flavours(self) -> "tuple[ExportResult, ...]":
        """This one, and that of the stock flavour."""
        return (self, self.stock) if self.stock else (self,)


def export(
    examples: Path, model_directory: Path, base: Path, config: ServingConfig, retention: PushConfig = _ALL_STAY
) -> ExportResult:
    """Exports a trained model to a new version below ``base``, and where configured to one of the stock flavour.

    Nothing is published unless all of it is built and finds enough.

    Args:
      examples: the preprocessing's output that the model was trained on.
      model_directory: the trained model, see `trainer.artefact`.
      base: directory of versions; its last component is the model's name.
      config: options.
      retention: which versions stay.

    Returns:
      What was built of the `SCANN` flavour.

    Raises:
      UserError: an artefact is missing or damaged, or an index finds less than the configured floor.
    """
    with staged(base) as directory:
        built = build_version(examples, model_directory, directory / "version", base.name, config)
        for each in built.flavours:
            check_index_floor(each.index_recall, each.plan, config)
        # The main one last: once it is there, all is.
        published = [
            (publish(each.directory, base, each.plan.flavour, retention), each) for each in reversed(built.flavours)
        ]
    for pushed, each in published:
        logger.info(
            "%s %s: index recall@%d at least %.3f, default relevance weight %.2f",
            "published" if pushed.new else "as it is already in",
            pushed.path,
            GATE_K,
            min(each.index_recall.values()),
            each.relevance_weight,
        )
    results = [dataclasses.replace(each, directory=Path(pushed.path)) for pushed, each in published]
    return dataclasses.replace(results[-1], stock=results[0] if built.stock else None)


def publish(version: Path, base: Path, flavour: str, retention: PushConfig) -> Pushed:
    """Moves a built version to where its flavour is served, beside ``base``."""
    keep = retention.keep_versions
    return push(version, base_of(flavour, str(base)), keep, protect=retention.protect_versions, move=True)


def build_version(
    examples: Path, model_directory: Path, version: Path, name: str, config: ServingConfig
) -> ExportResult:
    """Builds a version directory of a trained model and the catalogue that it was trained on.

    Args:
      examples: the preprocessing's output that the model was trained on.
      model_directory: the trained model, see `trainer.artefact`.
      version: the directory to write, on this machine; the stock flavour goes to `stock_place` of it.
      name: what the model is called where it is served.
      config: options.

    Raises:
      UserError: an artefact is missing or damaged.
    """
    items = read_items(str(examples))
    model, catalogue, description = load_model(model_directory, items)
    triggers = gate_triggers(examples, len(items.ids), config.seed)
    weights = weights_digest(model_directory)
    content = VersionContent(items, model.embed_catalogue(), triggers, model, catalogue, description, weights)
    return write_version(content, version, name, config)


def stock_place(version: Path) -> Path:
    """Where the stock flavour of a built version is, beside it, until both are published."""
    return version.with_name(base_of(STOCK, version.name))


def write_version(content: VersionContent, version: Path, name: str, config: ServingConfig) -> ExportResult:
    """Writes version directories, of the stock flavour where configured: index, SavedModel, warm-up requests, card.

    What the index finds is told, not judged.

    Args:
      content: what it is built of.
      version: the directory to write, on this machine; the stock flavour goes to `stock_place` of it.
      name: what the model is called where it is served.
      config: options.
    """
    shutil.rmtree(stock_place(version), ignore_errors=True)
    _warn_of_a_silent_head(content.description, config)
    built = _write_flavour(content, version, name, config, SCANN)
    if not config.export.stock:
        return built
    stock = _write_flavour(content, stock_place(version), base_of(STOCK, name), config, STOCK)
    return dataclasses.replace(built, stock=stock)


def _write_flavour(
    content: VersionContent, version: Path, name: str, config: ServingConfig, flavour: str
) -> ExportResult:
    items, description = content.items, content.description
    plan = plan_index(len(items.ids), config.index, flavour)
    defaults = RetrievalDefaults(
        k=config.retrieval.k,
        relevance_weight=default_weight(description, config),
        max_k=config.retrieval.max_k,
        trigger_decay=config.retrieval.trigger_decay,
        merge=config.retrieval.merge,
    )
    started = time.monotonic()
    # The SavedModel carries a copy of this file.
    with tempfile.TemporaryDirectory(prefix="mtmh-") as scratch:
        id_file = Path(scratch) / "item_ids.txt"
        retriever = Retriever(
            items.ids, content.vectors, items.interaction_count, plan, defaults, id_file, items.categories
        )
        logger.info(
            "%s index: %s over %d items in %.1f s", flavour, plan.kind, len(items.ids), time.monotonic() - started
        )
        plan, index_recall = tune_index(retriever, content.vectors, content.triggers, plan, config)
        module = ServingModule(
            retriever, content.model, content.catalogue, description, items if config.export.titles else None
        )
        tf.saved_model.save(
            module,
            str(version),
            signatures=module.signatures(),
            options=tf.saved_model.SaveOptions(experimental_custom_gradients=False),
        )
    popular = np.argsort(-items.interaction_count, kind="stable")[: config.export.warmup_requests]
    write_warmup(
        version,
        name,
        [items.ids[row] for row in popular],
        description.content_dimension,
        [items.categories[row] for row in popular],
    )
    card = _model_card(content, plan, defaults, index_recall)
    card[CONTENT] = content.digest(config, defaults.relevance_weight)
    (version / MODEL_CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return ExportResult(version, plan, index_recall, defaults.relevance_weight)


def default_weight(description: ModelDescription, config: ServingConfig) -> float:
    """The exported dial: as configured, or the most relevant setting that keeps the configured share of recall."""
    if config.retrieval.relevance_weight is not None:
        return config.retrieval.relevance_weight
    dial = _dial(description, config)
    return dial_by_rule(dial, config.retrieval.recall_kept) if dial else 0.0


def _dial(description: ModelDescription, config: ServingConfig) -> tuple[DialPoint, ...]:
    return description.quota_dial if config.retrieval.merge == QUOTA else description.dial


def _warn_of_a_silent_head(description: ModelDescription, config: ServingConfig) -> None:
    """Says so where the rule, and nobody's choice, has the relevance head alone answer by default."""
    dial = _dial(description, config)
    if len(dial) < 2 or config.retrieval.relevance_weight is not None or default_weight(description, config) < 1.0:
        return
    best, last = max(point.recall for point in dial), max(dial, key=lambda point: point.relevance_weight)
    logger.warning(
        "by default the engagement head has no say: the relevance head alone keeps %.0f %% of the best recall on the "
        "validation slice, and retrieval.recall_kept asks for %.0f %%; raise it or set retrieval.relevance_weight, "
        "unless that is what you want",
        100.0 * last.recall / best,
        100.0 * config.retrieval.recall_kept,
    )


def dial_by_rule(dial: tuple[DialPoint, ...], recall_kept: float) -> float:
    """The largest weight whose recall is at least ``recall_kept`` times the best recall of the dial.

    0 where no setting recalls anything: then nothing is known of what relevance costs.
    """
    best = max(point.recall for point in dial)
    if best <= 0.0:
        return 0.0
    return max(point.relevance_weight for point in dial if point.recall >= recall_kept * best)


def _model_card(
    content: VersionContent, plan: IndexPlan, defaults: RetrievalDefaults, index_recall: dict[float, float]
) -> dict[str, Any]:
    description = content.description
    return {
        "items": len(content.items.ids),
        "dimension": description.model.dimension,
        "content_dimension": description.content_dimension,
        "model": dataclasses.asdict(description.model),
        "epochs": description.epochs,
        "refit": description.refit,
        WEIGHTS: content.weights,
        "index": dataclasses.asdict(plan),
        "index_recall": {str(weight): value for weight, value in index_recall.items()},
        "defaults": dataclasses.asdict(defaults),
        "tensorflow": tf.__version__,
    }
