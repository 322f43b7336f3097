"""Executors as a runner calls them, with artifacts in a directory."""

import json

import pytest

from preprocessing.backend import tf  # noqa: F401 before TFX imports TensorFlow in a flavour of its own
from preprocessing.errors import UserError
from serving.config import PushConfig
from serving.push import versions
from serving.version_manifest import describe
from tfx_pipeline.components import pusher, trainer
from tfx_pipeline.components.blessing import is_blessed, verdict_of, write_blessing
from tfx_pipeline.components.curated_schema import Executor as SchemaExecutor
from tfx_pipeline.components.files import link_tree, readable, writable
from tfx_pipeline.components.parameters import from_json, paths_from_text, paths_to_text, to_json
from tfx_pipeline.config import RunConfig
from tfx_pipeline.kept import load_places
from tfx_pipeline.verdict import Verdict, load_verdict
from trainer.config import TrainingConfig

GOOD = Verdict("Gate", "the model", (), {"recall": 0.5})
BAD = Verdict("Gate", "the model", ("first", "second", "third", "fourth"), {})


def artifacts(spec, channels, root):
    """One artifact of each channel, at a directory of its own."""
    found = {}
    for name, parameter in channels.items():
        artifact = parameter.type()
        artifact.uri = str(root / name)
        (root / name).mkdir(parents=True, exist_ok=True)
        found[name] = [artifact]
    return found


@pytest.fixture
def push(tmp_path):
    """What the Pusher reads and writes, blessed by all gates."""
    inputs = artifacts(pusher.PusherSpec, pusher.PusherSpec.INPUTS, tmp_path / "in")
    outputs = artifacts(pusher.PusherSpec, pusher.PusherSpec.OUTPUTS, tmp_path / "out")
    (tmp_path / "in" / "model" / "Format-Serving").mkdir()
    (tmp_path / "in" / "model" / "Format-Serving" / "saved_model.pb").write_bytes(b"graph")
    (tmp_path / "in" / "trained_model" / "model").mkdir()
    (tmp_path / "in" / "manifest" / "manifest.json").write_text("{}")
    for name in ("model_blessing", "serving_blessing", "infra_blessing"):
        write_blessing(inputs, name, GOOD)
    properties = {
        "destination": str(tmp_path / "serving"), "store": str(tmp_path / "blessed"), "data_identity": "d",
        "model_identity": "m", "training_identity": "t", "config": to_json(PushConfig()), "code": "c",
    }  # fmt: skip
    return inputs, outputs, properties


def test_a_blessed_version_is_pushed_and_recorded(push, tmp_path):
    inputs, outputs, properties = push
    pusher.Executor().Do(inputs, outputs, properties)
    (version,) = (tmp_path / "serving").glob("[0-9]*")
    assert (version / "saved_model.pb").read_bytes() == b"graph"
    record = json.loads((tmp_path / "blessed" / version.name / "baseline.json").read_text())
    assert record == {
        "version": int(version.name),
        "digest": describe(version).digest,
        "identity": {"data": "d", "model": "m", "training": "t"},
    }
    pushed = outputs["pushed_model"][0]
    assert pushed.get_int_custom_property(pusher.PUSHED) == 1
    assert pushed.get_string_custom_property(pusher.VERSION) == version.name
    (place,) = load_places(tmp_path / "out" / "pushed_model")
    assert (place.base, place.version) == (properties["destination"], int(version.name))
    assert place.stands()


def test_versions_that_are_protected_stay(push, tmp_path):
    inputs, outputs, properties = push
    for base in (tmp_path / "serving", tmp_path / "serving-stock"):
        for version in (3, 4, 5):
            (base / str(version)).mkdir(parents=True)
            (base / str(version) / "saved_model.pb").write_bytes(b"old")
    stock = tmp_path / "in" / "model" / "Format-Serving-stock"
    stock.mkdir()
    (stock / "saved_model.pb").write_bytes(b"graph")
    properties["config"] = to_json(PushConfig(keep_versions=2, protect_versions=(3,)))
    pusher.Executor().Do(inputs, outputs, properties)
    for base in (tmp_path / "serving", tmp_path / "serving-stock"):
        assert versions(base)[:-1] == [3, 5]


