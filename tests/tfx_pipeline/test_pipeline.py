"""The DAG: what is wired to what, and what a change makes run again."""

import dataclasses
import itertools
import json
from pathlib import Path

import pytest

from preprocessing import sources_hash
from preprocessing.backend import tf  # noqa: F401 before TFX imports TensorFlow in a flavour of its own
from tfx_pipeline import diagram
from tfx_pipeline.config import RunConfig, load_config
from tfx_pipeline.pipeline import Settings, create_pipeline
from tfx_pipeline.schema import schema_text

ROOT = Path(__file__).parents[2]
DATA = {
    "Preprocess", "ItemsStatisticsGen", "ItemsSchema", "ItemsExampleValidator", "PairsStatisticsGen", "PairsSchema",
    "PairsExampleValidator", "DataBaseline", "DataGate", "Transform",
}  # fmt: skip
MODEL = {"Trainer", "IndexBuilder", "ModelBaseline", "RetrievalEvaluator", "ServingValidator", "Pusher"}


def settings(config=None, **changes):
    names = (field.name for field in dataclasses.fields(Settings) if field.default is dataclasses.MISSING)
    return Settings(**{name: name for name in names} | {"config": config or RunConfig()} | changes)


def parameters(made):
    return {
        component.id: {name: str(value) for name, value in component.exec_properties.items()}
        for component in made.components
    }


def rerun(before, after):
    """Steps that run again: those whose parameters differ, and all that read what such a step makes."""
    first, second = parameters(before), parameters(after)
    found = {name for name in second if first[name] != second[name]}
    for producer, consumer, channel in (edge for _ in range(len(second)) for edge in diagram.edges(after)):
        if channel and producer in found:
            found.add(consumer)
    return found


@pytest.fixture(scope="module")
def made():
    return create_pipeline(settings())


def test_the_dag_is_the_designs(made):
    assert {component.id for component in made.components} == DATA | MODEL
    edges = {(producer, consumer) for producer, consumer, _ in diagram.edges(made)}
    for chain in (
        ("Preprocess", "ItemsStatisticsGen", "ItemsExampleValidator", "DataGate", "Transform", "Trainer"),
        ("Preprocess", "PairsStatisticsGen", "PairsExampleValidator", "DataGate"),
        ("Trainer", "IndexBuilder", "RetrievalEvaluator", "ServingValidator", "Pusher"),
    ):
        assert edges.issuperset(itertools.pairwise(chain))


def test_nothing_is_pushed_without_the_blessings_of_both_gates(made):
    channels = {(producer, channel) for producer, consumer, channel in diagram.edges(made) if consumer == "Pusher"}
    assert {("RetrievalEvaluator", "blessing"), ("ServingValidator", "blessing")} <= channels
    config = load_config(None, ["validator.tf_serving_image=tensorflow/serving:2.16.1"])
    with_image = create_pipeline(settings(config))
    channels = {
        (producer, channel) for producer, consumer, channel in diagram.edges(with_image) if consumer == "Pusher"
    }
    assert ("InfraValidator", "blessing") in channels
    spec = next(each for each in with_image.components if each.id == "InfraValidator").exec_properties["serving_spec"]
    assert json.loads(str(spec))["tensorflow_serving"] == {"image_name": "tensorflow/serving", "tags": ["2.16.1"]}


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("tensorflow/serving", {"image_name": "tensorflow/serving", "tags": ["latest"]}),
        ("serving:2.16.1", {"image_name": "serving", "tags": ["2.16.1"]}),
        ("host:5000/serving", {"image_name": "host:5000/serving", "tags": ["latest"]}),
        ("host:5000/tf/serving:2", {"image_name": "host:5000/tf/serving", "tags": ["2"]}),
        ("host:5000/serving@sha256:ab", {"image_name": "host:5000/serving", "digests": ["sha256:ab"]}),
    ],
)
def test_the_infra_validator_gets_the_image_that_was_named(image, expected):
    made = create_pipeline(settings(load_config(None, [f"validator.tf_serving_image={image}"])))
    spec = next(each for each in made.components if each.id == "InfraValidator").exec_properties["serving_spec"]
    assert json.loads(str(spec))["tensorflow_serving"] == expected


