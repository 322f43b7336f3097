"""The guess at a content vector from words."""

import numpy as np
import pytest

from preprocessing.backend import tf
from preprocessing.config import FeaturesConfig
from preprocessing.read import read_items
from preprocessing.transform import GRAM_BUCKETS, GRAM_KINDS, text_grams
from tests.trainer.toys import (
    ALL_FEATURES,
    SMALL,
    SMALL_LOSS,
    SMALL_MODEL,
    item_table,
    small_catalogue,
    write_checkerboard,
)
from trainer.artefact import load_model
from trainer.model import MTMHModel
from trainer.stand_in import ContentStandIn, Grams, fit_stand_in
from trainer.train import train


def grams_of(*titles):
    return text_grams(tf.constant(list(titles)), tf.fill([len(titles)], ""), words=8)


def as_columns(ragged):
    return Grams(ragged.flat_values.numpy().astype(np.uint16), ragged.row_splits.numpy())


def fitted(titles, content, **options):
    layer = ContentStandIn(content.shape[1])
    layer.assign(*fit_stand_in(as_columns(grams_of(*titles)), content, **options))
    return layer


def test_ridge_of_one_item_by_hand():
    """The word and its one run of letters each weigh 1, so X X' = 2 and W = X' y / (2 + ridge)."""
    grams = as_columns(grams_of("a"))
    assert len(grams.values) == 2
    weights, axes = fit_stand_in(grams, np.array([[1.0, 0.0]], np.float32), ridge=0.5)
    full = weights @ axes
    assert full[grams.values.astype(int)] == pytest.approx(np.array([[0.4, 0.0]] * 2), abs=1e-6)
    assert np.count_nonzero(np.abs(full) > 1e-7) == 2


def test_ridge_is_the_closed_form():
    titles = ["red cup", "red mug", "blue mug", "green", "", "red cup set"]
    rng = np.random.default_rng(0)
    content = rng.normal(size=(6, 3)).astype(np.float32)
    content /= np.linalg.norm(content, axis=1, keepdims=True)
    content[3] = 0  # the teacher has nothing to say of it
    ragged = grams_of(*titles)
    weights, axes = fit_stand_in(as_columns(ragged), content, ridge=0.3)
    matrix = np.zeros((6, GRAM_KINDS * GRAM_BUCKETS))
    for row, ids in enumerate(ragged.to_list()):
        for kind in range(GRAM_KINDS):
            of_kind = [i for i in ids if i // GRAM_BUCKETS == kind]
            for i in of_kind:
                matrix[row, i] += len(of_kind) ** -0.5
    taught = [0, 1, 2, 5]
    x, y = matrix[taught], content[taught]
    expected = x.T @ np.linalg.solve(x @ x.T + 0.3 * np.eye(4), y)
    assert weights @ axes == pytest.approx(expected, abs=1e-5)
    guess = matrix @ expected
    norms = np.linalg.norm(guess, axis=1, keepdims=True)
    layer = ContentStandIn(3)
    layer.assign(weights, axes)
    unit = np.divide(guess, norms, out=np.zeros_like(guess), where=norms > 0)
    assert layer(ragged).numpy() == pytest.approx(unit, abs=1e-4)


def test_only_absent_vectors_are_replaced():
    titles = ["red cup", "blue mug"]
    layer = fitted(titles, np.eye(2, dtype=np.float32))
    content = np.array([[0.6, -0.8], [0, 0], [0, 0], [1e-30, 0]], np.float32)
    found = layer.fill(tf.constant(content), grams_of("red cup", "red cup", "", "blue mug")).numpy()
    assert found[[0, 2, 3]].tobytes() == content[[0, 2, 3]].tobytes()  # bit by bit; nothing to guess from stays absent
    assert found[1, 0] > 0.9
    assert np.linalg.norm(found[1]) == pytest.approx(1.0, abs=1e-5)
    everything = np.ones((2, 2), np.float32)
    assert layer.fill(tf.constant(everything), grams_of("red", "blue")).numpy().tobytes() == everything.tobytes()


def test_equal_inputs_give_equal_weights():
    grams, content = as_columns(grams_of("red cup", "blue mug", "red mug")), np.eye(3, 5, dtype=np.float32)
    first, second = fit_stand_in(grams, content), fit_stand_in(grams, content)
    assert [part.tobytes() for part in first] == [part.tobytes() for part in second]


def test_no_teacher_no_guess():
    for titles, content in ((["red"], np.zeros((1, 1))), ([""], np.ones((1, 1)))):
        assert not fitted(titles, content.astype(np.float32))(grams_of("red", "")).numpy().any()


def test_the_axes_are_bounded():
    weights, axes = fit_stand_in(as_columns(grams_of("red")), np.eye(1, 300, dtype=np.float32))
    assert (weights.shape[1], axes.shape) == (128, (128, 300))


@pytest.mark.parametrize("off", ["text", "content_vector"])
def test_no_stand_in_where_the_encoder_is_not_to_see_the_words_or_the_vector(off):
    features = FeaturesConfig(**{off: False})
    model = MTMHModel(small_catalogue(item_table(["red", "blue"])), features, SMALL_MODEL, SMALL_LOSS, 0)
    assert not hasattr(model.encoder, "stand_in")


def model_and_catalogue():
    content = np.eye(4, dtype=np.float32)
    content[3] = 0
    catalogue = small_catalogue(item_table(["red cup", "blue mug", "green", "red mug"], content=content))
    return MTMHModel(catalogue, ALL_FEATURES, SMALL_MODEL, SMALL_LOSS, 0), catalogue


def test_an_item_with_content_is_encoded_as_before_and_one_without_by_its_words():
    model, catalogue = model_and_catalogue()
    before = model.embed_catalogue()
    model.encoder.stand_in.assign(*fit_stand_in(catalogue.grams, catalogue.content))
    after = model.embed_catalogue()
    for name, column in vars(before).items():
        assert getattr(after, name)[:3] == pytest.approx(column[:3], abs=1e-6)
        assert np.abs(getattr(after, name)[3] - column[3]).max() > 1e-3


def test_the_stand_in_is_not_trained_and_survives_the_disk(tmp_path):
    examples = write_checkerboard(tmp_path / "examples")
    result = train(examples, tmp_path / "out", SMALL)
    items = read_items(str(examples))
    model, catalogue, _ = load_model(result.model, items)
    weights, axes = fit_stand_in(catalogue.grams, catalogue.content)
    layer = model.encoder.stand_in
    found = {variable.name.split("/")[-1].split(":")[0]: variable.numpy() for variable in layer.variables}
    assert found["coefficients"].tobytes() == weights.tobytes()
    assert found["axes"].tobytes() == axes.tobytes()
    assert not any(variable is trained for variable in layer.variables for trained in model.trainable_variables)
    guess = layer(grams_of("black field")).numpy()[0]
    black, white = (catalogue.content[colour::2] @ guess for colour in (0, 1))
    assert black.mean() > white.mean() + 0.3
