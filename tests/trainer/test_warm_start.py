"""A training that begins with another one's weights: what is carried over, to where, and when nothing is."""

import dataclasses
import json
import logging

import numpy as np
import pytest

from preprocessing.errors import UserError
from preprocessing.manifest import load_manifest, save_manifest
from preprocessing.read import read_items
from tests.trainer.toys import (
    SMALL,
    changed,
    checkerboard_items,
    item_table,
    small_catalogue,
    write_checkerboard,
)
from trainer.artefact import (
    ModelDescription,
    WarmStart,
    _keep_items,
    catalogue_digest,
    load_description,
    load_model,
    save_model,
    save_weights,
)
from trainer.base import Base
from trainer.model import MTMHModel
from trainer.train import train
from trainer.warm_start import find_start, rotation

WARM = changed(SMALL, trainer={"warm_start": True, "epochs": 1})


def at(directory, validation, split):
    """The examples as if their log had these times."""
    manifest = load_manifest(str(directory))
    save_manifest(dataclasses.replace(manifest, validation_time=validation, split_time=split), str(directory))
    return directory


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    return at(write_checkerboard(tmp_path_factory.mktemp("board")), 10.0, 20.0)


@pytest.fixture(scope="module")
def base(board, tmp_path_factory):
    """A model as a training would have left it: weights of both stages, here drawn, and its description."""
    items = read_items(str(board))
    catalogue = small_catalogue(items)
    directory = tmp_path_factory.mktemp("base")
    first, final = (MTMHModel(catalogue, SMALL.features, SMALL.model, SMALL.loss, seed) for seed in (8, 9))
    save_weights(directory / "stage", first)
    description = ModelDescription(
        features=SMALL.features, model=SMALL.model, loss=SMALL.loss, trainer=SMALL.trainer, seed=9, num_items=16,
        content_dimension=6, vocabulary=catalogue.vocabulary, catalogue_digest=catalogue_digest(items),
        examples_digest="e" * 64, epochs=4, dial=(), refit=False, validation_time=10.0, split_time=20.0,
    )  # fmt: skip
    save_model(directory / "model", final, description, items, directory / "stage")
    return Base(directory / "model", "version 7")


@pytest.fixture(scope="module")
def later(tmp_path_factory):
    """Examples of a day later."""
    return at(write_checkerboard(tmp_path_factory.mktemp("later")), 11.0, 21.0)


@pytest.fixture(scope="module")
def grown():
    """The checkerboard backwards, without three fields, with two new ones, and seen by a teacher turned round."""
    before = checkerboard_items()
    kept = [row for row in range(len(before) - 1, -1, -1) if row not in (0, 5, 6)]
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    content = np.concatenate([before.content_vectors[kept], np.eye(6)[:2]]) @ turn
    return item_table(
        [*(before.titles[row] for row in kept), "red field", "black pawn"],
        [*(before.categories[row] for row in kept), ("red", "fields"), ("black", "pawns")],
        content,
        ids=[*(before.ids[row] for row in kept), "new", "pawn"],
    )


def test_items_that_stay_keep_their_vectors_in_another_catalogue(board, base, grown):
    """Whatever their place, the ids of categories, and the axes of the teacher."""
    before = read_items(str(board))
    trained, _, description = load_model(base.directory, before)
    catalogue = small_catalogue(grown)
    assert catalogue.vocabulary != description.vocabulary
    start = find_start(base, board, grown, catalogue, WARM, stages=2)
    model = MTMHModel(catalogue, SMALL.features, SMALL.model, SMALL.loss, seed=1)
    fresh = model.embed_catalogue()
    said = start.put_into(model, first_stage=False)
    assert (said.model, said.items, said.examples_digest) == ("version 7", 13, description.examples_digest)
    there = [before.ids.index(item_id) for item_id in grown.ids[:13]]
    old, new = trained.embed_catalogue(), model.embed_catalogue()
    for name, vectors in vars(old).items():
        np.testing.assert_allclose(vars(new)[name][:13], vectors[there], atol=1e-5)
        assert not np.allclose(vars(fresh)[name][:13], vectors[there], atol=0.1)
    assert model.temperatures() == trained.temperatures()
    assert model.known.numpy().all()
    first = start.put_into(model, first_stage=True)
    assert first == said
    assert not np.allclose(model.embed_catalogue().relevance[:13], old.relevance[there], atol=1e-3)


def copied(base, directory, **changes):
    """The base elsewhere, with other contents of some files."""
    directory.mkdir()
    for path in base.directory.iterdir():
        (directory / path.name).write_bytes(changes.get(path.name.replace(".", "_"), path.read_bytes()))
    return Base(directory, base.name)


def test_what_has_no_identity_carries_none(board, base, tmp_path):
    """An item that was in no pair has a row in the base's table that means nothing."""
    items = read_items(str(board))
    trained, _, _ = load_model(base.directory, items)
    trained.known.assign([True] * 15 + [False])
    other = copied(base, tmp_path / "model")
    save_weights(other.directory / "weights", trained)
    catalogue = dataclasses.replace(small_catalogue(items), known=np.zeros(16, np.bool_))
    start = find_start(other, board, items, catalogue, WARM, stages=2)
    model = MTMHModel(catalogue, SMALL.features, SMALL.model, SMALL.loss, seed=1)
    assert start.put_into(model, first_stage=False).items == 15
    assert model.known.numpy().tolist() == [True] * 15 + [False]


def first_epoch(output):
    return json.loads((output / "checkpoints/training/state.json").read_text())["state"]["history"][0]


