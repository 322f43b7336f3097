"""Typed artifacts of the pipeline, besides TFX's own.

Names of the files and directories below an artifact's URI are constants here.
"""

from typing import Any, ClassVar, Final

from tfx.types.artifact import Artifact, Property, PropertyType

ITEMS_SPLIT: Final = "catalogue"
"""The one split of the Examples of items."""
PAIRS_SPLIT: Final = "train"
"""The one split of the Examples of pairs."""
MODEL: Final = "model"
"""Below a `TrainedModel`: weights and description, see `trainer.artefact`."""
SERVING_MODEL: Final = "Format-Serving"
"""Below a Model: the SavedModel, where TFX's own components look for it."""
LOGS: Final = "logs"
CHECKPOINTS: Final = "checkpoints"
"""Below a ModelRun: TensorBoard logs, and the checkpoints to resume from."""
METRICS: Final = "metrics.json"
"""Below a `RetrievalEvaluation`, beside the verdict."""


class CoEngagementExamples(Artifact):
    """A whole output of the preprocessing, in the layout of `preprocessing.schema`."""

    TYPE_NAME = "CoEngagementExamples"
    PROPERTIES: ClassVar[dict[str, Any]] = {"layout_version": Property(type=PropertyType.INT)}


class ExamplesManifest(Artifact):
    """The preprocessing's ``manifest.json`` alone: counts, split, hashes."""

    TYPE_NAME = "ExamplesManifest"


class DeadLetters(Artifact):
    """Rows that could not be used, with the reason: ``*.jsonl``."""

    TYPE_NAME = "DeadLetters"
    PROPERTIES: ClassVar[dict[str, Any]] = {"rows": Property(type=PropertyType.INT)}


class DataBlessing(Artifact):
    """What the DataGate found: ``verdict.json``. It exists only for data that passed."""

    TYPE_NAME = "DataBlessing"


class TrainedModel(Artifact):
    """Weights and description of a trained model, see `trainer.artefact`."""

    TYPE_NAME = "TrainedModel"


class RetrievalEvaluation(Artifact):
    """``metrics.json`` and ``verdict.json`` of a candidate, and the same as TensorBoard logs."""

    TYPE_NAME = "RetrievalEvaluation"


class ModelSnapshot(Artifact):
    """How a model answers, frozen: item ids and vectors, see `trainer.snapshot`."""

    TYPE_NAME = "ModelSnapshot"


class Baseline(Artifact):
    """The last blessed model and the statistics of its data, see `tfx_pipeline.blessed`; empty where there is none."""

    TYPE_NAME = "Baseline"
