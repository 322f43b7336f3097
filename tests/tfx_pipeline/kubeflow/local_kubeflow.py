"""Runs steps of a compiled specification as Kubeflow's driver and launcher would: each command in a process.

For every task it resolves parameters and artifacts, puts the ``ExecutorInput`` in the place of ``{{$}}``, runs the
container's command as it stands in the specification, and takes the outputs from the file that the executor writes.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

EXECUTOR_INPUT = "{{$}}"


class LocalKubeflow:
    """One run of a specification.

    Attributes:
        outputs: artifacts by task and key, as JSON has a ``RuntimeArtifact``.
        ran: tasks in the order in which they ran.
    """

    def __init__(self, spec: Mapping[str, Any], root: str, scratch: Path, arguments: Mapping[str, Any]) -> None:
        """Takes the specification, the pipeline root, a local directory, and the runtime parameters that are given."""
        self.spec, self.root, self.scratch = spec, root, scratch
        declared = spec["root"]["inputDefinitions"]["parameters"]
        self._parameters = {name: each["defaultValue"] for name, each in declared.items()} | dict(arguments)
        self.outputs: dict[str, dict[str, Any]] = {}
        self.ran: list[str] = []

    @property
    def tasks(self) -> Mapping[str, Any]:
        return self.spec["root"]["dag"]["tasks"]

    def run(self, until: Sequence[str] = ()) -> None:
        """Runs all tasks, or those that the named ones need and these."""
        wanted = set(until) or set(self.tasks)
        while missing := {before for task in wanted for before in self.before(task)} - wanted:
            wanted |= missing
        while waiting := wanted - set(self.outputs):
            for task in sorted(waiting, key=lambda task: list(self.tasks).index(task)):
                if all(before in self.outputs for before in self.before(task)):
                    self.run_task(task)

    def before(self, task: str) -> list[str]:
        return self.tasks[task].get("dependentTasks", [])

    def executor(self, task: str) -> Mapping[str, Any]:
        label = self.spec["components"][self.tasks[task]["componentRef"]["name"]]["executorLabel"]
        return self.spec["deploymentSpec"]["executors"][label]

    def parameters(self, task: str) -> dict[str, Any]:
        """What the executor of a task gets."""
        values = {}
        for name, source in self.tasks[task].get("inputs", {}).get("parameters", {}).items():
            if "componentInputParameter" in source:
                values[name] = self._parameters[source["componentInputParameter"]]
            else:
                values[name] = source["runtimeValue"]["constant"]
        return values

    def executor_input(self, task: str) -> dict[str, Any]:
        inputs = {}
        for key, source in self.tasks[task].get("inputs", {}).get("artifacts", {}).items():
            place = source["taskOutputArtifact"]
            inputs[key] = {"artifacts": [self.outputs[place["producerTask"]][place["outputArtifactKey"]]]}
        outputs = {
            key: {"artifacts": [self._new_artifact(task, key, each["artifactType"])]}
            for key, each in self._output_definitions(task).items()
        }
        return {
            "inputs": {"artifacts": inputs, "parameterValues": self.parameters(task)},
            "outputs": {"artifacts": outputs, "outputFile": str(self.scratch / task / "executor_output.json")},
        }

    def command(self, task: str) -> list[str]:
        """The command line of a task's container, by this interpreter."""
        container = self.executor(task)["container"]
        document = json.dumps(self.executor_input(task))
        words = [*container["command"], *container["args"]]
        assert words[0] == "python"
        return [sys.executable, *(document if word == EXECUTOR_INPUT else word for word in words[1:])]

    def run_task(self, task: str) -> None:
        if "importer" in self.executor(task):
            uri = self.parameters(task)["artifact_uri"]
            self.outputs[task] = {
                key: self._new_artifact(task, key, each["artifactType"]) | {"uri": uri}
                for key, each in self._output_definitions(task).items()
            }
            return
        container = self.executor(task)["container"]
        variables = {each["name"]: each["value"] for each in container.get("env", ())}
        done = subprocess.run(
            self.command(task),
            cwd=Path(__file__).resolve().parents[3],
            env=os.environ | variables,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise AssertionError(f"{task} ended with {done.returncode}: {done.stderr[-3000:]}")
        self.take_outputs(task)

    def take_outputs(self, task: str) -> None:
        """Reads what the executor says of its outputs."""
        said = json.loads((self.scratch / task / "executor_output.json").read_text())["artifacts"]
        definitions = self._output_definitions(task)
        self.outputs[task] = {}
        for key, each in definitions.items():
            artifact = self._new_artifact(task, key, each["artifactType"])
            (told,) = said[key]["artifacts"]
            self.outputs[task][key] = artifact | {"uri": told["uri"], "metadata": told.get("metadata", {})}
        self.ran.append(task)

    def _output_definitions(self, task: str) -> Mapping[str, Any]:
        component = self.spec["components"][self.tasks[task]["componentRef"]["name"]]
        return component.get("outputDefinitions", {}).get("artifacts", {})

    def _new_artifact(self, task: str, key: str, kind: Mapping[str, Any]) -> dict[str, Any]:
        return {"name": f"{task}/{key}", "type": kind, "uri": f"{self.root}/{task}/{key}", "metadata": {}}
