"""The compiled specification: the same DAG, loadable by kfp, and steps that run as its containers would."""

import argparse
import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from preprocessing.errors import UserError
from tests.preprocessing.shop import shop_interactions, shop_items, write_csv
from tests.tfx_pipeline.local_kubeflow import LocalKubeflow
from tfx_pipeline import kubeflow_config, kubeflow_executor, kubeflow_runner, kubeflow_submit
from tfx_pipeline.config import RunConfig, load_config
from tfx_pipeline.kubeflow_config import KubeflowConfig

CLUSTER = [
    "kubeflow.image=registry/mtmh:1",
    "kubeflow.trainer_gpus=1",
    "kubeflow.trainer_memory=16G",
    "kubeflow.environment=[AWS_ENDPOINT_URL=http://minio:9000]",
    "kubeflow.secrets=[AWS_SECRET_ACCESS_KEY=mlpipeline-minio-artifact/secretkey]",
    "loss.relevance=0.25",
]
SMALL = [
    "teacher.dimension=8",
    "model.dimension=8",
    "model.hidden=16",
    "trainer.epochs=1",
    "trainer.steps_per_epoch=4",
    "gate.min_recall=0",
    "gate.min_relevance=-1",
    "gate.min_tail_share=0",
    "gate.over_popularity=0",
    "gate.validation_kept=0",
    "data_gate.least_rows=0",
    "kubeflow.retries=0",
]
PARAMETERS = {
    "interactions",
    "items",
    "annotations",
    "fingerprint",
    "data_baseline",
    "model_baseline",
    "destination",
    "store",
    "data_identity",
    "model_identity",
    "training_identity",
    "relevance",
    "epochs",
    "learning_rate",
}


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """A compiled pipeline, as a file."""
    path = tmp_path_factory.mktemp("compiled") / "mtmh.yaml"
    settings = [word for option in CLUSTER for word in ("--set", option)]
    assert kubeflow_runner.main(["--output", str(path), *settings]) == 0
    return path


@pytest.fixture(scope="module")
def documents(package) -> list[Any]:
    return list(yaml.safe_load_all(package.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def spec(documents) -> Any:
    return documents[0]


def test_kfp_loads_it(package):
    from kfp import components

    component = components.load_component_from_file(str(package)).component_spec
    assert set(component.inputs) == PARAMETERS
    assert component.inputs["relevance"].default == 0.25
    assert all(each.optional for each in component.inputs.values())


def test_the_dag_is_that_of_the_local_run(spec):
    """Components and edges, from the intermediate representation that the local runner executes."""
    from preprocessing.backend import tf  # noqa: F401

    # isort: split
    from tfx.dsl.compiler.compiler import Compiler

    from tfx_pipeline.pipeline import Settings, create_pipeline

    words = dict.fromkeys(PARAMETERS - {"relevance", "epochs", "learning_rate"}, "word")
    local = Compiler().compile(create_pipeline(Settings(config=RunConfig(), root="/root", **words)))
    nodes = {each.pipeline_node.node_info.id: each.pipeline_node for each in local.nodes}
    tasks = spec["root"]["dag"]["tasks"]
    assert set(tasks) == set(nodes)
    for name, node in nodes.items():
        assert set(tasks[name].get("dependentTasks", ())) == set(node.upstream_nodes), name
        inputs = {
            key: {(each.producer_node_query.id, each.output_key) for each in value.channels}
            for key, value in node.inputs.inputs.items()
        }
        compiled = {
            key: {(each["taskOutputArtifact"]["producerTask"], each["taskOutputArtifact"]["outputArtifactKey"])}
            for key, each in tasks[name].get("inputs", {}).get("artifacts", {}).items()
        }
        assert compiled == inputs, name


def test_what_the_cluster_is_told(documents):
    spec, platform = documents
    executors = spec["deploymentSpec"]["executors"]
    containers = {label: each["container"] for label, each in executors.items() if "container" in each}
    assert set(executors) - set(containers) == {"DataBaseline_executor", "ModelBaseline_executor"}
    for container in containers.values():
        assert container["image"] == "registry/mtmh:1"
        assert container["command"] == list(kubeflow_executor.COMMAND)
        assert container["env"] == [{"name": "AWS_ENDPOINT_URL", "value": "http://minio:9000"}]
    trainer, other = (containers[f"{name}_executor"]["resources"] for name in ("Trainer", "Transform"))
    assert trainer == {"cpuLimit": 8.0, "memoryLimit": 16.0, "accelerator": {"type": "nvidia.com/gpu", "count": "1"}}
    assert other == {"cpuLimit": 2.0, "memoryLimit": 8.0}
    tasks = spec["root"]["dag"]["tasks"]
    assert tasks["Trainer"]["retryPolicy"]["maxRetryCount"] == 2
    assert "retryPolicy" not in tasks["ModelBaseline"]
    assert all(task["cachingOptions"] == {"enableCache": True} for task in tasks.values())
    assert spec["defaultPipelineRoot"] == "s3://mlpipeline/mtmh"
    secrets = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(secrets) == set(containers)
    assert secrets["Trainer_executor"]["secretAsEnv"] == [
        {
            "secretName": "mlpipeline-minio-artifact",
            "keyToEnv": [{"secretKey": "secretkey", "envVar": "AWS_SECRET_ACCESS_KEY"}],
        }
    ]
    assert len(platform) == 1


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


# --- options ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["local", "dataflow", "flink", "spark"])
def test_beam_options(engine, monkeypatch):
    path = Path(__file__).resolve().parents[2] / "configs" / "beam" / f"{engine}.yaml"
    for name in ("GCP_PROJECT", "GCP_REGION", "GCP_BUCKET", "GCP_SERVICE_ACCOUNT", "MTMH_IMAGE"):
        monkeypatch.setenv(name, "value")
    for name in ("FLINK_JOB_SERVER", "SPARK_JOB_SERVER"):
        monkeypatch.setenv(name, "host")
    found = kubeflow_config.beam_options(str(path))
    from apache_beam.options.pipeline_options import PipelineOptions

    options = PipelineOptions(list(found), display_data={})
    assert options.get_all_options(drop_default=True, retain_unknown_options=False).keys() >= {"runner"}
    assert {word.partition("=")[0].removeprefix("--") for word in found} <= set(options.get_all_options())
    assert kubeflow_executor._runs_here(found) is (engine == "local")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("- --runner=${NOT_SET_ANYWHERE}", "NOT_SET_ANYWHERE, which is not set"),
        ("runner: x", "no list of Beam's options"),
        ("- runner", "no list of Beam's options"),
        ("- [", "no YAML"),
        ("- --a=$", r"stands as \$\$"),
    ],
)
def test_beam_options_that_are_none(tmp_path, content, words):
    path = tmp_path / "beam.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=words):
        kubeflow_config.beam_options(str(path))
    with pytest.raises(UserError, match="cannot read"):
        kubeflow_config.beam_options(str(tmp_path / "none"))


