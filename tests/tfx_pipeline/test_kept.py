"""What an earlier run has left counts only as long as the world is as it was then."""

import shutil

import pytest

from preprocessing.backend import tf  # noqa: F401 before TFX imports TensorFlow in a flavour of its own
from serving.push import push, rollback
from tests.tfx_pipeline.test_components import artifacts
from tfx_pipeline.components import serving_validator
from tfx_pipeline.components.blessing import write_blessing
from tfx_pipeline.kept import Place, forget, load_places, save_places, served_at
from tfx_pipeline.verdict import Verdict

SERVER_DIED = Verdict("ServingValidator", "the version", ("the server was ended by signal 9",), {"requests": 0})


@pytest.fixture
def base(tmp_path):
    return tmp_path / "serving" / "mtmh"


def publish(tmp_path, base, content):
    source = tmp_path / content
    source.mkdir(exist_ok=True)
    (source / "saved_model.pb").write_text(content)
    pushed = push(source, base)
    return Place(str(base), pushed.version, pushed.digest)


def kept(tmp_path, *places):
    """Whether what a Pusher has noted is there after `forget`."""
    artifact = tmp_path / "pipeline" / "Pusher" / "pushed_model" / "7"
    artifact.mkdir(parents=True, exist_ok=True)
    save_places(places, artifact)
    assert load_places(artifact) == list(places)
    forget(tmp_path / "pipeline")
    return artifact.exists()


def test_a_push_counts_while_its_version_is_served(tmp_path, base):
    assert kept(tmp_path, publish(tmp_path, base, "one"))


def test_a_push_counts_no_more_when_what_was_served_is_gone(tmp_path, base):
    one = publish(tmp_path, base, "one")
    two = publish(tmp_path, base, "two")
    shutil.rmtree(base / str(two.version))
    assert not kept(tmp_path, two)
    assert kept(tmp_path, one)
    shutil.rmtree(base)
    assert not kept(tmp_path, one)


def test_a_push_counts_no_more_when_one_of_its_flavours_is_gone(tmp_path, base):
    stock = base.with_name("mtmh-stock")
    places = publish(tmp_path, base, "one"), publish(tmp_path, stock, "one")
    assert kept(tmp_path, *places)
    shutil.rmtree(stock)
    assert not kept(tmp_path, *places)


def test_a_push_that_was_withdrawn_is_tried_again_and_one_that_was_followed_is_not(tmp_path, base):
    one, two = publish(tmp_path, base, "one"), publish(tmp_path, base, "two")
    assert kept(tmp_path, one)
    rollback(base)
    assert not kept(tmp_path, two)
    assert kept(tmp_path, one)
    rollback(base, to=two.version)
    assert kept(tmp_path, two)
    assert served_at(str(base)).manifest.digest == two.digest


def test_a_version_that_did_not_end_is_not_what_is_served(tmp_path, base):
    one = publish(tmp_path, base, "one")
    (base / str(one.version + 1)).mkdir()
    assert served_at(str(base)).version == one.version
    assert served_at(str(tmp_path / "elsewhere")) is None


@pytest.mark.parametrize("text", ["", '[{"base": "/serv', "[3]", '[{"base": "/serving"}]', "3"])
def test_a_push_whose_note_is_damaged_counts_no_more(tmp_path, text):
    artifact = tmp_path / "pipeline" / "Pusher" / "pushed_model" / "7"
    artifact.mkdir(parents=True)
    (artifact / "pushed.json").write_text(text)
    forget(tmp_path / "pipeline")
    assert not artifact.exists()


@pytest.fixture
def blessing(tmp_path):
    """The ServingValidator's channels, on a root where a runner would put them."""
    spec = serving_validator.ServingValidatorSpec
    inputs = artifacts(spec, spec.INPUTS, tmp_path / "in")
    outputs = artifacts(spec, spec.OUTPUTS, tmp_path / "pipeline" / "ServingValidator")
    place = tmp_path / "pipeline" / "ServingValidator" / "blessing" / "5"
    outputs["blessing"][0].uri = str(place)
    return inputs, outputs, place


def test_what_a_server_has_refused_is_looked_at_again(tmp_path, blessing):
    _, outputs, place = blessing
    write_blessing(outputs, "blessing", SERVER_DIED)
    forget(tmp_path / "pipeline")
    assert not place.exists()
    write_blessing(outputs, "blessing", Verdict("ServingValidator", "the version", (), {}))
    forget(tmp_path / "pipeline")
    assert place.exists()


def test_a_removal_that_is_cut_off_leaves_nothing_to_the_cache(tmp_path, blessing, monkeypatch):
    _, outputs, place = blessing
    channel = place.parent

    def cut_off(directory):
        """As a kill after the first file: the marker is gone, the directory is not."""
        (directory / "INFRA_NOT_BLESSED").unlink()
        raise KeyboardInterrupt

    write_blessing(outputs, "blessing", SERVER_DIED)
    with monkeypatch.context() as killed:
        killed.setattr(shutil, "rmtree", cut_off)
        with pytest.raises(KeyboardInterrupt):
            forget(tmp_path / "pipeline")
    assert not place.exists()
    assert list(channel.iterdir())
    forget(tmp_path / "pipeline")
    assert not list(channel.iterdir())


def test_what_no_server_has_seen_is_not_looked_at_again(tmp_path, blessing):
    inputs, outputs, place = blessing
    write_blessing(inputs, "model_blessing", Verdict("RetrievalEvaluator", "the model", ("recall is 0",), {}))
    serving_validator.Executor().Do(inputs, outputs, {})
    assert (place / "INFRA_NOT_BLESSED").exists()
    forget(tmp_path / "pipeline")
    assert place.exists()


def test_a_refusal_of_the_infra_validator_is_looked_at_again(tmp_path):
    place = tmp_path / "pipeline" / "InfraValidator" / "blessing" / "5"
    place.mkdir(parents=True)
    (place / "INFRA_NOT_BLESSED").touch()
    forget(tmp_path / "pipeline")
    assert not place.exists()
