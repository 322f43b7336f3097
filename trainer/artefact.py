"""The trained model on disk: weights, configuration, and what the trainer learnt about the dial.

::

    model.json        a `ModelDescription`
    weights.*         checkpoint of the model
    first_stage.*     likewise as the first stage has left it, where there was one
    items.npz         ids, and some of the teacher's vectors

A later training may begin with it (`trainer.warm_start`), for which the last two are kept.
"""

import dataclasses
import hashlib
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from preprocessing.backend import tf
from preprocessing.config import FeaturesConfig
from preprocessing.errors import UserError
from preprocessing.exchange import exchanging, sweep
from preprocessing.read import ItemTable
from trainer import metrics
from trainer.base import DESCRIPTION
from trainer.catalogue import Catalogue, build_catalogue
from trainer.checkpoint import checkpoint_digest, read_checkpoint
from trainer.config import LossConfig, ModelConfig, TrainerConfig
from trainer.evaluate import Scores
from trainer.model import MTMHModel
from trainer.typed import typed

WEIGHTS: Final = "weights"
FIRST_STAGE: Final = "first_stage"
KEPT_ITEMS: Final = "items.npz"
FORMAT_VERSION: Final = 3
_ANCHORS: Final = 8192
"""Items, evenly spread over the catalogue, whose teacher's vectors are kept."""


@dataclasses.dataclass(frozen=True)
class DialPoint:
    """Recall@K and relevance@K at one setting of the dial, on the validation slice."""

    relevance_weight: float
    recall: float
    relevance: float | None

    @classmethod
    def of(cls, scores: Scores) -> "DialPoint":
        """What scores say of their setting."""
        values = scores.values
        return cls(scores.relevance_weight, values[metrics.RECALL] or 0.0, values[metrics.RELEVANCE])


@dataclasses.dataclass(frozen=True)
class WarmStart:
    """The model that a training began with.

    Attributes:
      model: its name, such as ``version 1790000000000``.
      description_digest: SHA-256 of its ``model.json``.
      examples_digest: SHA-256 of the manifest of the examples that it was trained on.
      items: items whose embedding was carried over.
    """

    model: str
    description_digest: str
    examples_digest: str
    items: int


@dataclasses.dataclass(frozen=True)
class ModelDescription:
    """What rebuilds a model besides its weights.

    Attributes:
      features, model, loss, trainer, seed: the configuration that it was built and trained with.
      num_items, content_dimension, vocabulary, catalogue_digest: what the data decided, checked when the weights meet
        a catalogue.
      examples_digest: SHA-256 of the manifest of the examples that it was trained on.
      epochs: epochs that the weights were trained for.
      dial: recall and relevance along the dial on the validation slice; empty without one.
      refit: whether the rows after the split were trained on.
      quota_dial: as ``dial``, where the heads answer by quota.
      validation_time, split_time: unix seconds; the first stage has learnt from rows before the one, None without that
        stage, and the weights, unless refit, from rows before the other.
      warm_start: what the training began with; None: with nothing.
      code: which sources trained it, see `preprocessing.sources_hash`; empty where that is not known.
      k: K of the recall and relevance that epochs and dial were chosen by; None without a validation slice, or where
        that is not known.
    """

    features: FeaturesConfig
    model: ModelConfig
    loss: LossConfig
    trainer: TrainerConfig
    seed: int
    num_items: int
    content_dimension: int
    vocabulary: tuple[str, ...]
    catalogue_digest: str
    examples_digest: str
    epochs: int
    dial: tuple[DialPoint, ...]
    refit: bool
    quota_dial: tuple[DialPoint, ...] = ()
    validation_time: float | None = None
    split_time: float | None = None
    warm_start: WarmStart | None = None
    code: str = ""
    k: int | None = None