@pytest.mark.parametrize("gate", ["model_blessing", "serving_blessing", "infra_blessing"])
def test_nothing_is_pushed_that_one_gate_refuses(push, tmp_path, gate):
    inputs, outputs, properties = push
    write_blessing(inputs, gate, BAD)
    pusher.Executor().Do(inputs, outputs, properties)
    assert not (tmp_path / "serving").exists()
    assert not (tmp_path / "blessed").exists()
    assert outputs["pushed_model"][0].get_int_custom_property(pusher.PUSHED) == 0


def test_an_infra_validator_need_not_be_there(push, tmp_path):
    inputs, outputs, properties = push
    del inputs["infra_blessing"]
    pusher.Executor().Do(inputs, outputs, properties)
    assert list((tmp_path / "serving").glob("[0-9]*"))


def test_a_verdict_says_who_refuses_what_in_one_line(push, tmp_path):
    inputs, _, _ = push
    write_blessing(inputs, "model_blessing", BAD)
    assert not is_blessed(inputs["model_blessing"][0])
    found = load_verdict(tmp_path / "in" / "model_blessing")
    assert found == BAD
    with pytest.raises(UserError, match="Gate refuses the model: first; second; third; and 1 more"):
        found.require()
    GOOD.require()
    assert GOOD.summary() == "Gate passes the model"


def test_what_the_infra_validator_says_is_understood(push, tmp_path):
    """It leaves a marker and a property, as its own executor does, and no reasons."""
    from tfx.components.infra_validator import executor as infra_validator

    inputs, _, _ = push
    artifact = type(inputs["infra_blessing"][0])()
    artifact.uri = str(tmp_path / "infra")
    infra_validator._mark_blessed(artifact)
    assert is_blessed(artifact)
    assert verdict_of("InfraValidator", artifact).passed
    infra_validator._mark_not_blessed(artifact)
    assert not is_blessed(artifact)
    with pytest.raises(UserError, match="InfraValidator refuses the version: its server did not load it"):
        verdict_of("InfraValidator", artifact).require()
    write_blessing(inputs, "serving_blessing", BAD)
    assert verdict_of("ServingValidator", inputs["serving_blessing"][0]) == BAD


def test_a_training_is_gone_on_with_where_everything_is_the_same(tmp_path):
    outputs = artifacts(trainer.TrainerSpec, trainer.TrainerSpec.OUTPUTS, tmp_path / "Trainer")
    outputs["model_run"][0].uri = str(tmp_path / "Trainer" / "model_run" / "7")
    (tmp_path / "manifest.json").write_text("{}")
    executor, properties = trainer.Executor(), {"config": "a", "relevance": 0.5}

    def work(**changes):
        return executor._work(outputs, tmp_path / "run", tmp_path, properties | changes)

    first = work()
    assert first.parent == tmp_path / "Trainer" / trainer.UNFINISHED
    assert work() == first
    other = work(relevance=0.3)
    assert other != first
    assert not first.exists()
    (tmp_path / "manifest.json").write_text("{ }")
    assert work(relevance=0.3) != other


def test_the_trainer_goes_on_or_begins_anew(tmp_path, monkeypatch):
    asked = []

    def train(examples, output, config, **how):
        asked.append(how)
        (output / "model").mkdir()

    monkeypatch.setattr("trainer.train.train", train)
    monkeypatch.setattr("tfx_pipeline.item_features.check_transform", lambda *_: None)
    inputs = artifacts(trainer.TrainerSpec, trainer.TrainerSpec.INPUTS, tmp_path / "in")
    del inputs["base"]
    (tmp_path / "in" / "examples" / "manifest.json").write_text("{}")
    outputs = artifacts(trainer.TrainerSpec, trainer.TrainerSpec.OUTPUTS, tmp_path / "out")
    properties = {"config": to_json(RunConfig().training), "relevance": 0.5, "epochs": 3, "learning_rate": 0.01}
    trainer.Executor().Do(inputs, outputs, properties)
    assert asked == [{"resume": True, "or_anew": True, "base": None}]
    assert (tmp_path / "out" / "model" / "model").is_dir()