@pytest.mark.parametrize("override", ["loss.relevance=0.3", "trainer.epochs=3", "loss.align=0.1", "seed=1"])
def test_a_changed_training_option_runs_the_trainer_and_what_follows(made, override):
    found = rerun(made, create_pipeline(settings(load_config(None, [override]))))
    if override.startswith("seed"):
        assert found >= {"Preprocess", "Trainer"}
    else:
        assert found == MODEL - {"ModelBaseline"}


def test_changed_contents_run_everything_but_the_schemas(made):
    found = rerun(made, create_pipeline(settings(fingerprint="other")))
    assert found == (DATA | MODEL) - {"ItemsSchema", "PairsSchema", "DataBaseline", "ModelBaseline"}


def test_a_warm_start_brings_an_edge(made):
    warm = create_pipeline(settings(load_config(None, ["trainer.warm_start=true"]), base="one"))
    assert set(diagram.edges(warm)) - set(diagram.edges(made)) == {("WarmStart", "Trainer", "result")}
    assert rerun(made, create_pipeline(settings(base="other"))) == set()


def test_a_changed_gate_runs_the_gate_but_trains_nothing(made):
    found = rerun(made, create_pipeline(settings(load_config(None, ["data_gate.most_rows=4"]))))
    assert found == {"DataGate"}
    found = rerun(made, create_pipeline(settings(load_config(None, ["gate.min_recall=0.01"]))))
    assert found == {"RetrievalEvaluator", "ServingValidator", "Pusher"}


@pytest.mark.parametrize(
    ("file", "first", "kept"),
    [
        ("trainer/losses.py", "Trainer", DATA),
        ("preprocessing/sessions.py", "Preprocess", set()),
        ("serving/merge.py", "IndexBuilder", DATA | {"Trainer"}),
        ("serving/push.py", "Pusher", DATA | {"Trainer"}),
        ("tfx_pipeline/components/data_gate.py", "DataGate", {"Preprocess", "Transform"} | MODEL),
        ("tfx_pipeline/report.py", None, DATA | MODEL),
    ],
)
def test_a_changed_line_of_code_runs_what_depends_on_it(made, monkeypatch, tmp_path, file, first, kept):
    for package in ("preprocessing", "trainer", "serving", "tfx_pipeline"):
        for source in (ROOT / package).rglob("*.py"):
            copied = tmp_path / source.relative_to(ROOT)
            copied.parent.mkdir(parents=True, exist_ok=True)
            copied.write_bytes(source.read_bytes() + (b"# changed\n" if source == ROOT / file else b""))
    monkeypatch.setattr(sources_hash, "_ROOT", tmp_path)
    sources_hash._hash_sources.cache_clear()
    found = rerun(made, create_pipeline(settings()))
    sources_hash._hash_sources.cache_clear()
    assert (found == set()) if first is None else (first in found)
    assert not found & kept


def test_each_component_gets_its_own_part_of_the_configuration(made):
    found = parameters(made)
    assert set(json.loads(found["Preprocess"]["config"])) == {
        field.name for field in dataclasses.fields(RunConfig().preprocessing)
    }
    assert "split" not in json.loads(found["Trainer"]["config"])
    assert found["Trainer"]["relevance"] == "0.5"
    assert found["ItemsSchema"]["text"] == schema_text("items", RunConfig().data_gate)


def test_runtime_parameters_may_stand_for_paths_and_training_options():
    from tfx.orchestration.data_types import RuntimeParameter

    texts = {
        name: RuntimeParameter(name=name, ptype=str)
        for name in ("interactions", "items", "annotations", "fingerprint", "root", "destination", "store",
                     "data_baseline", "model_baseline", "data_identity", "model_identity", "training_identity")
    }  # fmt: skip
    made = create_pipeline(
        settings(**texts, relevance=RuntimeParameter("lambda", float), epochs=RuntimeParameter("epochs", int))
    )
    assert parameters(made)["Trainer"]["relevance"] != "0.5"


def test_the_picture_in_the_documentation_is_current(made):
    page = (ROOT / "docs" / "pipeline.md").read_text(encoding="utf-8")
    renewed = diagram.update_picture(page, diagram.mermaid(made))
    assert renewed == page, "run `python -m tfx_pipeline.diagram --update docs/pipeline.md`"
