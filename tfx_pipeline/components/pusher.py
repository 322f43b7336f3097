"""Pusher: publishes a version that all gates have blessed, and records it as what later runs compare with."""

import logging
from typing import Any, ClassVar, Final

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from preprocessing.schema import MANIFEST
from tfx_pipeline import blessed
from tfx_pipeline.artifacts import MODEL, SERVING_MODEL, ExamplesManifest, ModelSnapshot, TrainedModel
from tfx_pipeline.components.blessing import is_blessed
from tfx_pipeline.components.files import Artifacts, only, readable, writable
from tfx_pipeline.components.parameters import from_json, output_channels
from tfx_pipeline.kept import Place, save_places

PUSHED: Final = "pushed"
"""Property of a PushedModel: 1 where it was pushed, 0 where a gate refused."""
DESTINATION: Final = "pushed_destination"
VERSION: Final = "pushed_version"

logger = logging.getLogger("mtmh.push")


class PusherSpec(ComponentSpec):
    """``destination`` is the directory of versions, ``store`` that of `tfx_pipeline.blessed`, both perhaps in a bucket.

    ``config`` is a `serving.config.PushConfig` as JSON.
    """

    PARAMETERS: ClassVar[dict[str, Any]] = {
        "destination": ExecutionParameter(type=str),
        "store": ExecutionParameter(type=str),
        "data_identity": ExecutionParameter(type=str),
        "model_identity": ExecutionParameter(type=str),
        "training_identity": ExecutionParameter(type=str),
        "config": ExecutionParameter(type=str),
        "code": ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, Any]] = {
        "model": ChannelParameter(type=standard_artifacts.Model),
        "model_blessing": ChannelParameter(type=standard_artifacts.ModelBlessing),
        "serving_blessing": ChannelParameter(type=standard_artifacts.InfraBlessing),
        "infra_blessing": ChannelParameter(type=standard_artifacts.InfraBlessing, optional=True),
        "trained_model": ChannelParameter(type=TrainedModel),
        "snapshot": ChannelParameter(type=ModelSnapshot),
        "items_statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "pairs_statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "manifest": ChannelParameter(type=ExamplesManifest),
    }
    OUTPUTS: ClassVar[dict[str, Any]] = {"pushed_model": ChannelParameter(type=standard_artifacts.PushedModel)}


class Executor(BaseExecutor):
    """Wraps `serving.push` and `tfx_pipeline.blessed.record`."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:  # noqa: N802
        """Pushes, or says that nothing is pushed."""
        from serving.config import PushConfig
        from serving.flavours import STOCK, base_of
        from serving.push import push

        pushed = only(output_dict, "pushed_model")
        pushed.set_int_custom_property(PUSHED, 0)
        for key in ("model_blessing", "serving_blessing", "infra_blessing"):
            if input_dict.get(key) and not is_blessed(only(input_dict, key)):
                logger.info("nothing is pushed: %s does not bless the model", key)
                return
        config, destination = from_json(PushConfig, exec_properties["config"]), exec_properties["destination"]
        keep, protect = config.keep_versions, config.protect_versions
        with readable(input_dict, "model") as model:
            version = model / SERVING_MODEL
            stock = model / base_of(STOCK, SERVING_MODEL)
            places = []
            if stock.is_dir():  # before the main one: once that is there, all is
                base = base_of(STOCK, destination)
                beside = push(stock, base, keep, protect=protect)
                places.append(Place(base, beside.version, beside.digest))
            target = push(version, destination, keep, protect=protect)
        self._record(input_dict, exec_properties, target.version, target.digest)
        with writable(output_dict, "pushed_model") as place:
            save_places([Place(destination, target.version, target.digest), *places], place)
        pushed.set_int_custom_property(PUSHED, 1)
        pushed.set_string_custom_property(DESTINATION, target.path)
        pushed.set_string_custom_property(VERSION, str(target.version))

    def _record(self, input_dict: Artifacts, exec_properties: dict[str, Any], version: int, digest: str) -> None:
        with (
            readable(input_dict, "trained_model") as trained,
            readable(input_dict, "snapshot") as snapshot,
            readable(input_dict, "items_statistics") as items,
            readable(input_dict, "pairs_statistics") as pairs,
            readable(input_dict, "manifest") as manifest,
        ):
            blessed.record(
                exec_properties["store"],
                version,
                {name: exec_properties[f"{name}_identity"] for name in ("data", "model", "training")},
                {
                    blessed.MODEL: trained / MODEL,
                    blessed.SNAPSHOT: snapshot,
                    f"{blessed.STATISTICS}/items": items,
                    f"{blessed.STATISTICS}/pairs": pairs,
                    MANIFEST: manifest / MANIFEST,
                },
                served=blessed.lineage(exec_properties["destination"]),
                digest=digest,
            )


class Pusher(BaseComponent):
    """Pushes a blessed version; output ``pushed_model``."""

    SPEC_CLASS = PusherSpec
    EXECUTOR_SPEC = ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        destination: Any,
        store: Any,
        data_identity: Any,
        model_identity: Any,
        training_identity: Any,
        config: str,
        code: str,
        **channels: Any,
    ) -> None:
        """Takes parameters, all but the last two perhaps RuntimeParameters, and the channels of `PusherSpec`."""
        super().__init__(
            PusherSpec(
                destination=destination,
                store=store,
                data_identity=data_identity,
                model_identity=model_identity,
                training_identity=training_identity,
                config=config,
                code=code,
                **channels,
                **output_channels(PusherSpec),
            )
        )
