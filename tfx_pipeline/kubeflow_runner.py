"""Compiles the pipeline for Kubeflow Pipelines v2, and submits it.

``python -m tfx_pipeline.kubeflow_runner --output mtmh.yaml`` writes the specification: the very DAG of ``mtmh run``,
with what differs from run to run as runtime parameters. TFX's runner writes a PipelineJob, which kfp's loader refuses;
the specification in it is what goes into the file, with what TFX has no words for (retries, secrets, defaults of
parameters) added.
"""

import argparse
import dataclasses
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from preprocessing.errors import UserError
from tfx_pipeline.config import RunConfig, load_config
from tfx_pipeline.kubeflow_config import KubeflowConfig, beam_options, environment, gigabytes, secrets
from tfx_pipeline.kubeflow_executor import COMMAND
from tfx_pipeline.kubeflow_submit import schedule, submit
from tfx_pipeline.typed_yaml import keys_of

TRAINER: Final = "Trainer"
_NEVER_CACHED: Final = ("ServingValidator", "Pusher")
"""What a cache can't know: whether a server was refused by chance, and what is served now."""
_OPTIONS: Final = {
    "relevance": "loss.relevance",
    "epochs": "trainer.epochs",
    "learning_rate": "trainer.learning_rate",
}
"""Options whose values runtime parameters may replace."""
_LONGEST_WAIT: Final = 3600
_HEADER: Final = """# MTMH on Kubeflow Pipelines v2, compiled by `python -m tfx_pipeline.kubeflow_runner`.
# Runtime parameters stand under root.inputDefinitions.parameters.
"""


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A runtime parameter: what it is called, its kind, and its value where a run names none."""

    name: str
    kind: type
    default: str | int | float


@dataclasses.dataclass(frozen=True)
class Compiled:
    """The two documents of a compiled pipeline.

    Attributes:
      spec: the KFP ``PipelineSpec``.
      platform: the ``PlatformSpec``: what only Kubernetes knows, such as secrets.
    """

    spec: dict[str, Any]
    platform: dict[str, Any]

    def to_yaml(self) -> str:
        """As kfp reads it."""
        documents = [self.spec, self.platform] if self.platform else [self.spec]
        return _HEADER + yaml.safe_dump_all(documents, sort_keys=True, width=120)


def parameters(config: RunConfig) -> tuple[Parameter, ...]:
    """What a run may say, with defaults from the configuration."""
    root = config.kubeflow.pipeline_root.rstrip("/")
    store = f"{root}/blessed"
    identity = hashlib.sha256(repr(config).encode("utf-8")).hexdigest()[:16]
    return (
        Parameter("interactions", str, f"{root}/input/interactions.csv"),
        Parameter("items", str, f"{root}/input/items.csv"),
        Parameter("annotations", str, ""),
        Parameter("fingerprint", str, ""),
        Parameter("data_baseline", str, f"{store}/latest"),
        Parameter("model_baseline", str, f"{store}/latest"),
        Parameter("destination", str, f"{root}/serving/mtmh"),
        Parameter("store", str, store),
        Parameter("data_identity", str, identity),
        Parameter("model_identity", str, identity),
        Parameter("training_identity", str, identity),
        *([Parameter("base", str, f"{store}/latest")] if config.trainer.warm_start else []),
        Parameter("relevance", float, float(config.loss.relevance)),
        Parameter("epochs", int, config.trainer.epochs),
        Parameter("learning_rate", float, float(config.trainer.learning_rate)),
    )


def compile_pipeline(config: RunConfig) -> Compiled:
    """The pipeline as Kubeflow reads it.

    Raises:
      UserError: an option of ``kubeflow`` is not understood, or asks for what Kubeflow does not do.
    """
    from preprocessing.backend import tf  # noqa: F401 before TFX imports TensorFlow in a flavour of its own

    # isort: split
    from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner

    cluster = config.kubeflow
    pipeline = _pipeline(config)
    runner = kubeflow_v2_dag_runner.KubeflowV2DagRunner(
        kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
            default_image=cluster.image, default_commands=list(COMMAND), use_pipeline_spec_2_1=True
        )
    )
    spec = runner.run(pipeline, write_out=False)["pipelineSpec"]
    spec["defaultPipelineRoot"] = cluster.pipeline_root
    declared = spec["root"]["inputDefinitions"]["parameters"]
    for parameter in parameters(config):
        declared[parameter.name] |= {"defaultValue": parameter.default, "isOptional": True}
    containers = {
        label: executor["container"]
        for label, executor in spec["deploymentSpec"]["executors"].items()
        if "container" in executor
    }
    variables = environment(cluster)
    for container in containers.values():
        if variables:
            container["env"] = [{"name": name, "value": value} for name, value in variables.items()]
    tasks = spec["root"]["dag"]["tasks"]
    for name in _NEVER_CACHED:
        tasks[name]["cachingOptions"] = {"enableCache": False}
    if cluster.retries:
        for task in tasks.values():
            if spec["components"][task["componentRef"]["name"]]["executorLabel"] in containers:
                task["retryPolicy"] = {
                    "maxRetryCount": cluster.retries,
                    "backoffDuration": f"{cluster.retry_seconds}s",
                    "backoffFactor": 2.0,
                    "backoffMaxDuration": f"{_LONGEST_WAIT}s",
                }
    return Compiled(spec, _platform(cluster, sorted(containers)))


def _pipeline(config: RunConfig) -> Any:
    """The DAG, with runtime parameters and resources."""
    from tfx.dsl.components.base.base_component import BaseComponent
    from tfx.orchestration.data_types import RuntimeParameter

    from tfx_pipeline.pipeline import Settings, create_pipeline

    cluster = config.kubeflow
    if config.validator.tf_serving_image:
        raise UserError(
            "`validator.tf_serving_image` asks for TFX's InfraValidator, which does not run on Kubeflow Pipelines v2; "
            "leave it out: ServingValidator loads the candidate in the embedded server"
        )
    values = {
        parameter.name: RuntimeParameter(parameter.name, parameter.kind, parameter.default)
        for parameter in parameters(config)
    }
    settings = Settings(
        config=config,
        root=cluster.pipeline_root,
        beam_args=beam_options(cluster.beam_options),
        cache=cluster.cache,
        **values,
    )
    pipeline = create_pipeline(settings)
    for node in pipeline.components:
        if isinstance(node, BaseComponent):
            node.with_platform_config(_resources(cluster, trains=node.id == TRAINER))
    return pipeline


def _resources(cluster: KubeflowConfig, *, trains: bool) -> Any:
    from kfp.pipeline_spec import pipeline_spec_pb2

    resources = pipeline_spec_pb2.PipelineDeploymentConfig.PipelineContainerSpec.ResourceSpec(
        cpu_limit=cluster.trainer_cpu if trains else cluster.cpu,
        memory_limit=gigabytes(cluster.trainer_memory, "trainer_memory")
        if trains
        else gigabytes(cluster.memory, "memory"),
    )
    if trains and cluster.trainer_gpus:
        resources.accelerator.type = cluster.trainer_gpu_type
        resources.accelerator.count = cluster.trainer_gpus
    return resources


def _platform(cluster: KubeflowConfig, labels: Sequence[str]) -> dict[str, Any]:
    """Secrets of every step, as kfp-kubernetes would write them."""
    wanted = [
        {"secretName": each.secret, "keyToEnv": [{"secretKey": each.key, "envVar": each.variable}]}
        for each in secrets(cluster)
    ]
    if not wanted:
        return {}
    executors = {label: {"secretAsEnv": wanted} for label in labels}
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}


def read_arguments(config: RunConfig, given: Sequence[str]) -> dict[str, Any]:
    """Runtime parameters from ``NAME=VALUE``.

    Raises:
      UserError: there is no such parameter, or the value is of another kind or out of its option's bounds.
    """
    known = {parameter.name: parameter for parameter in parameters(config)}
    values: dict[str, Any] = {}
    for entry in given:
        name, equals, text = entry.partition("=")
        if not equals or name not in known:
            raise UserError(f"--parameter {entry}: expected NAME=VALUE with one of {', '.join(known)}")
        try:
            values[name] = known[name].kind(text)
        except ValueError:
            raise UserError(f"--parameter {entry}: expected a value of kind {known[name].kind.__name__}") from None
        key = keys_of(RunConfig).get(_OPTIONS.get(name, ""))
        if key is not None and not key.admits(values[name]):
            raise UserError(f"--parameter {entry}: expected {key.expected}")
    return values


def main(argv: Sequence[str] | None = None) -> int:
    """Compiles, and submits where asked to; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tfx_pipeline.kubeflow_runner", description="Compiles the pipeline for Kubeflow Pipelines v2."
    )
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="the specification, YAML")
    parser.add_argument("--config", metavar="FILE", help="YAML configuration; by default all defaults")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="one option")
    parser.add_argument("--submit", metavar="HOST", help="start a run there, such as http://localhost:8888")
    parser.add_argument(
        "--schedule",
        metavar="CRON",
        help="with --submit: a recurring run instead, in six fields; '0 0 3 * * *' is every night at three",
    )
    parser.add_argument("--experiment", metavar="NAME", help="the experiment of the run")
    parser.add_argument(
        "--parameter",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a runtime parameter of what --submit starts; may be repeated",
    )
    arguments = parser.parse_args(argv)
    if arguments.schedule and not arguments.submit:
        parser.error("--schedule needs --submit HOST")
    try:
        config = load_config(arguments.config, arguments.overrides)
        values = read_arguments(config, arguments.parameter)
        compiled = compile_pipeline(config)
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(compiled.to_yaml(), encoding="utf-8")
        print(arguments.output)
        to = (arguments.output, arguments.submit, config.kubeflow, values)
        if arguments.schedule:
            print(f"recurring run {schedule(*to, arguments.schedule, arguments.experiment)}")
        elif arguments.submit:
            print(f"run {submit(*to, arguments.experiment)}")
    except UserError as error:
        print(f"mtmh: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"mtmh: error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
