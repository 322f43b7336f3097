"""The model as a whole: what is encoded, and what a training step minimises."""

import dataclasses

import numpy as np
import pytest

from preprocessing.backend import tf
from preprocessing.config import FeaturesConfig
from tests.trainer.toys import SMALL, SMALL_LOSS, SMALL_MODEL, checkerboard_items, small_catalogue
from trainer.candidates import TrainingTables
from trainer.config import FLOAT32, MIXED_BFLOAT16, LossConfig
from trainer.model import MTMHModel
from trainer.optimizer import FusedAdam

ITEMS = checkerboard_items()
NUMBER = len(ITEMS)
UNSEEN = [NUMBER - 2, NUMBER - 1]
"""Items that were never a trigger; each other one is known to lead to the next."""
GROUPS = [field.name for field in dataclasses.fields(FeaturesConfig)]
BATCH = {
    "trigger": tf.constant([0, 3, 0, 7]),
    "target": tf.constant([[2, 4], [5, 0], [6, 0], [9, 1]]),
    "weight": tf.constant([[1.0, 0.5], [1.0, 0.0], [2.0, 0.0], [1.0, 1.0]]),
}


def build(features=None, model=SMALL_MODEL, loss=SMALL_LOSS, items=ITEMS, seed=0, precision=FLOAT32, gain=1.0):
    built = MTMHModel(small_catalogue(items, model), features or FeaturesConfig(), model, loss, seed)
    number = len(items)
    built.prepare_training(
        TrainingTables(
            chance=np.arange(1, number + 1) / number**2,
            known_row_splits=np.minimum(np.arange(number + 1), number - len(UNSEEN)),
            known_values=np.arange(1, number + 1 - len(UNSEEN), dtype=np.int32),
            teacher_neighbours=((np.arange(number)[:, None] + [[1, 2]]) % number).astype(np.int32),
            draws_per_batch=6.0,
            num_known=number,
            teacher_gain=gain,
        ),
        precision,
    )
    return built


@pytest.mark.parametrize("on", [[group] for group in GROUPS])
def test_any_feature_groups_embed_and_train(on):
    model = build(FeaturesConfig(**{group: group in on for group in GROUPS}))
    optimizer = FusedAdam(0.1)
    losses = []
    for _ in range(5):
        with tf.GradientTape() as tape:
            loss = model.compute_loss(BATCH, training=True)
        gradients = tape.gradient(loss, model.trainable_variables)
        assert all(gradient is not None for gradient in gradients)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        losses.append(float(loss))
    assert losses[-1] < losses[0]
    vectors = model.embed_catalogue()
    for column in vars(vectors).values():
        assert column.shape == (NUMBER, 8)
        assert np.linalg.norm(column, axis=1) == pytest.approx(np.ones(NUMBER), abs=1e-4)


