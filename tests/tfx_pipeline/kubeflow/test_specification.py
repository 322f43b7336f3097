"""The compiled specification: the same DAG, loadable by kfp, and steps that run as its containers would."""

import json
from pathlib import Path

import pytest

from tests.preprocessing.shop import shop_interactions, shop_items, write_csv
from tests.tfx_pipeline.kubeflow.cluster import CLUSTER
from tests.tfx_pipeline.kubeflow.local_kubeflow import LocalKubeflow
from tfx_pipeline import kubeflow_executor, kubeflow_runner
from tfx_pipeline.config import RunConfig, load_config

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


def test_kfp_loads_it(package):
    from kfp import components

    component = components.load_component_from_file(str(package)).component_spec
    assert set(component.inputs) == PARAMETERS
    assert component.inputs["relevance"].default == 0.25
    assert all(each.optional for each in component.inputs.values())


def test_the_dag_is_that_of_the_local_run(spec):
    """Components and edges, from the intermediate representation that the local runner executes."""
    from preprocessing.backend import tf  # noqa: F401 before TFX imports TensorFlow in a flavour of its own

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
    asked_anew = {"ServingValidator", "Pusher"}
    assert {name: task["cachingOptions"] for name, task in tasks.items()} == {
        name: {"enableCache": name not in asked_anew} for name in tasks
    }
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
