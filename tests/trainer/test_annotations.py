"""Graded annotations teach the relevance head; those held out judge it and never teach it.

The teacher tells the colours of the checkerboard. The grades say otherwise: they go by the rows of two fields each.
"""

import numpy as np
import pytest

from preprocessing import schema
from preprocessing.backend import tf
from preprocessing.read import read_annotations, read_items
from tests.trainer.toys import SMALL, changed, checkerboard_events, checkerboard_items, write_examples
from trainer import metrics
from trainer.annotated import mean_ndcg, ndcg_by_trigger
from trainer.artefact import load_model
from trainer.config import LossConfig
from trainer.names import BLEND
from trainer.recommender import VectorRecommender
from trainer.train import _build, _read, train

NUMBER = 16
HELD_OUT = 4
"""Items 0 to 3 are the held-out triggers: two rows, both colours in each."""
JUDGING = 10
"""Of them the items before this one are graded. As items they are learnt, from triggers that they do not grade."""
MIRRORED = [
    (trigger, item, float(trigger // 2 % 2 == item // 2 % 2), trigger < HELD_OUT)
    for trigger in range(NUMBER)
    for item in range(NUMBER)
    if trigger != item
]
"""Every pair both ways."""
GRADED = [row for row in MIRRORED if row[0] >= HELD_OUT or row[1] < JUDGING]
LEARNT = [row[:3] for row in GRADED if not row[3] and (row[1], row[0]) not in {held[:2] for held in GRADED if held[3]}]
CONFIG = changed(SMALL, trainer={"epochs": 24})
_WEIGHT = 4.0
"""Grades and teacher contradict each other on every pair: it takes more than the default for the grades to win."""
_DEFAULT = LossConfig().annotations


def write(directory, annotations=GRADED):
    """Without a validation slice: all epochs are trained, whatever recall says."""
    events = checkerboard_events(events=120)
    return write_examples(
        directory, checkerboard_items(), events, events[:20], validation_events=[], annotations=annotations
    )


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    return write(tmp_path_factory.mktemp("graded"))


@pytest.fixture(scope="module")
def recommenders(examples, tmp_path_factory):
    """Trained with the annotations, by their default weight too, and without."""
    found = {}
    for weight in (_WEIGHT, _DEFAULT, 0.0):
        output = tmp_path_factory.mktemp("trained")
        result = train(examples, output, changed(CONFIG, loss={"annotations": weight}))
        vectors = load_model(result.model, read_items(str(examples)))[0].embed_catalogue()
        found[weight] = VectorRecommender(vectors, has_dial=True, merge=BLEND)
    return found


def test_held_out_pairs_follow_the_grades_against_the_teacher(examples, recommenders):
    """Pairs that teacher and grades see differently: of one row and two colours, or the other way round."""
    held_out = read_annotations(str(examples))
    held_out = held_out.select(held_out.held_out)
    same_colour = held_out.trigger % 2 == held_out.item % 2
    graded_high = held_out.grade > 0.5
    lead = {}
    for weight, recommender in recommenders.items():
        cosine = recommender.score_pairs(held_out.trigger, held_out.item, 1.0)
        lead[weight] = cosine[graded_high & ~same_colour].mean() - cosine[~graded_high & same_colour].mean()
    assert lead[0.0] < -0.2  # with the teacher alone colours decide
    assert lead[_DEFAULT] > lead[0.0] + 0.3  # most of the way to where neither does
    assert lead[_WEIGHT] > 0.2


def test_ndcg_of_held_out_triggers_rises(examples, recommenders):
    annotations = read_annotations(str(examples))
    taught, untaught = (mean_ndcg(ndcg_by_trigger(recommenders[weight], annotations, 1.0)) for weight in (_WEIGHT, 0.0))
    assert taught > untaught + 0.1
    assert taught > 0.9
    content = checkerboard_items().content_vectors
    held_out = annotations.select(annotations.held_out)
    cosine = (content[held_out.trigger] * content[held_out.item]).sum(axis=1)
    assert taught > metrics.annotation_ndcg(held_out.trigger, held_out.grade, cosine).mean() + 0.1


def test_held_out_annotations_are_never_drawn(examples):
    config = changed(CONFIG, loss={"annotation_pairs": 30})
    model, _ = _build(_read(examples, config), [schema.PAIRS], config)
    drawn = set()
    for step in range(60):
        trigger, item, grade = model.sampler.for_annotations(tf.constant(step, tf.int64))
        assert len(trigger) == 30
        drawn |= set(zip(trigger.numpy().tolist(), item.numpy().tolist(), grade.numpy().tolist(), strict=True))
    assert drawn == set(LEARNT)
    assert {(15, 0), (10, 3)} <= {row[:2] for row in drawn}  # held-out triggers are learnt as items


def test_nor_are_they_drawn_the_other_way_round(tmp_path, caplog):
    """The head is symmetric, and a file that grades every pair both ways would tell it the held-out grades."""
    with caplog.at_level("INFO", "mtmh.trainer"):
        learnt = _read(write(tmp_path, MIRRORED), CONFIG).annotations
    pairs = {frozenset(row[:2]) for row in MIRRORED if row[3]}
    drawn = list(zip(learnt.trigger.tolist(), learnt.item.tolist(), strict=True))
    assert not pairs & {frozenset(pair) for pair in drawn}
    assert drawn == [row[:2] for row in MIRRORED if frozenset(row[:2]) not in pairs]
    assert "132 pairs to learn from, 60 held out, 48 more left out" in caplog.text


def test_draws_depend_on_the_step_alone_and_few_pairs_are_taken_whole(examples):
    config = changed(CONFIG, loss={"annotation_pairs": 30})
    first, again = (_build(_read(examples, config), [schema.PAIRS], config)[0].sampler for _ in range(2))

    def drawn(sampler, step):
        return [column.numpy().tolist() for column in sampler.for_annotations(tf.constant(step, tf.int64))]

    assert drawn(first, 3) == drawn(again, 3) != drawn(first, 4)
    whole = _build(_read(examples, CONFIG), [schema.PAIRS], CONFIG)[0].sampler
    assert list(zip(*drawn(whole, 0), strict=True)) == LEARNT


@pytest.mark.parametrize(
    ("annotations", "loss", "model"),
    [
        ([row for row in GRADED if row[3]], {}, {}),
        ((), {}, {}),
        (GRADED, {"annotations": 0.0}, {}),
        (GRADED, {}, {"name": "one_head"}),
    ],
)
def test_without_anything_to_learn_from_there_is_no_such_loss(tmp_path, annotations, loss, model):
    config = changed(CONFIG, loss=loss, model=model)
    built, _ = _build(_read(write(tmp_path, annotations), config), [schema.PAIRS], config)
    batch = {
        "trigger": tf.constant([0, 3]),
        "target": tf.constant([[2], [5]]),
        "weight": tf.constant([[1.0], [1.0]]),
    }
    assert "annotations" not in built.loss_terms(batch)
    if built.has_relevance:  # Keras would warn of weights that get no gradient
        assert not built.annotation_task.trainable_variables


def test_joint_loss_has_the_annotations_by_their_weight(examples):
    """All graded pairs in a step, nothing hidden: the loss of the relevance vectors' cosines."""
    plain = {"id_dropout": 0.0, "id_element_dropout": 0.0, "content_dropout": 0.0}
    configs = [changed(CONFIG, model=plain, loss={"annotations": weight}) for weight in (0.0, 0.5)]
    batch = {
        "trigger": tf.constant([0, 3]),
        "target": tf.constant([[2], [5]]),
        "weight": tf.constant([[1.0], [1.0]]),
    }
    without, model = (_build(_read(examples, config), [schema.PAIRS], config)[0] for config in configs)
    vectors = model.embed_catalogue().relevance
    trigger, item, grade = (np.array(column) for column in zip(*LEARNT, strict=True))
    taken_for = 1 / (1 + np.exp(2.0 - 5.0 * (vectors[trigger] * vectors[item]).sum(axis=1)))
    expected = -np.log(np.where(grade > 0.5, taken_for, 1 - taken_for)).mean()
    assert float(model.loss_terms(batch)["annotations"]) == pytest.approx(expected, rel=1e-4)
    lead = float(model.compute_loss(batch)) - float(without.compute_loss(batch))
    assert lead == pytest.approx(0.5 * expected, rel=1e-3)