def save_model(
    directory: Path, model: MTMHModel, description: ModelDescription, items: ItemTable, first_stage: Path | None = None
) -> None:
    """Writes a model beside ``directory``, which it then replaces; an earlier one is there until then.

    Args:
      directory: where it goes.
      model: as trained.
      description: of it.
      items: its catalogue.
      first_stage: prefix of a checkpoint by `save_weights`, to be kept with it.
    """
    with exchanging(directory) as staging:
        save_weights(staging / WEIGHTS, model)
        if first_stage is not None:
            for path in first_stage.parent.glob(f"{first_stage.name}.*"):
                shutil.copy2(path, staging / f"{FIRST_STAGE}{path.name.removeprefix(first_stage.name)}")
        _keep_items(staging / KEPT_ITEMS, items)
        document = {"format_version": FORMAT_VERSION, **dataclasses.asdict(description)}
        (staging / DESCRIPTION).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def save_weights(path: Path, model: MTMHModel) -> None:
    """Writes the parts of a model as a checkpoint with the prefix ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tf.train.Checkpoint(**model.parts()).write(str(path))


def _keep_items(path: Path, items: ItemTable) -> None:
    number = len(items.ids)
    count = min(number, _ANCHORS)
    anchors = np.arange(count, dtype=np.int64) * number // max(count, 1)
    with path.open("wb") as file:
        np.savez(
            file,
            ids=np.frombuffer("\n".join(items.ids).encode("utf-8"), np.uint8),
            anchors=anchors,
            content=items.content_vectors[anchors],
        )


def load_kept(directory: Path) -> tuple[list[str], NDArray[np.int64], NDArray[np.float32]]:
    """The ids of a model's N items, and of n of these the rows, int64 [n], and the teacher's vectors, float32 [n, D].

    Raises:
      UserError: they are missing or damaged.
    """
    try:
        with np.load(directory / KEPT_ITEMS, allow_pickle=False) as arrays:
            ids = arrays["ids"].tobytes().decode("utf-8").split("\n")
            return ids, arrays["anchors"], arrays["content"]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{directory / KEPT_ITEMS} is missing or damaged ({error}); train the model again") from None


def catalogue_digest(items: ItemTable) -> str:
    """SHA-256 of what ties weights to a catalogue: the ids in their order, and the teacher's vectors."""
    digest = hashlib.sha256("\n".join(items.ids).encode("utf-8"))
    digest.update(np.ascontiguousarray(items.content_vectors, dtype="<f4").tobytes())
    return digest.hexdigest()


def weights_digest(directory: Path) -> str:
    """SHA-256 of the weights of a trained model, by their values.

    Raises:
      UserError: they are missing or damaged.
    """
    try:
        return checkpoint_digest(directory / WEIGHTS)
    except ValueError as error:
        raise UserError(f"the weights in {directory} cannot be read ({error}); train the model again") from None


def load_description(directory: Path) -> ModelDescription:
    """Reads ``model.json``; what a killed training has left in its stead is put right before.

    Raises:
      UserError: it is missing, damaged or of another format.
    """
    path = directory / DESCRIPTION
    if not directory.exists():
        sweep(str(directory))  # where a kill has caught an exchange, this brings the earlier model back
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{directory} holds no trained model ({DESCRIPTION} is missing); run `mtmh train` first"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged ({error}); train the model again") from None
    if not isinstance(document, dict):
        raise UserError(f"{path} is damaged (not a JSON object); train the model again")
    if document.pop("format_version", None) != FORMAT_VERSION:
        raise UserError(f"{path} was written by another version of mtmh; train the model again")
    try:
        description: ModelDescription = typed(ModelDescription, document)
    except (TypeError, KeyError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); train the model again") from None
    return description


def load_model(directory: Path, items: ItemTable) -> tuple[MTMHModel, Catalogue, ModelDescription]:
    """Rebuilds a trained model on the catalogue that it was trained with.

    Raises:
      UserError: the model is missing, or belongs to other examples than ``items``.
    """
    description = load_description(directory)
    catalogue = build_catalogue(items, buckets=description.model.text_buckets, tokens=description.model.text_tokens)
    found = (catalogue.num_items, catalogue.content.shape[1], catalogue.vocabulary, catalogue_digest(items))
    expected = (
        description.num_items,
        description.content_dimension,
        description.vocabulary,
        description.catalogue_digest,
    )
    if found != expected:
        raise UserError(
            f"the model in {directory} was trained on another catalogue ({description.num_items} items, "
            f"{description.content_dimension} content dimensions) than the examples' ({found[0]}, {found[1]}); "
            "export it with the examples that it was trained on, or train again"
        )
    model = MTMHModel(catalogue, description.features, description.model, description.loss, description.seed)
    try:
        read_checkpoint(tf.train.Checkpoint(**model.parts()), directory / WEIGHTS)
    except ValueError as error:
        raise UserError(f"the weights in {directory} do not fit ({error}); train the model again") from None
    return model, dataclasses.replace(catalogue, known=model.known.numpy()), description
