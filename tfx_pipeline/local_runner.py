"""Runs the pipeline on this machine: LocalDagRunner's loop, with a word on each step and on why it runs.

Metadata are in SQLite. A step whose inputs, parameters and code are those of an earlier execution is taken from there.
"""

import contextlib
import dataclasses
import datetime
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.portable import data_types, launcher, runtime_parameter_utils
from tfx.orchestration.portable.mlmd import execution_lib

from preprocessing.errors import UserError
from tfx_pipeline.kept import remove
from tfx_pipeline.metadata_faults import explained
from tfx_pipeline.run_reasons import reasons

logger = logging.getLogger("mtmh.run")

Outputs = Mapping[str, Any]
"""Output artifacts of a step by channel, one each."""
_DONE: Final = (metadata_store_pb2.Execution.COMPLETE, metadata_store_pb2.Execution.CACHED)
_NODE_CONTEXT: Final = "node"
_SILENT: Final = ("CuratedSchema", "Importer")
"""Kinds of steps that are none of a person's business while they work."""
_KEPT: Final = 3
"""Executions of a step whose outputs are kept besides those in use."""


@dataclasses.dataclass(frozen=True)
class Step:
    """What became of a step: ``ran`` or was kept, how long it took, what it left; ``silent`` ones are not told of."""

    node: str
    ran: bool
    seconds: float
    outputs: Outputs
    silent: bool = False


class LocalRunner(LocalDagRunner):
    """LocalDagRunner that tells what it does."""

    def __init__(self, on_step: Callable[[Step], None]) -> None:
        """``on_step`` is called after each step."""
        super().__init__()
        self._on_step = on_step
        self.steps: list[Step] = []

    def run_with_ir(self, pipeline: Any, run_options: Any = None) -> None:
        """Runs a compiled pipeline, step by step in their order.

        Raises:
          UserError: a step is at fault, or the metadata can't be read or written.
        """
        runtime_parameter_utils.substitute_runtime_parameter(
            pipeline, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: datetime.datetime.now().isoformat()}
        )
        deployment = runner_utils.extract_local_deployment_config(pipeline)
        connection = getattr(
            deployment.metadata_connection_config, deployment.metadata_connection_config.WhichOneof("connection_config")
        )
        root = Path(pipeline.runtime_spec.pipeline_root.field_value.string_value)
        with explained(root):
            with metadata.Metadata(connection) as handle:
                _require_own(handle.store, root)
                _sweep(handle.store, root)
            try:
                for node in pipeline.nodes:
                    step = self._run_node(pipeline, node.pipeline_node, deployment, connection)
                    self.steps.append(step)
                    self._on_step(step)
            finally:  # a run that fails leaves outputs too, night after night
                _prune(root, self.steps)

    def _run_node(self, pipeline: Any, node: Any, deployment: Any, connection: Any) -> Step:
        name = node.node_info.id
        started = time.monotonic()
        launched = _TellingLauncher(
            pipeline_node=node,
            mlmd_connection=metadata.Metadata(connection),
            pipeline_info=pipeline.pipeline_info,
            pipeline_runtime_spec=pipeline.runtime_spec,
            executor_spec=runner_utils.extract_executor_spec(deployment, name),
            custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, name),
        )
        info = launched.launch()
        seconds = time.monotonic() - started
        if info is None or not info.execution_id:
            raise RuntimeError(f"{name} could not be started: its inputs were not found")
        if launched.ran:
            logger.info("%s: done in %.1f s", name, seconds)
        elif not _is_silent(node):
            logger.info("%s: kept, nothing that it depends on has changed", name)
        with metadata.Metadata(connection) as handle:
            found = execution_lib.get_output_artifacts(handle, info.execution_id)
        outputs = {key: artifacts[0] for key, artifacts in found.items() if artifacts}
        return Step(name, launched.ran, seconds, outputs, _is_silent(node))


class _TellingLauncher(launcher.Launcher):
    """Says why a step runs, when it is about to."""

    ran = False

    def _run_executor(self, execution_info: data_types.ExecutionInfo) -> Any:
        self.ran = True
        if not _is_silent(self._pipeline_node):
            logger.info("%s: runs, for %s", self._pipeline_node.node_info.id, self._why(execution_info))
        return super()._run_executor(execution_info)

    def _why(self, info: data_types.ExecutionInfo) -> str:
        node = self._pipeline_node.node_info.id
        with self._mlmd_connection as handle:
            store = handle.store
            context = store.get_context_by_type_and_name(_NODE_CONTEXT, f"{self._pipeline_info.id}.{node}")
            executions = store.get_executions_by_context(context.id) if context else []
            done = [each for each in executions if each.last_known_state in _DONE and each.id != info.execution_id]
            if not done:
                return reasons({}, None, {}, {})
            last = max(done, key=lambda each: each.id)
            before = execution_lib.get_input_artifacts(handle, last.id)
            (own,) = store.get_executions_by_id([info.execution_id])
        return reasons(_parameters(own), _parameters(last), _ids(info.input_dict), _ids(before))


def _is_silent(node: Any) -> bool:
    return str(node.node_info.type.name).rpartition(".")[2] in _SILENT


def _parameters(execution: Any) -> dict[str, Any]:
    return {
        name: getattr(value, value.WhichOneof("value"))
        for name, value in execution.custom_properties.items()
        if not name.startswith("__") and value.WhichOneof("value")
    }


def _ids(artifacts: Mapping[str, Any]) -> dict[str, list[int]]:
    return {name: [int(artifact.id) for artifact in found] for name, found in artifacts.items()}


def _require_own(store: Any, root: Path) -> None:
    """Checks that the metadata, which know outputs by their full paths, tell of those below ``root``.

    Raises:
      UserError: the directory is a copy of another, whose outputs would be taken, and in time removed.
    """
    outputs = (each for each in store.get_artifacts() if not each.custom_properties["is_external"].int_value)
    for output in outputs:
        made_in = Path(output.uri).parents[2]  # below it step, channel and execution
        if made_in.exists() and not made_in.samefile(root):
            raise UserError(
                f"{root} is a copy of {made_in}, and its metadata tell of what is there: remove {root} and run again; "
                "the cache is gone then, what is served and blessed stays"
            )


def _sweep(store: Any, root: Path) -> None:
    """Closes what runs that were killed have left open, and removes their outputs; nobody else runs here now."""
    left = [
        each
        for each in store.get_executions()
        if each.last_known_state in (metadata_store_pb2.Execution.NEW, metadata_store_pb2.Execution.RUNNING)
    ]
    for execution in left:
        execution.last_known_state = metadata_store_pb2.Execution.FAILED
        for output in root.glob(f"*/*/{execution.id}"):
            shutil.rmtree(output, ignore_errors=True)
    if left:
        store.put_executions(left)
        logger.info("an earlier run was cut off; going on from its last finished step")


def _prune(root: Path, steps: list[Step]) -> None:
    """Removes outputs of executions long ago; those in use, and of each step the newest, stay for the cache."""
    used = {str(artifact.uri) for step in steps for artifact in step.outputs.values()}
    for step in steps:
        for channel in (root / step.node).glob("[!.]*"):
            numbers = sorted((int(path.name) for path in channel.glob("*") if path.name.isdigit()), reverse=True)
            for number in numbers[_KEPT:]:
                if str(channel / str(number)) not in used:
                    with contextlib.suppress(OSError):
                        remove(channel / str(number))
