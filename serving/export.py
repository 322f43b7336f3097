"""Exports a trained model as one SavedModel: encoder, index, ids, signatures and warm-up requests."""

import dataclasses
import json
import logging
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from preprocessing.backend import tf
from preprocessing.read import ItemTable, read_items
from preprocessing.transform import CategoryLookup, split_categories, text_grams, text_tokens
from serving.config import ServingConfig
from serving.index import IndexPlan, plan_index
from serving.index_gate import GATE_K, check_index_floor, gate_triggers, tune_index
from serving.local_shelf import staged
from serving.push import push
from serving.retriever import RetrievalDefaults, Retriever
from serving.signatures import (
    DESCRIBE,
    EMBED,
    RETRIEVE,
    RETRIEVE_BY_CONTENT,
    SERVING_DEFAULT,
    SIGNATURES,
)
from serving.warmup import write_warmup
from trainer.artefact import DialPoint, ModelDescription, load_model
from trainer.catalogue import Catalogue
from trainer.encoder import ItemInputs
from trainer.model import ItemVectors, MTMHModel
from trainer.names import QUOTA

logger = logging.getLogger("mtmh.serving")

MODEL_CARD: Final = "assets.extra/mtmh.json"


@dataclasses.dataclass(frozen=True)
class ExportResult:
    """What was built.

    Attributes:
      directory: the version directory.
      plan: parameters of the index.
      index_recall: index recall@50 against exact search, by setting of the dial.
      relevance_weight: the exported default.
    """

    directory: Path
    plan: IndexPlan
    index_recall: dict[float, float]
    relevance_weight: float


@dataclasses.dataclass(frozen=True)
class VersionContent:
    """What a version is built of.

    Attributes:
      items: the N items that it answers with.
      vectors: of these.
      triggers: rows of these that the index is measured with.
      model: the trained model, which encodes items that are asked for by their words.
      catalogue: the catalogue that it was trained on.
      description: of the model.
    """

    items: ItemTable
    vectors: ItemVectors
    triggers: NDArray[np.int64]
    model: MTMHModel
    catalogue: Catalogue
    description: ModelDescription


def export(
    examples: Path, model_directory: Path, base: Path, config: ServingConfig, keep_versions: int | None = None
) -> ExportResult:
    """Exports a trained model to a new version below ``base``.

    Args:
      examples: the preprocessing's output that the model was trained on.
      model_directory: the trained model, see `trainer.artefact`.
      base: directory of versions; its last component is the model's name.
      config: options.
      keep_versions: how many versions stay, see `serving.push.push`.

    Raises:
      UserError: an artefact is missing or damaged, or the index finds less than the configured floor.
    """
    with staged(base) as directory:
        built = build_version(examples, model_directory, directory / "version", base.name, config)
        check_index_floor(built.index_recall, built.plan, config)
        target = Path(push(built.directory, base, keep_versions, move=True).path)
    logger.info(
        "published %s: index recall@%d at least %.3f, default relevance weight %.2f",
        target,
        GATE_K,
        min(built.index_recall.values()),
        built.relevance_weight,
    )
    return dataclasses.replace(built, directory=target)


def build_version(
    examples: Path, model_directory: Path, version: Path, name: str, config: ServingConfig
) -> ExportResult:
    """Builds a version directory of a trained model and the catalogue that it was trained on.

    Args:
      examples: the preprocessing's output that the model was trained on.
      model_directory: the trained model, see `trainer.artefact`.
      version: the directory to write, on this machine.
      name: what the model is called where it is served.
      config: options.

    Raises:
      UserError: an artefact is missing or damaged.
    """
    items = read_items(str(examples))
    model, catalogue, description = load_model(model_directory, items)
    triggers = gate_triggers(examples, len(items.ids), config.seed)
    content = VersionContent(items, model.embed_catalogue(), triggers, model, catalogue, description)
    return write_version(content, version, name, config)


