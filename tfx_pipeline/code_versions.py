"""Which code each component runs: a change there, and only there, runs it again.

A step that reads what an earlier one has written depends on the packages that its own work runs, not on those that made
its inputs: these it sees as new artifacts.
"""

from preprocessing.sources_hash import code_version
from serving.sources import SERVING_SOURCES
from trainer.sources import TRAINER_SOURCES

_WRAPPERS = "tfx_pipeline.components"


def _version(component: str, *parts: str) -> str:
    return code_version(*parts, f"{_WRAPPERS}.{component}")


class CodeVersions:
    """Versions of the code of each component."""

    def __init__(self) -> None:
        """Hashes the sources."""
        self.preprocess = _version("preprocess", "preprocessing")
        self.data_gate = _version("data_gate", "tfx_pipeline.data_gate", "tfx_pipeline.blessed")
        self.transform = code_version("tfx_pipeline.item_features", "preprocessing.transform")
        self.trainer = _version("trainer", *TRAINER_SOURCES)
        self.index_builder = _version("index_builder", *SERVING_SOURCES)
        self.evaluator = _version(
            "retrieval_evaluator",
            "tfx_pipeline.evaluation",
            "tfx_pipeline.scoring",
            "trainer.gate",
            "trainer.snapshot",
            "trainer.evaluate",
            "trainer.metrics",
            "trainer.statistics",
            "trainer.bootstrap",
        )
        self.serving_validator = _version("serving_validator", "serving")
        self.pusher = _version(
            "pusher",
            "serving.flavours",
            "serving.push",
            "serving.local_shelf",
            "serving.bucket_shelf",
            "serving.version_manifest",
            "serving.stores",
            "tfx_pipeline.blessed",
            "tfx_pipeline.kept",
        )
