"""The shared encoder and what stands on it."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, strategies as st

from preprocessing.backend import tf
from preprocessing.config import FeaturesConfig
from trainer.config import ModelConfig
from trainer.encoder import EncoderSizes, ItemEncoder, ItemInputs, MeanEmbedding
from trainer.heads import (
    EngagementCandidateTower,
    EngagementQueryTower,
    RelevanceQueryTower,
    Temperature,
    principal_axes,
)

MODEL = ModelConfig(dimension=4, hidden=6, text_buckets=10)
SIZES = EncoderSizes(num_items=5, num_categories=4, content_dimension=3)
GROUPS = [field.name for field in dataclasses.fields(FeaturesConfig)]


def inputs(number=5):
    rng = np.random.default_rng(1)
    return ItemInputs(
        index=tf.range(number),
        tokens=tf.constant(rng.integers(0, 11, (number, 4)), tf.int32),
        grams=tf.ragged.constant([[row] for row in range(number)], dtype=tf.int32),
        categories=tf.constant(rng.integers(0, 4, (number, 2)), tf.int32),
        content=tf.constant(rng.normal(size=(number, 3)), tf.float32),
    )


@given(st.lists(st.lists(st.integers(0, 6), min_size=3, max_size=3), min_size=1, max_size=5))
def test_mean_embedding_is_the_mean_of_what_is_there(ids):
    layer = MeanEmbedding(7, 2, name="bag")
    table = layer.get_weights()[0]
    expected = [
        np.mean([table[i] for i in row if i > 0], axis=0) if any(row) else np.zeros(2, np.float32) for row in ids
    ]
    assert layer(tf.constant(ids, tf.int32)).numpy() == pytest.approx(np.array(expected), abs=1e-6)


def test_mean_embedding_gradient():
    layer = MeanEmbedding(4, 1, name="bag")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(tf.constant([[1, 1, 2], [0, 0, 0], [2, 0, 0]])) * [[3.0], [5.0], [7.0]])
    assert tape.gradient(loss, layer.trainable_weights[0]).numpy().ravel() == pytest.approx([0, 2, 1 + 7, 0])


@pytest.mark.parametrize("on", [*([group] for group in GROUPS), *([g for g in GROUPS if g != off] for off in GROUPS)])
def test_each_feature_group_can_be_switched(on):
    """The encoder reads the groups that are on and no other, and all that it has is trained."""
    encoder = ItemEncoder(SIZES, FeaturesConfig(**{group: group in on for group in GROUPS}), MODEL)
    base = inputs()
    with tf.GradientTape() as tape:
        hidden = encoder(base)
        loss = tf.reduce_sum(hidden**2)
    assert hidden.shape == (5, 6)
    assert all(gradient is not None for gradient in tape.gradient(loss, encoder.trainable_variables))
    other = {
        "ids": {"index": tf.reverse(base.index, [0])},
        "text": {"tokens": 10 - base.tokens},
        "categories": {"categories": 3 - base.categories},
        "content_vector": {"content": -base.content},
    }
    for group, change in other.items():
        moved = np.abs(encoder(dataclasses.replace(base, **change)).numpy() - hidden.numpy()).max() > 1e-4
        assert moved == (group in on), group


def test_hidden_identity_is_that_of_an_unknown_item():
    encoder = ItemEncoder(SIZES, FeaturesConfig(), MODEL)
    base = inputs()
    keep = tf.constant([[1.0], [0.0], [1.0], [0.0], [0.0]])
    strangers = dataclasses.replace(base, index=tf.constant([0, 5, 2, 5, 5]))
    assert encoder(base, keep).numpy() == pytest.approx(encoder(strangers).numpy(), abs=1e-6)
    assert np.abs(encoder(base).numpy() - encoder(strangers).numpy()).max() > 1e-3


def test_elements_of_an_identity_are_scaled_and_nothing_else():
    encoder = ItemEncoder(SIZES, FeaturesConfig(text=False, categories=False, content_vector=False), MODEL)
    base = inputs()
    scale = np.random.default_rng(0).choice([0.0, 2.0], size=(5, MODEL.dimension)).astype(np.float32)
    scaled = encoder(base, id_scale=scale).numpy()
    table = encoder._ids.embeddings.numpy()
    table[:5] *= scale
    encoder._ids.embeddings.assign(table)
    assert encoder(base).numpy() == pytest.approx(scaled, abs=1e-6)
    without = ItemEncoder(SIZES, FeaturesConfig(ids=False), MODEL)
    assert without(base, id_scale=scale).numpy().tobytes() == without(base).numpy().tobytes()


def test_hidden_content_is_an_absent_vector():
    encoder = ItemEncoder(SIZES, FeaturesConfig(), MODEL)
    base = inputs()
    keep = tf.constant([[1.0], [0.0], [1.0], [0.0], [0.0]])
    absent = dataclasses.replace(base, content=base.content * keep)
    hidden = encoder.with_content(base, keep).content.numpy()
    assert hidden.tobytes() == encoder.with_content(absent).content.numpy().tobytes()


@pytest.mark.parametrize("tower", [EngagementQueryTower, EngagementCandidateTower])
def test_engagement_towers_reach_the_unit_sphere(tower):
    hidden = np.random.default_rng(0).normal(size=(7, 6)).astype(np.float32) * 100
    vectors = tower(4)(hidden).numpy()
    assert vectors.shape == (7, 4)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(7), abs=1e-5)


@pytest.mark.parametrize("use_content", [True, False])
def test_relevance_tower_reaches_the_unit_sphere_with_and_without_content(use_content):
    rng = np.random.default_rng(0)
    hidden, content = rng.normal(size=(6, 5)).astype(np.float32), rng.normal(size=(6, 3)).astype(np.float32)
    content[2] = 0
    tower = RelevanceQueryTower(4, use_content)
    vectors = tower(hidden, content).numpy()
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(6), abs=1e-5)
    without = tower(hidden, np.zeros_like(content)).numpy()
    assert without[2] == pytest.approx(vectors[2], abs=1e-6)
    assert (np.abs(without[0] - vectors[0]).max() > 1e-3) == use_content


@pytest.mark.parametrize(("content_dimension", "dimension"), [(6, 3), (3, 3), (2, 4), (1, 2)])
def test_relevance_tower_starts_as_the_teachers_principal_projection(content_dimension, dimension):
    rng = np.random.default_rng(0)
    content = rng.normal(size=(30, content_dimension)) @ np.diag(3.0 ** -np.arange(content_dimension))
    content = (content / np.linalg.norm(content, axis=1, keepdims=True)).astype(np.float32)
    tower = RelevanceQueryTower(dimension, use_content=True)
    tower(tf.zeros([1, 5]), tf.zeros([1, content_dimension]))
    tower.initialise_content(principal_axes(content, dimension))
    found = tower(tf.zeros([30, 5]), content).numpy()
    _, _, axes = np.linalg.svd(content, full_matrices=False)
    projected = content @ axes[:dimension].T
    projected /= np.linalg.norm(projected, axis=1, keepdims=True)
    assert found @ found.T == pytest.approx(projected @ projected.T, abs=1e-4)


def test_principal_axes_of_no_content_are_usable():
    assert principal_axes(np.zeros((4, 1), np.float32), 3).shape == (1, 3)
    assert np.isfinite(principal_axes(np.zeros((4, 5), np.float32), 3)).all()


def test_temperature_divides_and_stays_in_bounds():
    layer = Temperature(0.07, name="t")
    assert float(layer.value) == pytest.approx(0.07, rel=1e-5)
    assert layer(tf.constant([0.7, -1.4])).numpy() == pytest.approx([10.0, -20.0], rel=1e-4)
    optimizer = tf.keras.optimizers.SGD(1e6)
    for direction, bound in ((1.0, 1.0), (-1.0, 0.01)):
        with tf.GradientTape() as tape:
            loss = direction * layer(tf.constant(1.0))
        optimizer.minimize(loss, layer.trainable_weights, tape=tape)
        assert float(layer.value) == pytest.approx(bound, rel=1e-3)