def test_a_warm_training_names_its_base(base, later, tmp_path):
    config = changed(WARM, trainer={"batch_size": 512})
    train(later, tmp_path, config, base=base)
    description = load_description(tmp_path / "model")
    assert description.warm_start == WarmStart("version 7", base.digest, "e" * 64, 16)
    assert (description.validation_time, description.split_time) == (11.0, 21.0)
    with pytest.raises(UserError, match="from another start"):
        train(later, tmp_path, config, resume=True, base=Base(tmp_path / "model", "version 8"))


@pytest.mark.slow
def test_a_warm_training_is_ahead_and_repeats_itself(board, later, tmp_path):
    train(board, tmp_path / "cold", changed(SMALL, trainer={"epochs": 4, "patience": 4}))
    base = Base(tmp_path / "cold" / "model", "version 7")
    for name in ("warm", "again"):
        train(later, tmp_path / name, WARM, base=base)
    assert load_description(base.directory).warm_start is None
    losses = [first_epoch(tmp_path / name)["train/loss"] for name in ("cold", "warm", "again")]
    assert losses[1] < 0.9 * losses[0]
    assert losses[1] == losses[2]
    items = read_items(str(later))
    first, second = (load_model(tmp_path / name / "model", items)[0].embed_catalogue() for name in ("warm", "again"))
    for name, vectors in vars(first).items():
        assert np.array_equal(vectors, vars(second)[name])


def begins(board, base, config, items=None, stages=2):
    items = items or read_items(str(board))
    return find_start(base, board, items, small_catalogue(items, config.model), config, stages=stages)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": {"dimension": 4}}, "model.dimension=8, now 4"),
        ({"model": {"name": "one_head"}}, "model.name=mtmh, now one_head"),
        ({"features": {"text": False}}, "with features="),
    ],
)
def test_another_shape_starts_with_nothing(board, base, caplog, changes, words):
    with caplog.at_level(logging.WARNING):
        assert begins(board, base, changed(WARM, **changes)) is None
    assert "starting with nothing, not with version 7: it was trained with" in caplog.text
    assert words in caplog.text


def test_what_has_seen_later_rows_is_not_begun_with(base, tmp_path, caplog):
    """Else the validation slice and the evaluation would know the answers: a back-fill begins with nothing."""
    for validation, split in ((9.0, 20.0), (10.0, 19.0)):
        earlier = at(write_checkerboard(tmp_path / f"{split}"), validation, split)
        assert begins(earlier, base, WARM) is None
    assert caplog.text.count("later rows than this training may see") == 2
    same = at(write_checkerboard(tmp_path / "same"), 10.0, 20.0)
    assert begins(same, base, WARM) is not None
    assert begins(at(same, 9.0, 20.0), base, WARM, stages=1) is not None


@pytest.mark.parametrize(
    ("change", "words"),
    [({"refit": True}, "trainer.refit"), ({"validation_time": None}, "without a validation slice")],
)
def test_a_base_that_was_made_otherwise(board, base, tmp_path, caplog, change, words):
    document = json.loads((base.directory / "model.json").read_text()) | change
    other = copied(base, tmp_path / "model", model_json=json.dumps(document).encode())
    assert begins(board, other, WARM) is None
    assert words in caplog.text
    if "refit" in change:
        assert begins(board, other, changed(WARM, trainer={"refit": True})) is not None


def test_another_teacher_starts_with_nothing(board, base, caplog):
    items = checkerboard_items()
    strange = np.random.default_rng(0).normal(size=items.content_vectors.shape).astype(np.float32)
    strange /= np.linalg.norm(strange, axis=1, keepdims=True)
    assert begins(board, base, WARM, dataclasses.replace(items, content_vectors=strange)) is None
    assert "agree by a mean cosine of" in caplog.text


def test_a_catalogue_of_strangers_starts_with_nothing(board, base, caplog):
    items = dataclasses.replace(checkerboard_items(), ids=[f"x{row:02}" for row in range(16)])
    assert begins(board, base, WARM, items) is None
    assert "it knows none of these items" in caplog.text


def test_a_teacher_that_says_nothing_is_no_obstacle(board, base, tmp_path):
    """A catalogue without texts has no vectors."""
    empty = dataclasses.replace(checkerboard_items(), content_vectors=np.zeros((16, 6), np.float32))
    other = copied(base, tmp_path / "model")
    _keep_items(other.directory / "items.npz", empty)
    assert begins(board, other, WARM, empty) is not None


def test_the_first_model_starts_with_nothing(board, caplog):
    with caplog.at_level(logging.INFO, logger="mtmh"):
        assert begins(board, None, WARM) is None
    assert "no model was blessed yet" in caplog.text


@pytest.mark.parametrize("name", ["weights.index", "items.npz", "model.json"])
def test_a_damaged_base_is_named(board, base, tmp_path, name):
    other = copied(base, tmp_path / "model", **{name.replace(".", "_"): b""})
    model = MTMHModel(small_catalogue(read_items(str(board))), SMALL.features, SMALL.model, SMALL.loss, seed=1)
    with pytest.raises(UserError, match=str(other.directory)):
        begins(board, other, WARM).put_into(model, first_stage=False)


def test_rotation():
    rng = np.random.default_rng(0)
    theirs = rng.normal(size=(40, 6)).astype(np.float32)
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0].astype(np.float32)
    np.testing.assert_allclose(rotation(theirs @ turn, theirs), turn.T, atol=1e-5)
    assert np.array_equal(rotation(theirs, theirs), np.eye(6))
    few = rotation((theirs @ turn)[:3], theirs[:3])
    np.testing.assert_allclose(few @ few.T, np.eye(6), atol=1e-5)
    np.testing.assert_allclose((theirs @ turn)[:3] @ few, theirs[:3], atol=1e-4)
    assert rotation(theirs[:, :4], theirs).shape == (4, 6)