def write_version(content: VersionContent, version: Path, name: str, config: ServingConfig) -> ExportResult:
    """Writes a version directory: index, SavedModel, warm-up requests, card.

    What the index finds is told, not judged.

    Args:
      content: what it is built of.
      version: the directory to write, on this machine.
      name: what the model is called where it is served.
      config: options.
    """
    items, description = content.items, content.description
    plan = plan_index(len(items.ids), config.index)
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
        retriever = Retriever(items.ids, content.vectors, items.interaction_count, plan, defaults, id_file)
        logger.info("index: %s over %d items in %.1f s", plan.kind, len(items.ids), time.monotonic() - started)
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
    write_warmup(version, name, [items.ids[row] for row in popular], description.content_dimension)
    card = _model_card(items, description, plan, defaults, index_recall)
    (version / MODEL_CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return ExportResult(version, plan, index_recall, defaults.relevance_weight)


def default_weight(description: ModelDescription, config: ServingConfig) -> float:
    """The exported dial: as configured, or the most relevant setting that keeps the configured share of recall."""
    if config.retrieval.relevance_weight is not None:
        return config.retrieval.relevance_weight
    dial = description.quota_dial if config.retrieval.merge == QUOTA else description.dial
    return dial_by_rule(dial, config.retrieval.recall_kept) if dial else 0.0


def dial_by_rule(dial: tuple[DialPoint, ...], recall_kept: float) -> float:
    """The largest weight whose recall is at least ``recall_kept`` times the best recall of the dial.

    0 where no setting recalls anything: then nothing is known of what relevance costs.
    """
    best = max(point.recall for point in dial)
    if best <= 0.0:
        return 0.0
    return max(point.relevance_weight for point in dial if point.recall >= recall_kept * best)


def _model_card(
    items: ItemTable,
    description: ModelDescription,
    plan: IndexPlan,
    defaults: RetrievalDefaults,
    index_recall: dict[float, float],
) -> dict[str, Any]:
    return {
        "items": len(items.ids),
        "dimension": description.model.dimension,
        "content_dimension": description.content_dimension,
        "model": dataclasses.asdict(description.model),
        "epochs": description.epochs,
        "refit": description.refit,
        "index": dataclasses.asdict(plan),
        "index_recall": {str(weight): value for weight, value in index_recall.items()},
        "defaults": dataclasses.asdict(defaults),
        "tensorflow": tf.__version__,
    }


class ServingModule(tf.Module):
    """What is saved: the retriever, the encoder for items without an identity, and what items are called."""

    def __init__(
        self,
        retriever: Retriever,
        model: MTMHModel,
        catalogue: Catalogue,
        description: ModelDescription,
        items: ItemTable | None,
    ) -> None:
        """Args are the parts; ``items`` are named by the ``describe`` signature, None leaves it without names."""
        super().__init__(name="mtmh")
        self._retriever = retriever
        self._encode = _ContentEncoder(model, catalogue, description)
        self._encoder_variables = list(model.variables)
        self._lookup_tables = self._encode.trackables()
        names = items.titles if items is not None else []
        topics = ["|".join(categories) for categories in items.categories] if items is not None else []
        self._titles = tf.Variable([*names, ""], trainable=False, name="titles")
        self._topics = tf.Variable([*topics, ""], trainable=False, name="topics")
        self._names = len(names)

    def signatures(self) -> dict[str, Any]:
        """The concrete functions of `serving.signatures`, by name."""
        bodies = {
            SERVING_DEFAULT: self._retriever.retrieve_default,
            RETRIEVE: self._retriever.retrieve,
            RETRIEVE_BY_CONTENT: self._retrieve_by_content,
            EMBED: self._retriever.embed,
            DESCRIBE: self._describe,
        }
        functions = {}
        for name, body in bodies.items():
            inputs = {
                tensor.name: tf.TensorSpec(tensor.shape, tf.dtypes.as_dtype(tensor.dtype), tensor.name)
                for tensor in SIGNATURES[name].inputs
            }
            functions[name] = tf.function(body, autograph=False).get_concrete_function(**inputs)
        return functions

    def _retrieve_by_content(
        self, title: Any, description: Any, categories: Any, content_vector: Any, relevance_weight: Any, k: Any
    ) -> dict[str, Any]:
        engagement, relevance, askable = self._encode(title, description, categories, content_vector)
        nothing = tf.fill([tf.shape(title)[0], 1], -1)
        return self._retriever.answer(engagement, relevance, relevance_weight, k, nothing, askable)

    def _describe(self, item_id: Any) -> dict[str, Any]:
        rows = self._retriever.rows_of(item_id)
        rows = tf.where((rows >= 0) & (rows < self._names), rows, self._names)
        return {"title": tf.gather(self._titles, rows), "categories": tf.gather(self._topics, rows)}


class _ContentEncoder:
    """Encodes items by what is said of them; no `tf.Module`: saving is to track variables, but no Keras calls."""

    def __init__(self, model: MTMHModel, catalogue: Catalogue, description: ModelDescription) -> None:
        self._model = model
        self._config = description.model
        self._num_items = catalogue.num_items
        self._content_dimension = description.content_dimension
        self._lookup = CategoryLookup(catalogue.vocabulary, catalogue.categories.shape[1])

    def trackables(self) -> list[Any]:
        """Tables that the graph needs and a SavedModel has to carry."""
        return [self._lookup]

    def __call__(self, title: Any, description: Any, categories: Any, content_vector: Any) -> tuple[Any, Any, Any]:
        """Engagement trigger and relevance vectors float32 [B, d], and whether anything was said of an item, [B]."""
        tokens = text_tokens(title, description, buckets=self._config.text_buckets, length=self._config.text_tokens)
        names = split_categories(categories)
        content = self._checked(content_vector)
        engagement, _, relevance = self._model.embed(
            ItemInputs(
                index=tf.fill(tf.shape(title), self._num_items),
                tokens=tokens,
                grams=text_grams(title, description, words=self._config.text_tokens),
                categories=self._lookup(names),
                content=content,
            )
        )
        askable = tf.reduce_any(tokens > 0, axis=1) | (names.row_lengths() > 0) | tf.reduce_any(content != 0.0, axis=1)
        return engagement, relevance, askable

    def _checked(self, content_vector: Any) -> Any:
        """The vectors, normalised; float32 [B, D].

        A row with a value that is not finite counts as absent. A width other than D is taken for "absent" too, and has
        to be all zero.
        """
        width = tf.shape(content_vector)[1]
        matches = tf.equal(width, self._content_dimension)
        absent = tf.reduce_all(tf.equal(content_vector, 0.0))
        tf.debugging.Assert(
            matches | absent,
            [
                f"content_vector must have {self._content_dimension} values a row, or be all zero where absent; it has",
                width,
            ],
        )
        zeros = tf.zeros([tf.shape(content_vector)[0], self._content_dimension])
        vectors = tf.cond(matches, lambda: content_vector, lambda: zeros)
        finite = tf.reduce_all(tf.math.is_finite(vectors), axis=1, keepdims=True)
        vectors = tf.where(finite, vectors, 0.0)
        # By the largest value first: squares of large and small values leave float32.
        vectors = tf.math.divide_no_nan(vectors, tf.reduce_max(tf.abs(vectors), axis=1, keepdims=True))
        return tf.math.l2_normalize(vectors, axis=1)
