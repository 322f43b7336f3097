"""Typed artifacts of the pipeline, besides TFX's own.

Names of the files and directories below an artifact's URI are constants here. Kubeflow knows a type by its name, which
has to be of the form ``prefix.Name``, and admits no properties of its own; custom properties stand for these.
"""

from typing import Final

from tfx.types.artifact import Artifact

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
LAYOUT_VERSION: Final = "layout_version"
"""Property of `CoEngagementExamples`."""
DEAD_ROWS: Final = "rows"
"""Property of `DeadLetters`: how many."""
METRICS: Final = "metrics.json"
"""Below a `RetrievalEvaluation`, beside the verdict."""


class CoEngagementExamples(Artifact):
    """A whole output of the preprocessing, in the layout of `preprocessing.schema`."""

    TYPE_NAME = "mtmh.CoEngagementExamples"


class ExamplesManifest(Artifact):
    """The preprocessing's ``manifest.json`` alone: counts, split, hashes."""

    TYPE_NAME = "mtmh.ExamplesManifest"


class DeadLetters(Artifact):
    """Rows that could not be used, with the reason: ``*.jsonl``."""

    TYPE_NAME = "mtmh.DeadLetters"


class DataBlessing(Artifact):
    """What the DataGate found: ``verdict.json``. It exists only for data that passed."""

    TYPE_NAME = "mtmh.DataBlessing"


class TrainedModel(Artifact):
    """Weights and description of a trained model, see `trainer.artefact`."""

    TYPE_NAME = "mtmh.TrainedModel"


class RetrievalEvaluation(Artifact):
    """``metrics.json`` and ``verdict.json`` of a candidate, and the same as TensorBoard logs."""

    TYPE_NAME = "mtmh.RetrievalEvaluation"


class ModelSnapshot(Artifact):
    """How a model answers, frozen: item ids and vectors, see `trainer.snapshot`."""

    TYPE_NAME = "mtmh.ModelSnapshot"


class Baseline(Artifact):
    """The last blessed model and the statistics of its data, see `tfx_pipeline.blessed`; empty where there is none."""

    TYPE_NAME = "mtmh.Baseline"


def register_titles() -> None:
    """Tells TFX's executor entry point on Kubeflow, which knows types by their names, where ours are."""
    from tfx.orchestration.kubeflow.v2 import compiler_utils

    for kind in Artifact.__subclasses__():
        if kind.__module__ == __name__:
            compiler_utils.TITLE_TO_CLASS_PATH[kind.TYPE_NAME] = f"{__name__}.{kind.__name__}"
