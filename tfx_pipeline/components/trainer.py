"""Trainer: trains on the examples and leaves weights, TensorBoard logs and checkpoints.

TFX's own Trainer takes one channel of examples and runs user code by its name. This one takes what MTMH learns from as
channels and the options as parameters, of which those that are tuned most stand alone, so that a scheduled run can
change them.
"""

import contextlib
import dataclasses
import hashlib
import json
import logging
import shutil
from pathlib import Path
from typing import Any, ClassVar, Final

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from preprocessing.files import is_local
from preprocessing.options import check_options
from preprocessing.schema import MANIFEST
from tfx_pipeline.artifacts import CHECKPOINTS, LOGS, MODEL, Baseline, CoEngagementExamples, TrainedModel
from tfx_pipeline.components.files import Artifacts, link_tree, only, readable, writable
from tfx_pipeline.components.parameters import from_json, output_channels
from trainer.base import Base
from trainer.config import TrainingConfig

UNFINISHED: Final = "unfinished"
"""Beside the outputs of the component: a training that goes on when the same one is asked for again."""

logger = logging.getLogger("mtmh.trainer")


class TrainerSpec(ComponentSpec):
    """``config`` is a `TrainingConfig`; the parameters after it, if given, stand in place of what it says."""

    PARAMETERS: ClassVar[dict[str, Any]] = {
        "config": ExecutionParameter(type=str),
        "relevance": ExecutionParameter(type=float),
        "epochs": ExecutionParameter(type=int),
        "learning_rate": ExecutionParameter(type=float),
        "code": ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, Any]] = {
        "examples": ChannelParameter(type=CoEngagementExamples),
        "transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph),
        "base": ChannelParameter(type=Baseline, optional=True),
    }
    OUTPUTS: ClassVar[dict[str, Any]] = {
        "model": ChannelParameter(type=TrainedModel),
        "model_run": ChannelParameter(type=standard_artifacts.ModelRun),
    }


def training_config(exec_properties: dict[str, Any]) -> TrainingConfig:
    """The configuration with the parameters that stand alone put into it.

    Raises:
      UserError: one of them, which a cluster's page admits as it is, is out of bounds.
    """
    config = from_json(TrainingConfig, exec_properties["config"])
    config = dataclasses.replace(
        config,
        loss=dataclasses.replace(config.loss, relevance=float(exec_properties["relevance"])),
        trainer=dataclasses.replace(
            config.trainer,
            epochs=int(exec_properties["epochs"]),
            learning_rate=float(exec_properties["learning_rate"]),
        ),
    )
    check_options(config)
    return config


class Executor(BaseExecutor):
    """Wraps `trainer.train.train`; where it is to start warm, ``base`` is the record to begin with."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:  # noqa: N802
        """Trains, or goes on with a training of the same options, examples and code that was cut off."""
        from tfx_pipeline.blessed import warm_start_base
        from tfx_pipeline.item_features import check_transform
        from trainer.train import train

        config = training_config(exec_properties)
        with (
            readable(input_dict, "examples") as examples,
            readable(input_dict, "transform_graph") as graph,
            writable(output_dict, "model") as model,
            writable(output_dict, "model_run") as run,
            readable(input_dict, "base") if input_dict.get("base") else contextlib.nullcontext() as record,
        ):
            check_transform(graph, examples, config.model)
            base = warm_start_base(record) if record else None
            work = self._work(output_dict, run, examples, exec_properties, base)
            if (work / CHECKPOINTS).is_dir():
                logger.info("going on with the training in %s", work)
            train(examples, work, config, resume=True, or_anew=True, base=base)
            link_tree(work / MODEL, model / MODEL)
            for name in (LOGS, CHECKPOINTS):
                if work != run and (work / name).is_dir():
                    link_tree(work / name, run / name)
            if work != run:
                shutil.rmtree(work)

    def _work(
        self,
        output_dict: Artifacts,
        run: Path,
        examples: Path,
        exec_properties: dict[str, Any],
        base: Base | None = None,
    ) -> Path:
        """The directory to train in: on this machine one that a later execution of the same training finds."""
        uri = str(only(output_dict, "model_run").uri)
        if not is_local(uri):
            return run
        identity = hashlib.sha256(json.dumps(exec_properties, sort_keys=True, default=str).encode())
        identity.update((examples / MANIFEST).read_bytes())
        if base is not None:
            identity.update(base.digest.encode())
        place = Path(uri).parents[1] / UNFINISHED
        work = place / identity.hexdigest()[:16]
        for other in place.glob("*"):
            if other != work:
                shutil.rmtree(other, ignore_errors=True)
        work.mkdir(parents=True, exist_ok=True)
        return work


class Trainer(BaseComponent):
    """Trains a model; outputs ``model`` and ``model_run``, which holds logs and checkpoints."""

    SPEC_CLASS = TrainerSpec
    EXECUTOR_SPEC = ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        examples: Any,
        transform_graph: Any,
        config: str,
        relevance: Any,
        epochs: Any,
        learning_rate: Any,
        code: str,
        base: Any = None,
    ) -> None:
        """Takes channels and parameters; ``relevance`` (λ), ``epochs``, ``learning_rate`` may be RuntimeParameters."""
        super().__init__(
            TrainerSpec(
                examples=examples,
                transform_graph=transform_graph,
                base=base,
                config=config,
                relevance=relevance,
                epochs=epochs,
                learning_rate=learning_rate,
                code=code,
                **output_channels(TrainerSpec),
            )
        )
