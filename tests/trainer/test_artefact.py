"""A model on disk: what is read back is what was written, and what does not fit says so."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from preprocessing.backend import tf
from preprocessing.errors import UserError
from preprocessing.read import read_items
from tests.trainer.toys import SMALL, checkerboard_items, small_catalogue, write_examples
from trainer.artefact import (
    DialPoint,
    ModelDescription,
    catalogue_digest,
    load_description,
    load_model,
    save_model,
    weights_digest,
)
from trainer.model import MTMHModel

ROOT = Path(__file__).resolve().parents[2]
ITEMS = checkerboard_items()


def built(name="mtmh", seed=3):
    config = dataclasses.replace(SMALL.model, name=name)
    catalogue = small_catalogue(ITEMS, config)
    model = MTMHModel(catalogue, SMALL.features, config, SMALL.loss, seed)
    description = ModelDescription(
        features=SMALL.features,
        model=config,
        loss=SMALL.loss,
        seed=seed,
        num_items=len(ITEMS),
        content_dimension=6,
        vocabulary=catalogue.vocabulary,
        catalogue_digest=catalogue_digest(ITEMS),
        trainer=SMALL.trainer,
        examples_digest="0" * 64,
        epochs=2,
        dial=(DialPoint(0.0, 0.5, 0.25), DialPoint(1.0, 0.25, None)),
        refit=False,
        quota_dial=(DialPoint(0.0, 0.5, 0.25), DialPoint(0.5, 0.375, 0.5)),
        k=50,
    )
    return model, description


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    directory = tmp_path_factory.mktemp("saved") / "model"
    model, description = built()
    save_model(directory, model, description, ITEMS)
    return directory, model, description


@pytest.fixture
def copy(saved, tmp_path):
    return Path(shutil.copytree(saved[0], tmp_path / "model"))


def test_weights_are_named_by_their_values(saved, copy, tmp_path):
    directory, _, description = saved
    other, _ = built()  # of the same seed
    save_model(tmp_path / "again", other, description, ITEMS)
    assert weights_digest(tmp_path / "again") == weights_digest(directory)
    variable = other.variables[0]
    variable.assign_add(tf.ones_like(variable))
    save_model(tmp_path / "again", other, description, ITEMS)
    assert weights_digest(tmp_path / "again") != weights_digest(directory)
    (copy / "weights.index").unlink()
    with pytest.raises(UserError, match=r"weights in .* cannot be read.*train the model again"):
        weights_digest(copy)


def test_a_fresh_process_gives_the_same_vectors(saved, tmp_path):
    directory, model, _ = saved
    examples = write_examples(tmp_path / "examples", ITEMS, [], [])
    program = f"""
import sys
from pathlib import Path
import numpy as np
from preprocessing.read import read_items
from trainer.artefact import load_model
vectors = load_model(Path({str(directory)!r}), read_items({str(examples)!r}))[0].embed_catalogue()
np.savez({str(tmp_path / "vectors.npz")!r}, **vars(vectors))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with np.load(tmp_path / "vectors.npz") as loaded:
        for name, vectors in vars(model.embed_catalogue()).items():
            assert np.array_equal(loaded[name], vectors), name


@pytest.mark.parametrize("name", ["mtmh", "one_head"])
def test_round_trip(tmp_path, name):
    model, description = built(name)
    save_model(tmp_path / "model", model, description, ITEMS)
    again, catalogue, read = load_model(tmp_path / "model", ITEMS)
    assert read == description
    assert again.has_relevance == (name == "mtmh")
    assert np.array_equal(again.embed_catalogue().engagement_candidate, model.embed_catalogue().engagement_candidate)
    assert catalogue.known.tolist() == [True] * 16


def test_weights_are_those_of_the_model_alone(saved):
    """Neither Adam's moments, three times the size, nor metrics."""
    directory, model, _ = saved
    names = [name for name, _ in tf.train.list_variables(str(directory / "weights"))]
    stored = sum(np.prod(shape, dtype=int) for _, shape in tf.train.list_variables(str(directory / "weights")))
    trained = sum(int(tf.size(v)) for part in model.parts().values() for v in getattr(part, "variables", [part]))
    assert not any("optimizer" in name or "loss" in name for name in names)
    assert trained <= stored <= trained + 2  # and the checkpoint's own save counter and graph