def test_secrets_are_references():
    with pytest.raises(UserError, match=r"entry 2 of `kubeflow\.secrets`") as error:
        kubeflow_config.secrets(KubeflowConfig(secrets=("A=secret/key", "PASSWORD=hunter2")))
    assert "hunter2" not in str(error.value)
    with pytest.raises(UserError, match="NAME=value"):
        kubeflow_config.environment(KubeflowConfig(environment=("no name",)))
    assert kubeflow_config.gigabytes("512M", "memory") == pytest.approx(0.512)
    with pytest.raises(UserError, match=r"kubeflow\.memory.*8G"):
        kubeflow_config.gigabytes("lots", "memory")


def test_mistakes_are_one_line(tmp_path, capsys):
    target = str(tmp_path / "x.yaml")
    for arguments, words in (
        (["--set", "kubeflow.imag=x"], "kubeflow.image"),
        (["--parameter", "lambda=1"], "relevance"),
        (["--parameter", "epochs=many"], "int"),
        (["--set", "validator.tf_serving_image=tensorflow/serving:2.16.1"], "InfraValidator"),
    ):
        assert kubeflow_runner.main(["--output", target, *arguments]) == 2
        said = capsys.readouterr().err
        assert said.startswith("mtmh: error: ")
        assert len(said.splitlines()) == 1
        assert words in said
    assert not Path(target).exists()


# --- submitting ---------------------------------------------------------------------------------------------------