def test_parameters_that_stand_alone_replace_what_the_configuration_says():
    properties = {"config": to_json(RunConfig().training), "relevance": 0.25, "epochs": 3, "learning_rate": 0.01}
    config = trainer.training_config(properties)
    assert (config.loss.relevance, config.trainer.epochs, config.trainer.learning_rate) == (0.25, 3, 0.01)
    assert from_json(TrainingConfig, properties["config"]) == RunConfig().training
    with pytest.raises(UserError, match="no TrainingConfig"):
        from_json(TrainingConfig, '{"seed": "zero"}')


@pytest.mark.parametrize(
    ("name", "value"), [("epochs", 0), ("epochs", -3), ("relevance", float("nan")), ("learning_rate", -1.0)]
)
def test_parameters_that_stand_alone_have_the_bounds_of_their_options(name, value):
    properties = {"config": to_json(RunConfig().training), "relevance": 0.25, "epochs": 3, "learning_rate": 0.01}
    with pytest.raises(UserError, match=rf"{name} is {value}; expected a finite number"):
        trainer.training_config(properties | {name: value})


def test_paths_are_a_list_or_one_path():
    assert paths_from_text(paths_to_text(["a.csv", "b*.csv"])) == ("a.csv", "b*.csv")
    assert paths_from_text("gs://logs/[0-9].csv") == ("gs://logs/[0-9].csv",)
    assert paths_from_text("") == ()
    with pytest.raises(UserError, match="no list of paths"):
        paths_from_text("[1]")


def test_a_schema_is_checked_before_it_is_written(tmp_path):
    from tfx_pipeline.components.curated_schema import CuratedSchemaSpec

    outputs = artifacts(CuratedSchemaSpec, CuratedSchemaSpec.OUTPUTS, tmp_path)
    with pytest.raises(UserError, match="no Schema message"):
        SchemaExecutor().Do({}, outputs, {"text": "feature {"})
    SchemaExecutor().Do({}, outputs, {"text": 'feature { name: "a" type: INT }'})
    assert (tmp_path / "schema" / "schema.pbtxt").exists()


def test_linked_trees_are_one_on_the_disk_and_apart_for_those_who_replace_files(tmp_path):
    source, target = tmp_path / "artifact", tmp_path / "examples"
    (source / "items").mkdir(parents=True)
    (source / "items" / "a").write_text("old")
    link_tree(source, target)
    assert (target / "items" / "a").samefile(source / "items" / "a")
    (target / "items" / "new").write_text("new")
    (target / "items" / "new").replace(target / "items" / "a")
    assert (source / "items" / "a").read_text() == "old"
    link_tree(source, target)
    assert (target / "items" / "a").read_text() == "old"


def test_artifacts_elsewhere_are_copied_here_and_back():
    found = artifacts_elsewhere()
    with writable(found, "model") as place:
        (place / "below").mkdir()
        (place / "below" / "file").write_text("words")
    with readable(found, "model") as place:
        assert (place / "below" / "file").read_text() == "words"


def artifacts_elsewhere():
    """An artifact on TensorFlow's filesystem in memory, as remote as a bucket."""
    from tfx.dsl.io.filesystem_registry import DEFAULT_FILESYSTEM_REGISTRY
    from tfx.dsl.io.plugins.tensorflow_gfile import TensorflowFilesystem
    from tfx.types.standard_artifacts import Model

    class InMemory(TensorflowFilesystem):
        SUPPORTED_SCHEMES = ("ram://",)

    DEFAULT_FILESYSTEM_REGISTRY.register(InMemory, priority=10)
    artifact = Model()
    artifact.uri = "ram://bucket/model/1"
    return {"model": [artifact]}
