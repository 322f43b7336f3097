"""A step's container: what its executor gets, and where its artifacts come from and go to."""

import argparse
from pathlib import Path
from typing import Any

import pytest

from preprocessing.errors import UserError
from tests.tfx_pipeline.kubeflow.local_kubeflow import LocalKubeflow
from tfx_pipeline import kubeflow_executor
from tfx_pipeline.config import RunConfig


class Recorder:
    """Stands in an executor's place: keeps what it is given."""

    def __init__(self, context: Any) -> None:
        self.context = context

    def Do(self, input_dict, output_dict, exec_properties):  # noqa: N802
        uris = {key: artifacts[0].uri for key, artifacts in {**input_dict, **output_dict}.items()}
        kinds = {key: type(artifacts[0]).__name__ for key, artifacts in input_dict.items()}
        GIVEN.update(exec_properties=exec_properties, uris=uris, kinds=kinds, beam=getattr(self.context, "flags", None))
        for uri in uris.values():
            assert Path(uri).is_dir(), uri
        for key, artifacts in output_dict.items():
            (Path(artifacts[0].uri) / "made.txt").write_text(key)


GIVEN: dict[str, Any] = {}


def run_recorded(local: LocalKubeflow, task: str, monkeypatch) -> dict[str, Any]:
    """Runs a task's entry point in this process with the recorder for its executor."""
    from tfx.utils import import_utils

    whole = import_utils.import_class_by_path

    def imported(path: str) -> Any:
        return Recorder if path.endswith(".Executor") else whole(path)

    monkeypatch.setattr(import_utils, "import_class_by_path", imported)
    words = local.command(task)[3:]
    parser = argparse.ArgumentParser()
    for name in ("executor_class_path", "json_serialized_invocation_args", "json_serialized_inputs_spec_args"):
        parser.add_argument(f"--{name}")
    arguments, beam_args = parser.parse_known_args(words)
    GIVEN.clear()
    kubeflow_executor.run_executor(arguments, beam_args)
    return GIVEN


def with_inputs(local: LocalKubeflow, task: str, root: str) -> LocalKubeflow:
    """As if the tasks before had run and left one file each."""
    for source in local.tasks[task]["inputs"].get("artifacts", {}).values():
        place = source["taskOutputArtifact"]
        outputs = local.outputs.setdefault(place["producerTask"], {})
        kinds = local._output_definitions(place["producerTask"])
        outputs[place["outputArtifactKey"]] = local._new_artifact(
            place["producerTask"], place["outputArtifactKey"], kinds[place["outputArtifactKey"]]["artifactType"]
        )
    return local


def test_a_runtime_parameter_is_what_the_executor_gets(spec, tmp_path, monkeypatch):
    given = {}
    for name, arguments in (("default", {}), ("changed", {"relevance": 0.75, "epochs": 3})):
        root = tmp_path / name
        local = with_inputs(LocalKubeflow(spec, str(root), root / "scratch", arguments), "Trainer", str(root))
        for outputs in local.outputs.values():
            for artifact in outputs.values():
                Path(artifact["uri"]).mkdir(parents=True)
        given[name] = dict(run_recorded(local, "Trainer", monkeypatch))
        local.take_outputs("Trainer")
        assert local.outputs["Trainer"]["model"]["uri"] == f"{root}/Trainer/model"
    default, changed = (given[name]["exec_properties"] for name in ("default", "changed"))
    assert (default["relevance"], default["epochs"]) == (0.25, RunConfig().trainer.epochs)
    assert (changed["relevance"], changed["epochs"]) == (0.75, 3)
    assert isinstance(changed["epochs"], int)
    assert {key for key in default if default[key] != changed[key]} == {"relevance", "epochs"}
    assert given["default"]["kinds"] == {"examples": "CoEngagementExamples", "transform_graph": "TransformGraph"}


def test_artifacts_in_a_bucket(spec, s3, tmp_path, monkeypatch):
    """An executor sees directories with what is below the URIs; what it leaves there arrives, and is named, there."""
    from serving.stores.objects import open_store, read

    root = f"{s3}/{tmp_path.name}"
    local = with_inputs(LocalKubeflow(spec, root, tmp_path, {}), "Trainer", root)
    store, key = open_store(root)
    store.write(f"{key}/Preprocess/examples/sub/file", b"content")
    store.write(f"{key}/Trainer/model/from-an-earlier-attempt", b"")
    seen = {}

    def look(input_dict):
        (path,) = Path(input_dict["examples"][0].uri).rglob("file")
        seen["content"] = path.read_bytes()

    original = Recorder.Do

    def looking(self, input_dict, output_dict, exec_properties):
        look(input_dict)
        original(self, input_dict, output_dict, exec_properties)

    monkeypatch.setattr(Recorder, "Do", looking)
    given = run_recorded(local, "Trainer", monkeypatch)
    assert seen == {"content": b"content"}
    assert not any(uri.startswith("s3:") for uri in given["uris"].values())
    assert not any(Path(uri).exists() for uri in given["uris"].values())
    local.take_outputs("Trainer")
    assert local.outputs["Trainer"]["model"]["uri"] == f"{root}/Trainer/model"
    assert list(store.sizes(f"{key}/Trainer/model/")) == [f"{key}/Trainer/model/made.txt"]
    assert read(store, f"{key}/Trainer/model_run/made.txt") == b"model_run"


def test_an_executor_that_fails_leaves_nothing_in_the_bucket(spec, s3, tmp_path, monkeypatch):
    from serving.stores.objects import open_store

    root = f"{s3}/{tmp_path.name}"
    local = with_inputs(LocalKubeflow(spec, root, tmp_path, {}), "Trainer", root)

    def fail(self, input_dict, output_dict, exec_properties):
        (Path(output_dict["model"][0].uri) / "half").write_text("")
        raise UserError("in the middle")

    monkeypatch.setattr(Recorder, "Do", fail)
    with pytest.raises(UserError, match="in the middle"):
        run_recorded(local, "Trainer", monkeypatch)
    store, key = open_store(root)
    assert not store.sizes(f"{key}/Trainer/")


@pytest.mark.parametrize(
    ("beam_args", "here"),
    [
        ([], True),
        (["--runner=DirectRunner", "--direct_num_workers=0"], True),
        (["--runner=apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner"], True),
        (["--runner=PortableRunner", "--job_endpoint=embed"], True),
        (["--runner=PortableRunner", "--job_endpoint=flink:8099"], False),
        (["--runner=DataflowRunner"], False),
    ],
)
def test_where_beam_runs(beam_args, here):
    assert kubeflow_executor._runs_here(beam_args) is here