@pytest.mark.parametrize(("align", "weight_of_align", "weight_of_unseen"), [(0.03, 0.03, 1.0), (None, 0.05, 2.0)])
def test_joint_loss_is_its_parts_by_numpy(align, weight_of_align, weight_of_unseen):
    """The whole catalogue as candidates, nothing dropped: the design's formula, written out.

    By default the teacher weighs a quarter where it saves a quarter of what counts as telling, and twice that for what
    was never a trigger.
    """
    loss = LossConfig(
        align=align,
        mask_known_positives=True,
        uniform_negatives=NUMBER,
        relevance_rows=3,
        unseen_rows=len(UNSEEN),
        relevance_candidates=40,
        teacher_neighbours=2,
    )
    undropped = dataclasses.replace(SMALL_MODEL, id_dropout=0.0, id_element_dropout=0.0, content_dropout=0.0)
    model = build(model=undropped, loss=loss, gain=0.0125)
    assert model.sampler.unseen(model.step).numpy().tolist() == UNSEEN
    compared = np.sort(model.sampler.for_relevance(tf.constant(UNSEEN), model.step).numpy())
    found = float(model.compute_loss(BATCH))
    vectors = model.embed_catalogue()
    temperatures = model.temperatures()
    scores = vectors.engagement_trigger @ vectors.engagement_candidate.T

    total = weights = 0.0
    batch = {name: value.numpy() for name, value in BATCH.items()}
    for trigger, targets, row_weights in zip(batch["trigger"], batch["target"], batch["weight"], strict=True):
        logits = scores[trigger] / temperatures["engagement_temperature"]
        own = {t for t, w in zip(targets, row_weights, strict=True) if w}
        negatives = [j for j in range(NUMBER) if j not in own | {(trigger + 1) % NUMBER}]
        for target, weight in zip(targets, row_weights, strict=True):
            denominator = np.exp(logits[target]) + np.exp(logits[negatives]).sum()
            total += weight * (np.log(denominator) - logits[target])
            weights += weight
    expected = total / weights

    content = ITEMS.content_vectors

    def divergence(left, right, temperature, of_unseen=1.0):
        rows = []
        for trigger in [*batch["trigger"][:3], *UNSEEN]:
            others = compared[compared != trigger]
            teacher = np.exp(content[others] @ content[trigger] / loss.teacher_temperature)
            student = np.exp(right[others] @ left[trigger] / temperature)
            teacher, student = teacher / teacher.sum(), student / student.sum()
            row_weight = of_unseen if trigger in UNSEEN else 1.0
            rows.append(row_weight * (teacher * np.log(teacher / student)).sum())
        return np.mean(rows)

    expected += loss.relevance * divergence(vectors.relevance, vectors.relevance, temperatures["relevance_temperature"])
    align_temperature = temperatures["align_temperature"]
    sides = vectors.engagement_trigger, vectors.engagement_candidate
    expected += weight_of_align * divergence(*sides, align_temperature, weight_of_unseen)
    assert found == pytest.approx(expected, rel=1e-4)


def test_mixed_precision_multiplies_in_bfloat16_in_training_alone():
    losses, halved, vectors = {}, {}, {}
    for precision in (FLOAT32, MIXED_BFLOAT16):
        model = build(precision=precision)
        vectors[precision] = model.embed_catalogue()
        step = tf.function(lambda model=model: model.compute_loss(BATCH, training=True), autograph=False)
        operations = step.get_concrete_function().graph.get_operations()
        products = [each.outputs[0].dtype for each in operations if each.type == "MatMul"]
        halved[precision] = products.count(tf.bfloat16)
        optimizer, losses[precision] = FusedAdam(0.02), []
        for _ in range(5):
            with tf.GradientTape() as tape:
                loss = step()
            gradients = tape.gradient(loss, model.trainable_variables)
            assert {gradient.dtype for gradient in gradients} == {tf.float32}
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
            losses[precision].append(float(loss))
    encoder, towers = 3, 5  # the trigger tower twice: for the events, and for what the teacher looks at
    assert halved == {FLOAT32: 0, MIXED_BFLOAT16: encoder + towers}
    assert losses[MIXED_BFLOAT16] == pytest.approx(losses[FLOAT32], rel=0.03)
    assert losses[MIXED_BFLOAT16] != losses[FLOAT32]
    for name, column in vars(vectors[FLOAT32]).items():
        assert (getattr(vectors[MIXED_BFLOAT16], name) == column).all()


def test_dropout_hides_as_often_as_it_says():
    def kept(rate):
        model = build()
        return np.mean([float(tf.reduce_mean(model._kept(tf.range(500), rate, stream))) for stream in (3, 4)])

    assert kept(0.0) == 1.0
    assert kept(1.0) == 0.0
    assert kept(0.3) == pytest.approx(0.7, abs=0.06)


def test_elements_of_identities_are_dropped_in_steps_alone_and_keep_their_mean():
    items = tf.range(500)
    model = build(model=dataclasses.replace(SMALL_MODEL, id_element_dropout=0.75))
    scale = model._id_scale(items).numpy()
    assert scale.shape == (500, 8)
    assert set(np.unique(scale)) == {0.0, 4.0}
    assert scale.mean() == pytest.approx(1.0, abs=0.1)
    assert model._id_scale(items).numpy().tobytes() == scale.tobytes()  # a resumed step drops what it would have
    model.step.assign_add(1)
    assert (model._id_scale(items).numpy() != scale).any()
    whole = build(model=dataclasses.replace(SMALL_MODEL, id_element_dropout=0.0))
    for dropping, kept in zip(
        vars(model.embed_catalogue()).values(), vars(whole.embed_catalogue()).values(), strict=True
    ):
        assert dropping.tobytes() == kept.tobytes()


