"""IndexBuilder: embeds the catalogue, builds the index and saves all as one SavedModel, or as one of each flavour."""

import shutil
from typing import Any, ClassVar

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from serving.config import ServingConfig
from tfx_pipeline.artifacts import MODEL, SERVING_MODEL, CoEngagementExamples, TrainedModel
from tfx_pipeline.components.files import Artifacts, readable, writable
from tfx_pipeline.components.parameters import from_json, output_channels


class IndexBuilderSpec(ComponentSpec):
    """``name`` is what the model is called where it is served."""

    PARAMETERS: ClassVar[dict[str, Any]] = {
        "name": ExecutionParameter(type=str),
        "config": ExecutionParameter(type=str),
        "code": ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, Any]] = {
        "examples": ChannelParameter(type=CoEngagementExamples),
        "trained_model": ChannelParameter(type=TrainedModel),
    }
    OUTPUTS: ClassVar[dict[str, Any]] = {"model": ChannelParameter(type=standard_artifacts.Model)}


class Executor(BaseExecutor):
    """Wraps `serving.export.build_version`."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:  # noqa: N802
        """Builds the version where TFX's components look for a serving model."""
        from serving.export import build_version

        config = from_json(ServingConfig, exec_properties["config"])
        with (
            readable(input_dict, "examples") as examples,
            readable(input_dict, "trained_model") as trained,
            writable(output_dict, "model") as place,
        ):
            version = place / SERVING_MODEL
            shutil.rmtree(version, ignore_errors=True)
            build_version(examples, trained / MODEL, version, exec_properties["name"], config)


class IndexBuilder(BaseComponent):
    """Builds what is served; output ``model``."""

    SPEC_CLASS = IndexBuilderSpec
    EXECUTOR_SPEC = ExecutorClassSpec(Executor)

    def __init__(self, *, examples: Any, trained_model: Any, name: str, config: str, code: str) -> None:
        """Takes channels and parameters."""
        super().__init__(
            IndexBuilderSpec(
                examples=examples,
                trained_model=trained_model,
                name=name,
                config=config,
                code=code,
                **output_channels(IndexBuilderSpec),
            )
        )