def test_saving_replaces_and_leaves_nothing_behind(copy):
    model, description = built(seed=4)
    save_model(copy, model, description, ITEMS)
    assert load_description(copy).seed == 4
    assert [path.name for path in copy.parent.iterdir()] == ["model"]


LEFT = ".model.0123456789ab.tmp"


def test_killed_between_the_renames_of_a_saving_the_earlier_model_is_there(saved, copy):
    """And what a kill has left is gone after the next."""
    copy.rename(copy.with_name(f"{LEFT}.old"))
    shutil.copytree(saved[0], copy.with_name(LEFT))
    assert load_description(copy).seed == 3
    copy.with_name(LEFT).mkdir()
    model, description = built(seed=4)
    save_model(copy, model, description, ITEMS)
    assert [path.name for path in copy.parent.iterdir()] == ["model"]


def test_a_saving_that_fails_leaves_the_earlier_model_and_nothing_else(copy, monkeypatch):
    monkeypatch.setattr("trainer.artefact._keep_items", lambda *_: 1 / 0)
    model, description = built(seed=4)
    with pytest.raises(ZeroDivisionError):
        save_model(copy, model, description, ITEMS)
    assert load_description(copy).seed == 3
    assert [path.name for path in copy.parent.iterdir()] == ["model"]


def test_a_description_without_what_came_later_still_loads(copy):
    path = copy / "model.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    for name in ("code", "k"):
        del document[name]
    path.write_text(json.dumps(document), encoding="utf-8")
    assert (load_description(copy).code, load_description(copy).k) == ("", None)


def test_missing_model_names_the_command(tmp_path):
    with pytest.raises(UserError, match=r"model\.json is missing.*mtmh train"):
        load_model(tmp_path, ITEMS)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: "null",
        lambda text: json.dumps({**json.loads(text), "format_version": 99}),
        lambda text: text.replace('"num_items"', '"number_of_items"'),
        lambda text: json.dumps({**json.loads(text), "model": None}),
        lambda text: json.dumps({**json.loads(text), "dial": [{"recall": 1}]}),
        lambda text: json.dumps({**json.loads(text), "dial": None}),
        lambda text: json.dumps({**json.loads(text), "seed": "3"}),
        lambda text: json.dumps({**json.loads(text), "vocabulary": "black"}),
        lambda text: text.replace('"dimension": 8', '"dimension": "8"'),
        lambda text: text.replace('"id_dropout"', '"dropout"'),
        lambda text: json.dumps({key: value for key, value in json.loads(text).items() if key != "loss"}),
    ],
)
def test_damaged_description_says_to_train_again(copy, spoil):
    path = copy / "model.json"
    path.write_text(spoil(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(UserError, match="train the model again"):
        load_model(copy, ITEMS)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="train the model again"):
        load_model(copy, ITEMS)


@pytest.mark.parametrize("part", ["weights.index", "weights.data-00000-of-00001"])
@pytest.mark.parametrize("spoil", ["missing", "cut", "empty"])
def test_damaged_weights_say_to_train_again(copy, part, spoil):
    path = copy / part
    if spoil == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: 100 if spoil == "cut" else 0])
    with pytest.raises(UserError, match=r"weights in .* do not fit .*; train the model again"):
        load_model(copy, ITEMS)


def other_catalogues():
    reordered = dataclasses.replace(ITEMS, ids=[f"j{i:03d}" for i in range(16)])
    content = ITEMS.content_vectors
    yield "other ids", reordered
    yield "another teacher", dataclasses.replace(ITEMS, content_vectors=content[:, ::-1])
    yield "another dimension", dataclasses.replace(ITEMS, content_vectors=content[:, :5])
    yield "other categories", dataclasses.replace(ITEMS, categories=[("new",)] * 16)
    yield "fewer items", checkerboard_items(12)


@pytest.mark.parametrize(
    ("name", "items"), list(other_catalogues()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_another_catalogue_is_refused(saved, name, items):
    with pytest.raises(UserError, match=r"another catalogue.*export it with the examples.*or train again"):
        load_model(saved[0], items)


def test_same_catalogue_read_from_disk_is_accepted(saved, tmp_path):
    load_model(saved[0], read_items(str(write_examples(tmp_path, ITEMS, [], []))))