def test_dropped_elements_change_what_is_learnt():
    def loss_with(rate):
        options = dataclasses.replace(SMALL_MODEL, id_dropout=0.0, id_element_dropout=rate, content_dropout=0.0)
        return float(build(model=options).compute_loss(BATCH))

    assert loss_with(0.5) != loss_with(0.0)


def test_a_step_counts_and_evaluation_does_not():
    model = build()
    model.compute_loss(BATCH)
    assert int(model.step) == 0
    model.compute_loss(BATCH, training=True)
    assert int(model.step) == 1


def test_training_needs_its_tables():
    model = MTMHModel(small_catalogue(ITEMS), SMALL.features, SMALL.model, SMALL.loss, 0)
    with pytest.raises(RuntimeError, match="prepare_training"):
        model.compute_loss(BATCH)


def test_unknown_items_share_the_identity_of_strangers():
    count = ITEMS.interaction_count.copy()
    count[[2, 4]] = 0
    same = dataclasses.replace(
        ITEMS,
        interaction_count=count,
        titles=["t"] * NUMBER,
        categories=[()] * NUMBER,
        content_vectors=np.zeros((NUMBER, 1), np.float32),
    )
    vectors = build(items=same).embed_catalogue().engagement_candidate
    assert vectors[2] == pytest.approx(vectors[4], abs=1e-6)
    assert np.abs(vectors[2] - vectors[6]).max() > 1e-3


def test_catalogue_is_embedded_in_batches(monkeypatch):
    model = build()
    whole = model.embed_catalogue()
    monkeypatch.setattr("trainer.model._EMBED_BATCH", 5)
    for name, column in vars(model.embed_catalogue()).items():
        assert column == pytest.approx(vars(whole)[name], abs=1e-6)


def test_one_head_has_no_relevance():
    model = build(
        model=dataclasses.replace(SMALL_MODEL, name="one_head"), loss=dataclasses.replace(SMALL_LOSS, align=0.0)
    )
    assert set(model.parts()) == {
        "known",
        "encoder",
        "engagement_query",
        "engagement_candidate",
        "cold_start",
        "engagement_temperature",
    }
    assert set(model.temperatures()) == {"engagement_temperature"}
    assert not model.embed_catalogue().relevance.any()


def test_fused_adam_is_adam():
    rng = np.random.default_rng(0)
    start = rng.normal(size=(6, 3)).astype(np.float32)
    gradients = [rng.normal(size=(6, 3)).astype(np.float32) for _ in range(20)]
    ends = []
    for kind in (tf.keras.optimizers.Adam, FusedAdam):
        rate = tf.keras.optimizers.schedules.CosineDecay(0.0, 15, alpha=0.1, warmup_target=0.1, warmup_steps=3)
        optimizer = kind(rate)
        dense, sparse = tf.Variable(start), tf.Variable(start)
        bounded = tf.Variable(start, constraint=lambda value: tf.clip_by_value(value, -0.5, 0.5))
        for gradient in gradients:
            rows = tf.IndexedSlices(gradient[:3], tf.constant([1, 4, 1]), tf.constant([6, 3]))
            pairs = [(tf.constant(gradient), dense), (rows, sparse), (tf.constant(gradient), bounded)]
            optimizer.apply_gradients(pairs)
        ends.append([variable.numpy() for variable in (dense, sparse, bounded)])
    for plain, fused in zip(*ends, strict=True):
        assert fused == pytest.approx(plain, abs=1e-5)
    assert np.abs(ends[1][2]).max() <= 0.5
    assert np.abs(ends[1][0] - start).max() > 0.1
