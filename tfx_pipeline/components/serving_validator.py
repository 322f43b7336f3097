"""ServingValidator: the candidate in a server of its own, before anything is pushed."""

from typing import Any, ClassVar

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from serving.config import ValidatorConfig
from tfx_pipeline.artifacts import SERVING_MODEL, ModelSnapshot
from tfx_pipeline.components.blessing import is_blessed, write_blessing
from tfx_pipeline.components.files import Artifacts, only, readable
from tfx_pipeline.components.parameters import from_json, output_channels
from tfx_pipeline.kept import UNSEEN
from tfx_pipeline.verdict import Verdict


class ServingValidatorSpec(ComponentSpec):
    """A model that was refused already isn't served at all."""

    PARAMETERS: ClassVar[dict[str, Any]] = {
        "config": ExecutionParameter(type=str),
        "seed": ExecutionParameter(type=int),
        "code": ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, Any]] = {
        "model": ChannelParameter(type=standard_artifacts.Model),
        "snapshot": ChannelParameter(type=ModelSnapshot),
        "model_blessing": ChannelParameter(type=standard_artifacts.ModelBlessing),
    }
    OUTPUTS: ClassVar[dict[str, Any]] = {"blessing": ChannelParameter(type=standard_artifacts.InfraBlessing)}


class Executor(BaseExecutor):
    """Wraps `serving.validator.validate_all`."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:  # noqa: N802
        """Blesses or refuses; a crash of the candidate is a refusal."""
        from serving.export import stock_place
        from serving.flavours import SCANN, STOCK
        from serving.validator import Expected, validate_all
        from trainer.snapshot import load_snapshot

        if not is_blessed(only(input_dict, "model_blessing")):
            reason = "not looked at, for the RetrievalEvaluator has refused the model"
            write_blessing(
                output_dict, "blessing", Verdict("ServingValidator", "the version", (reason,), {UNSEEN: True})
            )
            return
        with readable(input_dict, "model") as model, readable(input_dict, "snapshot") as frozen:
            snapshot = load_snapshot(frozen)
            version = model / SERVING_MODEL
            found = validate_all(
                {SCANN: version, STOCK: stock_place(version)},
                Expected(
                    snapshot.ids,
                    snapshot.vectors.engagement_trigger,
                    snapshot.vectors.engagement_candidate,
                    snapshot.vectors.relevance,
                    snapshot.relevance_weight,
                ),
                from_json(ValidatorConfig, exec_properties["config"]),
                int(exec_properties["seed"]),
            )
        verdict = Verdict("ServingValidator", "the version", found.reasons, found.figures)
        write_blessing(output_dict, "blessing", verdict)


class ServingValidator(BaseComponent):
    """Validates what will be served; output ``blessing``."""

    SPEC_CLASS = ServingValidatorSpec
    EXECUTOR_SPEC = ExecutorClassSpec(Executor)

    def __init__(self, *, config: str, seed: int, code: str, **channels: Any) -> None:
        """Takes parameters, and the channels of `ServingValidatorSpec.INPUTS`."""
        super().__init__(
            ServingValidatorSpec(
                config=config, seed=seed, code=code, **channels, **output_channels(ServingValidatorSpec)
            )
        )