class Api(BaseHTTPRequestHandler):
    """So much of Kubeflow Pipelines' API as a submission asks for."""

    received: ClassVar[list[tuple[str, Any]]] = []

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer({"experiments": [{"experiment_id": "e1", "display_name": "nightly"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.received.append((self.path, body))
        answers = {"runs": {"run_id": "r1"}, "recurringruns": {"recurring_run_id": "s1"}}
        self._answer(answers.get(self.path.rpartition("/")[2], {"experiment_id": "e1"}))

    def _answer(self, document: Any) -> None:
        data = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextlib.contextmanager
def api():
    server = HTTPServer(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_submission(package, spec, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    config = load_config(None, CLUSTER)
    with api() as host:
        arguments = kubeflow_runner.read_arguments(config, ["relevance=0.5", "epochs=2", "items=s3://data/items.csv"])
        assert kubeflow_submit.submit(package, host, config.kubeflow, arguments, "nightly") == "r1"
    path, run = Api.received[-1]
    assert path.endswith("/runs")
    assert run["runtime_config"]["parameters"] == {"relevance": 0.5, "epochs": 2, "items": "s3://data/items.csv"}
    assert run["runtime_config"]["pipeline_root"] == "s3://mlpipeline/mtmh"
    sent = run["pipeline_spec"]
    assert sent.get("pipeline_spec", sent)["root"]["dag"]["tasks"].keys() == spec["root"]["dag"]["tasks"].keys()
    with pytest.raises(UserError, match="does not answer as Kubeflow Pipelines"):
        kubeflow_submit.submit(package, host, config.kubeflow, {}, None)


def test_a_schedule_is_a_recurring_run_that_reads_what_is_there(package, spec, monkeypatch, tmp_path, capsys):
    """One at a time, never from the cache: nothing in its parameters changes from night to night."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(kubeflow_runner, "compile_pipeline", lambda config: kubeflow_runner.Compiled(spec, {}))
    log = "interactions=s3://data/log/{YYYY}-{MM}-{DD}/v-{VERSION}/*.csv.gz"
    words = ["--output", str(tmp_path / "mtmh.yaml"), *(word for each in CLUSTER for word in ("--set", each))]
    words += ["--parameter", log]
    with api() as host:
        assert kubeflow_runner.main([*words, "--submit", host, "--schedule", "0 0 3 * * *"]) == 0
    assert capsys.readouterr().out.endswith("recurring run s1\n")
    path, made = Api.received[-1]
    assert path.endswith("/recurringruns")
    assert made["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * *"}}
    assert (made["max_concurrency"], made["no_catchup"], made["experiment_id"]) == (1, True, "e1")
    assert made["runtime_config"]["parameters"] == dict([log.split("=")])
    assert made["runtime_config"]["pipeline_root"] == "s3://mlpipeline/mtmh"
    sent = made["pipeline_spec"].get("pipeline_spec", made["pipeline_spec"])["root"]["dag"]["tasks"]
    assert sent.keys() == spec["root"]["dag"]["tasks"].keys()
    assert not any(task.get("cachingOptions", {}).get("enableCache") for task in sent.values())
    assert kubeflow_runner.main([*words, "--submit", host, "--schedule", "0 3 * * *"]) == 2
    assert "expected six fields" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        kubeflow_runner.main([*words, "--schedule", "0 0 3 * * *"])


def test_a_warm_start_is_in_the_specification(spec, tmp_path, monkeypatch):
    """The record to begin with is a runtime parameter, and reaches the trainer as an artifact."""
    config = load_config(None, [*CLUSTER, "trainer.warm_start=true"])
    warm = kubeflow_runner.compile_pipeline(config).spec
    task = warm["root"]["dag"]["tasks"]["Trainer"]
    assert task["inputs"]["artifacts"]["base"]["taskOutputArtifact"]["producerTask"] == "WarmStart"
    declared = warm["root"]["inputDefinitions"]["parameters"]
    assert declared["base"]["defaultValue"] == "s3://mlpipeline/mtmh/blessed/latest"
    assert set(warm["root"]["dag"]["tasks"]) - set(spec["root"]["dag"]["tasks"]) == {"WarmStart"}
    assert "base" not in spec["root"]["inputDefinitions"]["parameters"]


# --- all steps ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(1800)  # sixteen processes, each of which imports TFX
@pytest.mark.parametrize("store", ["disk", "s3"])
def test_all_steps_run_from_the_specification(store, tmp_path, request):
    """Every container's command in a process of its own, from the tables to a pushed version and what is kept of it."""
    from serving.push import history

    root = str(tmp_path / "root") if store == "disk" else f"{request.getfixturevalue('s3')}/{tmp_path.name}"
    log = write_csv(tmp_path / "log.csv", shop_interactions())
    items = write_csv(tmp_path / "items.csv", shop_items())
    config = load_config(None, [*SMALL, f"kubeflow.pipeline_root={root}", "trainer.warm_start=true"])
    spec = kubeflow_runner.compile_pipeline(config).spec
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    baseline = dict.fromkeys(("data_baseline", "model_baseline", "base"), str(nothing)) if store == "disk" else {}
    local = LocalKubeflow(spec, root, tmp_path, {"interactions": log, "items": items, "relevance": 0.75, **baseline})
    local.run()
    assert local.ran[0] in ("Preprocess", "ItemsSchema", "PairsSchema")
    assert local.ran[-1] == "Pusher"
    (state,) = history(f"{root}/serving/mtmh", verify=True)
    assert (state.status, state.faults) == ("served", ())
    metadata = local.outputs["Pusher"]["pushed_model"]["metadata"]
    assert metadata["pushed_destination"] == state.path
    if store == "s3":
        from serving.stores.objects import open_store, read

        bucket, key = open_store(root)
        record = json.loads(read(bucket, f"{key}/blessed/latest/baseline.json"))
        assert record["version"] == state.version
        description = json.loads(read(bucket, f"{key}/Trainer/model/model/model.json"))
    else:
        description = json.loads(Path(root, "Trainer", "model", "model", "model.json").read_text())
    assert description["loss"]["relevance"] == 0.75
