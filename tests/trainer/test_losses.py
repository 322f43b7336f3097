"""The losses on examples computed by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from preprocessing.backend import tf
from trainer.density import (
    ALONE_ID_ELEMENT_DROPOUT,
    LEAST_ID_DROPOUT,
    MOST_ALIGN,
    MOST_ID_DROPOUT,
    MOST_ID_ELEMENT_DROPOUT,
    align_weight,
    alone_id_dropout,
    alone_id_element_dropout,
    id_dropout,
    id_element_dropout,
    unseen_rows,
    unseen_weight,
)
from trainer.losses import AnnotationTask, DistillationTask, EngagementTask, log_inclusion
from trainer.teacher_breadth import teacher_breadth

F32 = np.float32


def test_log_inclusion_is_the_share_of_simulated_batches_that_hold_the_item():
    count, draws, uniform, batches = np.array([6, 3, 1, 0]), 3, 2, 40_000
    rng = np.random.default_rng(0)
    drawn = np.concatenate(
        [rng.choice(4, (batches, draws), p=count / count.sum()), rng.integers(0, 4, (batches, uniform))], axis=1
    )
    simulated = [(drawn == item).any(axis=1).mean() for item in range(3)]
    exact = np.exp(log_inclusion(count / count.sum(), draws=draws, uniform=uniform))
    assert exact[:3] == pytest.approx(simulated, abs=0.01)
    assert exact[0] == pytest.approx(1 - 0.4**3 * 0.75**2, rel=1e-6)
    assert exact[3] == exact[2]  # never a target: as the rarest one


@given(
    st.lists(st.integers(0, 50), min_size=2, max_size=8).filter(any),
    st.floats(0.5, 50),
    st.integers(0, 6),
)
def test_log_inclusion_closed_form(count, draws, uniform):
    number, total, rarest = len(count), sum(count), min(filter(None, count))
    found = log_inclusion(np.array(count) / total, draws=draws, uniform=uniform)
    assert found.dtype == F32
    for item, value in zip(count, found, strict=True):
        absent = (1 - max(item, rarest) / total) ** draws * (1 - 1 / number) ** uniform
        expected = 1.0 if uniform >= number else 1 - absent
        assert math.exp(value) == pytest.approx(expected, rel=1e-5)


def test_log_inclusion_is_not_clipped_at_tiny_shares():
    """1 - (1 - p) would be lost in rounding, and a floor would treat all rare items alike."""
    count = np.array([1, 10, 10**9 - 11])
    found = log_inclusion(count / count.sum(), draws=1.0, uniform=0)
    assert found[:2] == pytest.approx([math.log(1e-9), math.log(1e-8)], rel=1e-6)
    assert found[2] == pytest.approx(0.0, abs=1e-6)
    assert np.isfinite(log_inclusion(np.array([1.0, 0.0]), draws=1e6, uniform=0)).all()


def test_log_inclusion_of_a_catalogue_taken_whole_is_zero():
    for uniform in (3, 4):
        assert log_inclusion(np.array([0.9, 0.1, 0.0]), draws=2.0, uniform=uniform).tolist() == [0, 0, 0]
    assert (log_inclusion(np.array([0.9, 0.1, 0.0]), draws=2.0, uniform=2) < 0).all()


def engagement(logits, log_q, positives, position, weight, answers=None):
    """The loss of a mask of positives, or None, and of padded targets, as a batch has them; logits may be queries."""
    present = np.argwhere(np.asarray(weight) > 0)
    cells = np.stack([present[:, 0], np.asarray(position)[tuple(present.T)]], axis=1)
    logits = logits if tf.is_tensor(logits) else tf.constant(logits, tf.float32)
    return EngagementTask()(
        logits,
        tf.eye(logits.shape[1]) if answers is None else answers,
        tf.constant(log_q, tf.float32),
        None if positives is None else tf.constant(np.argwhere(positives), tf.int32),
        tf.constant(cells, tf.int32),
        tf.constant(np.asarray(weight)[tuple(present.T)], tf.float32),
    )


def test_engagement_task_by_hand():
    """Two rows, three candidates; row 0 has two targets of weight 1 and 0.5, row 1 one target and padding."""
    logits = [[1.0, 2.0, 3.0], [0.5, -1.0, 0.0]]
    log_q = [-0.5, -1.0, 0.0]
    positives = [[True, True, False], [False, True, False]]
    loss = engagement(logits, log_q, positives, [[0, 1], [1, 0]], [[1.0, 0.5], [2.0, 0.0]])
    e = math.exp
    # corrected logits: 1.5, 3, 3 and 1, 0, 0
    first = math.log(e(1.5) + e(3)) - 1.5
    second = math.log(e(3) + e(3)) - 3
    third = math.log(e(0) + e(1) + e(0)) - 0
    assert float(loss) == pytest.approx((1.0 * first + 0.5 * second + 2.0 * third) / 3.5, rel=1e-6)


def test_engagement_task_without_known_positives_is_a_softmax():
    """Targets of the row compete with each other too."""
    logits, log_q = np.array([[1.0, 2.0, 3.0]]), np.array([-0.5, -1.0, 0.0])
    loss = engagement(logits, log_q, None, [[0, 1]], [[1.0, 0.5]])
    corrected = logits[0] - log_q
    logs = corrected - np.log(np.exp(corrected).sum())
    assert float(loss) == pytest.approx(-(logs[0] + 0.5 * logs[1]) / 1.5, rel=1e-6)


def test_engagement_task_ignores_what_is_padded_and_what_is_masked():
    arguments = ([[1.0, 2.0, 3.0]], [0.0, 0.0, 0.0], [[True, False, True]], [[0, 1]], [[1.0, 0.0]])
    base = float(engagement(*arguments))
    other_pad = ([[1.0, 2.0, 3.0]], [0.0, 0.0, 0.0], [[True, False, True]], [[0, 2]], [[1.0, 0.0]])
    other_masked = ([[1.0, 2.0, 99.0]], [0.0, 0.0, 0.0], [[True, False, True]], [[0, 1]], [[1.0, 0.0]])
    other_negative = ([[1.0, 5.0, 3.0]], [0.0, 0.0, 0.0], [[True, False, True]], [[0, 1]], [[1.0, 0.0]])
    assert float(engagement(*other_pad)) == base
    assert float(engagement(*other_masked)) == base
    assert float(engagement(*other_negative)) > base


@pytest.mark.parametrize("masks", [True, False])
@given(st.integers(0, 2**32 - 1))
def test_engagement_task_has_the_gradient_of_its_formula(masks, seed):
    rng = np.random.default_rng(seed)
    rows, number, targets, width = 4, 7, 3, 5
    queries, answers = (tf.constant(rng.normal(size=(n, width)) * 2, tf.float32) for n in (rows, number))
    log_q = -rng.random(number).astype(F32)
    position = rng.integers(0, number, (rows, targets))  # the same one may come twice
    weight = rng.choice([0.0, 0.3, 1.0], (rows, targets)).astype(F32)
    known = ((position[:, :, np.newaxis] == np.arange(number)) & (weight[:, :, np.newaxis] > 0)).any(axis=1)
    known = known if masks else None
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([queries, answers])
        found = 3.0 * engagement(queries, log_q, known, position, weight, answers)
        corrected = tf.matmul(queries, answers, transpose_b=True) - log_q
        others = tf.reduce_logsumexp(corrected if known is None else tf.where(known, -1e9, corrected), 1, keepdims=True)
        lead = others - tf.gather(corrected, position, batch_dims=1)
        terms = weight * (tf.nn.softplus(lead) if masks else lead)
        formula = 3.0 * tf.math.divide_no_nan(tf.reduce_sum(terms), tf.reduce_sum(weight))
    assert float(found) == pytest.approx(float(formula), rel=1e-5, abs=1e-6)
    if masks:  # the targets are no negatives of their row, named among the positives or not
        assert float(found) == float(3.0 * engagement(queries, log_q, np.zeros_like(known), position, weight, answers))
    for vectors in (queries, answers):
        expected = tape.gradient(formula, vectors).numpy()
        assert tape.gradient(found, vectors).numpy() == pytest.approx(expected, rel=1e-4, abs=1e-5)


@given(st.integers(0, 2**32 - 1))
def test_engagement_task_on_the_whole_catalogue_is_softmax_cross_entropy(seed):
    rng = np.random.default_rng(seed)
    rows, number = 3, 5
    logits = rng.normal(size=(rows, number)) * 5
    target = rng.integers(0, number, rows)
    positives = np.zeros((rows, number), dtype=bool)
    positives[np.arange(rows), target] = True
    found = engagement(logits, np.zeros(number), positives, target[:, None], np.ones((rows, 1)))
    expected = tf.nn.sparse_softmax_cross_entropy_with_logits(target, tf.constant(logits, tf.float32))
    assert float(found) == pytest.approx(float(tf.reduce_mean(expected)), rel=1e-4, abs=1e-6)


def test_engagement_task_with_nothing_to_compare_has_no_loss_and_no_gradient():
    logits = tf.Variable([[1.0, 2.0], [3.0, 4.0]])
    for positives, weight in ((True, 1.0), (False, 0.0), (True, 0.0)):
        with tf.GradientTape() as tape:
            mask, weights = np.full((2, 2), positives), np.full((2, 1), weight, F32)
            loss = engagement(tf.convert_to_tensor(logits), [0.0, 0.0], mask, np.zeros((2, 1), int), weights)
        assert float(loss) == 0.0
        assert tape.gradient(loss, logits).numpy().tolist() == [[0, 0], [0, 0]]


def distil(logits, cosine, valid, temperature=0.5):
    return DistillationTask(temperature)(
        tf.constant(logits, tf.float32), tf.constant(cosine, tf.float32), tf.constant(valid)
    )


def test_distillation_of_a_perfect_student_is_zero():
    cosine = np.array([[0.9, -0.2, 0.1], [0.3, 0.3, 1.0]])
    valid = np.ones((2, 3), dtype=bool)
    assert float(distil(cosine / 0.5 + [[7.0], [-3.0]], cosine, valid)) == pytest.approx(0.0, abs=1e-6)
    assert float(distil(-cosine, cosine, valid)) > 0.1


def test_distillation_by_hand():
    """The teacher says 3 : 1, the student 1 : 1; a row that is turned off and an invalid pair change nothing."""
    cosine = [[0.5 * math.log(3.0), 0.0, 0.8], [0.1, 0.2, 0.3]]
    valid = [[True, True, False], [False, False, False]]
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert float(distil([[2.0, 2.0, 50.0], [9.0, 0.0, 1.0]], cosine, valid)) == pytest.approx(expected, rel=1e-5)


@given(st.integers(0, 2**32 - 1))
def test_distillation_has_the_gradient_of_its_formula(seed):
    rng = np.random.default_rng(seed)
    rows, number = 4, 6
    logits = tf.constant(rng.normal(size=(rows, number)) * 5, tf.float32)
    cosine, valid = rng.uniform(-1, 1, (rows, number)).astype(F32), rng.random((rows, number)) < 0.6
    some = valid.any(axis=1)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        found = 2.0 * DistillationTask(0.05)(logits, tf.constant(cosine), tf.constant(valid))
        teacher, student = (tf.nn.log_softmax(tf.where(valid, part, -1e9), 1) for part in (cosine / 0.05, logits))
        divergence = tf.reduce_sum(tf.where(valid, tf.exp(teacher) * (teacher - student), 0.0), axis=1)
        formula = 2.0 * tf.math.divide_no_nan(tf.reduce_sum(tf.where(some, divergence, 0.0)), float(some.sum()))
    assert float(found) == pytest.approx(float(formula), rel=1e-4, abs=1e-5)
    assert tape.gradient(found, logits).numpy() == pytest.approx(tape.gradient(formula, logits).numpy(), abs=1e-5)


def test_rows_of_distillation_weigh_what_they_are_said_to():
    logits, cosine, valid = [[1.0, 0.0], [0.0, 2.0]], [[0.9, 0.1], [0.8, 0.3]], [[True, True]] * 2
    task = DistillationTask(0.5)
    first, second = (float(distil(logits[row : row + 1], cosine[row : row + 1], valid[:1])) for row in (0, 1))
    inputs = tf.constant(logits), tf.constant(cosine), tf.constant(valid)
    assert float(task(*inputs, weight=tf.constant([1.0, 1.0]))) == pytest.approx((first + second) / 2, rel=1e-5)
    assert float(task(*inputs, weight=tf.constant([0.5, 3.0]))) == pytest.approx(
        (0.5 * first + 3 * second) / 2, rel=1e-5
    )


def test_distillation_without_a_valid_pair_has_no_loss_and_a_finite_gradient():
    logits = tf.Variable([[1.0, 2.0]])
    with tf.GradientTape() as tape:
        loss = DistillationTask(0.05)(logits, tf.ones([1, 2]), tf.zeros([1, 2], tf.bool))
    assert float(loss) == 0.0
    assert tape.gradient(loss, logits).numpy().tolist() == [[0, 0]]


def annotated(cosine, grade):
    return AnnotationTask()(tf.constant(cosine, tf.float32), tf.constant(grade, tf.float32))


def test_annotation_task_by_hand():
    """Scale 5 and offset -2 to start with: cosines 0.4 and 0.8 are taken for grades of 1/2 and of 1 / (1 + e**-2)."""
    first = -math.log(0.5) - -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    second = -math.log(1 / (1 + math.exp(-2.0)))  # a grade of 1 has no entropy
    assert float(annotated([0.4, 0.8], [0.25, 1.0])) == pytest.approx((first + second) / 2, rel=1e-5)


def test_annotation_task_of_a_perfect_head_is_zero():
    cosine = np.array([-0.3, 0.1, 0.4, 0.9])
    assert float(annotated(cosine, 1 / (1 + np.exp(2.0 - 5.0 * cosine)))) == pytest.approx(0.0, abs=1e-6)
    assert float(annotated([-1.0, 1.0], [0.0, 1.0])) < 0.03
    assert float(annotated([1.0, -1.0], [0.0, 1.0])) > 3.0


def test_annotation_task_learns_what_cosines_mean():
    """Grades that are high already at a cosine of 0: scale and offset follow, and the loss is finite at 0 and 1."""
    task = AnnotationTask()
    cosine, grade = tf.Variable([-0.5, 0.0, 0.5]), tf.constant([0.0, 1.0, 1.0])
    with tf.GradientTape() as tape:
        loss = task(cosine, grade)
    to_cosine, *to_weights = tape.gradient(loss, [cosine, *task.trainable_variables])
    assert len(to_weights) == 2
    assert np.isfinite([float(value) for value in to_weights]).all()
    assert float(to_weights[1]) < 0  # the offset is to rise
    assert to_cosine[0] > 0 > to_cosine[1]


def test_alignment_weighs_less_the_more_is_known_of_an_item_and_the_less_the_teacher_knows():
    assert [align_weight(number, 30.0, 0.05) for number in (0.0, 1.0, 9.0)] == [MOST_ALIGN] * 3
    assert align_weight(18.0, 1000.0, 1.0) == pytest.approx(MOST_ALIGN / 2)
    assert align_weight(5.0, 15.0, 1.0) == pytest.approx(MOST_ALIGN / 2)
    assert align_weight(5.0, 30.0, 0.025) == pytest.approx(MOST_ALIGN / 2)
    assert align_weight(5.0, 30.0, 0.0) == pytest.approx(MOST_ALIGN / 100)  # so that not all that is rare is alike


def test_what_was_never_a_trigger_weighs_more_the_less_the_teacher_knows():
    assert [unseen_weight(gain) for gain in (3.0, 0.05, 0.0125, 0.0)] == [1.0, 1.0, 2.0, 10.0]


def test_identities_are_hidden_less_of_items_that_are_seen_often():
    assert [id_dropout(number) for number in (0.0, 4.0, 15.0)] == [MOST_ID_DROPOUT] * 3
    assert id_dropout(150.0) == pytest.approx(LEAST_ID_DROPOUT + 0.02)
    assert id_dropout(1e9) == pytest.approx(LEAST_ID_DROPOUT)


def test_identities_of_what_is_seldom_seen_are_learnt_roughly():
    assert [id_element_dropout(number) for number in (0.0, 4.0, 15.0)] == [MOST_ID_ELEMENT_DROPOUT] * 3
    assert id_element_dropout(35.0) == pytest.approx(MOST_ID_ELEMENT_DROPOUT / 3)
    assert [id_element_dropout(number) for number in (45.0, 1e9)] == [0.0, 0.0]


def test_without_a_teacher_identities_are_relied_on_unless_next_to_nothing_is_known_of_them():
    assert [alone_id_dropout(number) for number in (0.0, 5.0)] == pytest.approx([MOST_ID_DROPOUT] * 2)
    assert [alone_id_dropout(number) for number in (12.0, 1e9)] == pytest.approx([LEAST_ID_DROPOUT] * 2)
    assert [alone_id_element_dropout(number) for number in (0.0, 5.0)] == pytest.approx([MOST_ID_ELEMENT_DROPOUT] * 2)
    assert [alone_id_element_dropout(number) for number in (8.0, 15.0)] == [ALONE_ID_ELEMENT_DROPOUT] * 2
    assert alone_id_element_dropout(45.0) == 0.0


def test_unseen_rows_are_their_due_where_items_are_rarely_seen():
    assert [unseen_rows(number, 500, 1000, 256) for number in (0.0, 5.0, 9.0)] == [256] * 3
    assert unseen_rows(10.5, 500, 1000, 256) == 128
    assert [unseen_rows(number, 500, 1000, 256) for number in (12.0, 15.0, 1e9)] == [0] * 3
    assert unseen_rows(1.0, 0, 1000, 256) == 0
    assert unseen_rows(1.0, 1000, 1000, 256) == 256


def test_a_teacher_is_as_broad_as_the_groups_it_makes():
    groups = np.eye(64, dtype=np.float32)

    def breadth(size):
        return teacher_breadth(np.repeat(groups[: 2048 // size], size, axis=0), 0.01, 0)

    assert breadth(256) == pytest.approx(128, rel=0.1)  # of 1,024 others one in eight is of the row's group
    assert breadth(64) == pytest.approx(32, rel=0.2)
    alike = np.zeros((2048, 4), np.float32)
    alike[:, 0] = 1.0
    assert teacher_breadth(alike, 0.05, 0) == pytest.approx(1024)
    assert teacher_breadth(np.zeros((2048, 4), np.float32), 0.05, 0) == 1.0
    assert teacher_breadth(alike[:1], 0.05, 0) == 1.0
    assert teacher_breadth(alike[:20], 0.05, 0) == pytest.approx(1024)  # few items stand for many
