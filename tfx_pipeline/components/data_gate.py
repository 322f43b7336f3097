"""DataGate: nothing is trained on data that break the schema or have drifted from the last blessed span's."""

from typing import Any, ClassVar

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from preprocessing.config import DataGateConfig
from tfx_pipeline.artifacts import Baseline, DataBlessing, ExamplesManifest
from tfx_pipeline.components.files import Artifacts, readable, writable
from tfx_pipeline.components.parameters import from_json, output_channels


class DataGateSpec(ComponentSpec):
    """Both branches of the data meet here."""

    PARAMETERS: ClassVar[dict[str, Any]] = {
        "config": ExecutionParameter(type=str),
        "code": ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, Any]] = {
        "items_statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "items_schema": ChannelParameter(type=standard_artifacts.Schema),
        "items_anomalies": ChannelParameter(type=standard_artifacts.ExampleAnomalies),
        "pairs_statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "pairs_schema": ChannelParameter(type=standard_artifacts.Schema),
        "pairs_anomalies": ChannelParameter(type=standard_artifacts.ExampleAnomalies),
        "manifest": ChannelParameter(type=ExamplesManifest),
        "baseline": ChannelParameter(type=Baseline),
    }
    OUTPUTS: ClassVar[dict[str, Any]] = {"blessing": ChannelParameter(type=DataBlessing)}


class Executor(BaseExecutor):
    """Wraps `tfx_pipeline.data_gate.check_data`."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:  # noqa: N802
        """Fails the run where the data are not fit to train on."""
        from contextlib import ExitStack

        from tfx_pipeline.data_gate import check_data, read_branch, read_span

        with ExitStack() as stack:
            directories = {key: stack.enter_context(readable(input_dict, key)) for key in DataGateSpec.INPUTS}
            span = read_span(
                items=read_branch(directories, "items"),
                pairs=read_branch(directories, "pairs"),
                manifest=directories["manifest"],
            )
            verdict = check_data(span, directories["baseline"], from_json(DataGateConfig, exec_properties["config"]))
            with writable(output_dict, "blessing") as place:
                verdict.save(place)
        verdict.require()


class DataGate(BaseComponent):
    """Checks the data; output ``blessing``, only where they pass."""

    SPEC_CLASS = DataGateSpec
    EXECUTOR_SPEC = ExecutorClassSpec(Executor)

    def __init__(self, *, config: str, code: str, **channels: Any) -> None:
        """Takes its configuration as JSON, the code's version, and the channels of `DataGateSpec.INPUTS`."""
        super().__init__(DataGateSpec(config=config, code=code, **channels, **output_channels(DataGateSpec)))
