"""RetrievalEvaluator: scores the candidate, and blesses it or refuses it."""

from typing import Any, ClassVar

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from serving.config import ServingConfig
from tfx_pipeline.artifacts import (
    MODEL,
    SERVING_MODEL,
    Baseline,
    CoEngagementExamples,
    ModelSnapshot,
    RetrievalEvaluation,
    TrainedModel,
)
from tfx_pipeline.components.blessing import write_blessing
from tfx_pipeline.components.files import Artifacts, readable, writable
from tfx_pipeline.components.parameters import from_json, output_channels
from trainer.config import EvaluateConfig, GateConfig


class RetrievalEvaluatorSpec(ComponentSpec):
    """Three parts of the configuration: how models are scored, what they have to reach, how they are served."""

    PARAMETERS: ClassVar[dict[str, Any]] = {
        "evaluate": ExecutionParameter(type=str),
        "gate": ExecutionParameter(type=str),
        "serving": ExecutionParameter(type=str),
        "code": ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, Any]] = {
        "examples": ChannelParameter(type=CoEngagementExamples),
        "trained_model": ChannelParameter(type=TrainedModel),
        "model": ChannelParameter(type=standard_artifacts.Model),
        "baseline": ChannelParameter(type=Baseline),
    }
    OUTPUTS: ClassVar[dict[str, Any]] = {
        "evaluation": ChannelParameter(type=RetrievalEvaluation),
        "snapshot": ChannelParameter(type=ModelSnapshot),
        "blessing": ChannelParameter(type=standard_artifacts.ModelBlessing),
    }


class Executor(BaseExecutor):
    """Wraps `tfx_pipeline.evaluation.evaluate_candidate`."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:  # noqa: N802
        """Scores and judges; a refusal is a result, not a failure."""
        from tfx_pipeline.evaluation import evaluate_candidate

        with (
            readable(input_dict, "examples") as examples,
            readable(input_dict, "trained_model") as trained,
            readable(input_dict, "model") as model,
            readable(input_dict, "baseline") as baseline,
            writable(output_dict, "evaluation") as evaluation,
            writable(output_dict, "snapshot") as snapshot,
        ):
            verdict = evaluate_candidate(
                examples=examples,
                trained=trained / MODEL,
                version=model / SERVING_MODEL,
                baseline=baseline,
                output=evaluation,
                snapshot=snapshot,
                evaluation=from_json(EvaluateConfig, exec_properties["evaluate"]),
                gate=from_json(GateConfig, exec_properties["gate"]),
                serving=from_json(ServingConfig, exec_properties["serving"]),
            )
            write_blessing(output_dict, "blessing", verdict)


class RetrievalEvaluator(BaseComponent):
    """Judges a model; outputs ``evaluation``, ``snapshot`` and ``blessing``."""

    SPEC_CLASS = RetrievalEvaluatorSpec
    EXECUTOR_SPEC = ExecutorClassSpec(Executor)

    def __init__(self, *, evaluate: str, gate: str, serving: str, code: str, **channels: Any) -> None:
        """Takes parameters, and the channels of `RetrievalEvaluatorSpec.INPUTS`."""
        super().__init__(
            RetrievalEvaluatorSpec(
                evaluate=evaluate,
                gate=gate,
                serving=serving,
                code=code,
                **channels,
                **output_channels(RetrievalEvaluatorSpec),
            )
        )
