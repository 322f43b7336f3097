"""A comparison whose every figure is known: one trigger, ten users, three answers."""

import dataclasses
import json
import weakref

import numpy as np
import pytest

from preprocessing.errors import UserError
from tests.trainer.toys import annotation_columns, eval_triggers, item_table
from trainer import metrics
from trainer.bootstrap import Estimate
from trainer.compare import GRID, Contender, compare
from trainer.comparison import from_json, to_json
from trainer.config import EvaluateConfig
from trainer.dot_products import DotProductRecommender
from trainer.evaluate import make_judge
from trainer.model import ItemVectors
from trainer.names import MODELS
from trainer.recommender import VectorRecommender

CONTENT = np.array([[1, 0], [0.2, 0.96**0.5], [1, 0], [0.6, 0.8]])
ITEMS = item_table([""] * 4, [["a"], ["b"], ["a"], ["a", "b"]], CONTENT, interaction_count=[8, 6, 4, 2])
# After item 0 six users go for item 1 and four for item 3.
TRIGGERS = eval_triggers([(0, [1])] * 6 + [(0, [3])] * 4, users=range(10))
CONFIG = EvaluateConfig(k=1, bootstrap_resamples=200)
SEED = 0


@dataclasses.dataclass(frozen=True)
class Scripted:
    """Answers with the item that is set for the dial's position, from that position on."""

    answers: dict[float, int]

    @property
    def has_dial(self):
        return len(self.answers) > 1

    def retrieve(self, trigger, *, k, relevance_weight):
        start = max(weight for weight in self.answers if weight <= relevance_weight)
        return np.full((len(trigger), k), self.answers[start], np.int32)


def contender(name, answers, default_weight=None, **parameters):
    return Contender(MODELS[name], Scripted(answers), default_weight, parameters)


# (relevance, topic match, recall) of the answers: 1 (.2, 0, .6), 3 (.6, .5, .4), 2 (1, 1, 0).
CONTENDERS = [
    contender("popularity", {0.0: -1}),
    contender("content", {0.0: 2}, centred="no", shrinkage=10.5),
    contender("one_head", {0.0: 3}),
    contender("two_models", {0.0: 1, 0.3: 3, 0.7: 2}, 0.4),
    contender("mtmh", {0.0: 1, 0.3: 3, 0.7: 2}, 0.42),
]


def judge(items=ITEMS, annotations=None):
    return make_judge(items, TRIGGERS, categories_seen=False, annotations=annotations)


@pytest.fixture(scope="module")
def comparison():
    return compare(CONTENDERS, judge(), CONFIG, SEED)


def value(estimate):
    return pytest.approx(estimate.value, abs=1e-6)


def only(rows, **wanted):
    (row,) = [row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())]
    return row


def test_models_stand_in_order_with_their_settings(comparison):
    assert [model.name for model in comparison.models] == [c.model.name for c in CONTENDERS]
    assert [len(model.points) for model in comparison.models] == [1, 1, 1, 21, 22]
    assert [point.relevance_weight for point in comparison.model("mtmh").points] == sorted([*GRID, 0.42])
    assert (comparison.model("one_head").default_weight, comparison.model("mtmh").default_weight) == (None, 0.42)


def test_metrics_of_points(comparison):
    found = {point.relevance_weight: point.metrics for point in comparison.model("mtmh").points}
    for weight, figures in ((0.0, (0.6, 0.2, 0.0)), (0.5, (0.4, 0.6, 0.5)), (1.0, (0.0, 1.0, 1.0))):
        names = (metrics.RECALL, metrics.RELEVANCE, metrics.TOPIC_MATCH)
        assert tuple(found[weight][name].value for name in names) == pytest.approx(figures, abs=1e-6)
        assert found[weight][metrics.COVERAGE].value == 0.25
    recall = found[0.0][metrics.RECALL]
    assert 0.2 <= recall.low < 0.6 < recall.high <= 1.0
    assert found[0.0][metrics.RELEVANCE].low == found[0.0][metrics.RELEVANCE].high  # the same for every user
    assert found[0.0][metrics.RECALL_COLD] == Estimate(None, None, None)


def test_slices(comparison):
    point = comparison.model("one_head").points[0]
    assert point.slices["head"]["recall"] == point.metrics["recall"]
    assert point.slices["tail"]["recall"] == Estimate(None, None, None)
    assert comparison.data.slice_triggers == {"head": 10, "torso": 0, "tail": 0, "cold": 0}
    assert comparison.data.slice_items == {"head": 2, "torso": 1, "tail": 1, "cold": 0}


def test_a_model_that_answers_nothing(comparison):
    found = comparison.model("popularity").points[0].metrics
    assert found[metrics.RECALL].value == 0.0
    assert found[metrics.RELEVANCE].value is None


def test_headline_rows(comparison):
    """The only co-engagement baseline is one head: recall .4, relevance .6, topic match .5."""
    assert (comparison.subject, comparison.best_co_engagement) == ("mtmh", "one_head")
    assert {gain.over for gain in comparison.gains} == {"one_head"}
    percent = only(comparison.gains, at="dial 0").percent
    assert [percent[name].value for name in ("recall", "relevance", "topic_match")] == pytest.approx(
        [50.0, -200 / 3, -100.0], abs=1e-4
    )
    default = only(comparison.gains, at="default dial")
    assert default.relevance_weight == 0.42
    assert default.percent["recall"] == Estimate(0.0, 0.0, 0.0)  # both find the same
    gaining = only(comparison.gains, at="recall gain")
    assert gaining.relevance_weight == 0.0
    assert gaining.percent == percent


def test_recall_gain_that_no_setting_reaches():
    contenders = [contender("one_head", {0.0: 1}), contender("mtmh", {0.0: 1, 0.5: 2}, 0.0)]
    gaining = only(compare(contenders, judge(), CONFIG, SEED).gains, at="recall gain")
    assert (gaining.relevance_weight, gaining.percent) == (None, {})


def test_gap_closed_at_equal_recall(comparison):
    """At recall .4 the dial stands at .65 with one head's own relevance; at .38 a twentieth of a step further."""
    whole, most = (only(comparison.gaps, over="one_head", recall_kept=kept) for kept in (1.0, 0.95))
    assert (whole.relevance_weight.value, most.relevance_weight.value) == pytest.approx((0.65, 0.6525))
    assert whole.share["relevance"].value == pytest.approx(0.0, abs=1e-6)
    assert most.share["relevance"].value == pytest.approx((0.6 + 0.05 * 0.4 - 0.6) / 0.4, abs=1e-6)
    assert most.share["topic_match"].value == pytest.approx(0.05, abs=1e-6)
    assert whole.reached == most.reached == 1.0


def test_areas(comparison):
    """Columns of .2 x .6 and .4 x .4 under MTMH, .6 x .4 under one head; the setting off the grid adds nothing."""
    area = {model.name: model.area["relevance"].value for model in comparison.models}
    assert area["mtmh"] == pytest.approx(0.2 * 0.6 + 0.4 * 0.4, abs=1e-6)
    assert area["one_head"] == pytest.approx(0.24, abs=1e-6)
    assert area["content"] == 0.0
    lead = only(comparison.areas, over="one_head", axis="relevance")
    assert lead.difference.value == pytest.approx(0.04, abs=1e-6)
    assert lead.percent.value == pytest.approx(100 / 6, abs=1e-4)
    # Where item 1 finds a share p: .2 max(p, 1 - p) + .4 (1 - p) less .6 (1 - p), which rises with p.
    recall = comparison.model("mtmh").points[0].metrics["recall"]
    assert lead.difference.low == pytest.approx(max(0.0, 0.2 * (2 * recall.low - 1)), abs=1e-6)
    assert lead.difference.high == pytest.approx(0.2 * (2 * recall.high - 1), abs=1e-6)
    same = only(comparison.areas, over="two_models", axis="topic_match")
    assert same.difference == same.percent == Estimate(0.0, 0.0, 0.0)


def test_strictly_above(comparison):
    """One head is met, not surpassed, at its relevance; content only is beyond dial 0.5."""
    row = only(comparison.above, over="one_head", axis="relevance")
    assert (row.compared, row.strictly, row.least_lead.value) == (1, False, 0.0)
    row = only(comparison.above, over="content", axis="topic_match")
    assert (row.compared, row.strictly, row.least_lead) == (0, None, Estimate(None, None, None))
    better = [contender("one_head", {0.0: 2}), contender("mtmh", {0.0: 1, 0.4: 2}, 0.0)]
    row = only(compare(better, judge(), CONFIG, SEED).above, over="one_head", axis="relevance")
    assert (row.strictly, row.least_lead.value) == (False, 0.0)
    weaker = [contender("popularity", {0.0: 0}), contender("mtmh", {0.0: 3, 0.4: 3}, 0.0)]
    row = only(compare(weaker, judge(), CONFIG, SEED).above, over="popularity", axis="relevance")
    assert (row.compared, row.strictly) == (0, None)  # item 0 itself would be more relevant than anything
    weaker = [contender("popularity", {0.0: 1}), contender("mtmh", {0.0: 3, 0.4: 1, 0.5: 3}, 0.0)]
    row = only(compare(weaker, judge(), CONFIG, SEED).above, over="popularity", axis="relevance")
    assert (row.compared, row.strictly) == (1, False)
    # The subject's relevance falls again before dial 0.5: what it reached counts. It finds .6 at relevance .6 or less.
    bent = [contender("popularity", {0.0: 3}), contender("mtmh", {0.0: 3, 0.2: 1, 0.6: 3}, 0.0)]
    row = only(compare(bent, judge(), CONFIG, SEED).above, over="popularity", axis="relevance")
    assert (row.compared, row.strictly, row.least_lead.value) == (1, False, 0.0)


def test_coverage_and_tail_share_are_held(comparison):
    """Item 3 is of the tail, items 1 and 2 aren't, or only as their count goes: tail are the two least engaged."""
    held = {(row.metric, row.relevance_weight): row.holds for row in comparison.floors}
    assert len(held) == 2 * 22
    assert held["coverage", 0.0]
    assert not held["tail_share", 0.0]
    assert held["tail_share", 0.5]


def test_json_and_back(comparison):
    named = dataclasses.replace(comparison, files={"json": "comparison.json"})
    assert from_json(to_json(named), "x") == named
    assert json.loads(to_json(named))["models"][0]["points"][0]["metrics"]["relevance"]["value"] is None


@pytest.mark.parametrize("change", [{"k": "50"}, {"format_version": 0}, {"data": None}, {"models": [{}]}, {"extra": 1}])
def test_damaged_json_is_refused_in_a_line(comparison, change):
    document = json.dumps(json.loads(to_json(comparison)) | change)
    with pytest.raises(UserError, match=r"where\.json .*run `mtmh compare` again"):
        from_json(document, "where.json")
    with pytest.raises(UserError):
        from_json("[1", "where.json")


def test_same_seed_same_figures(comparison):
    assert to_json(compare(CONTENDERS, judge(), CONFIG, SEED)) == to_json(comparison)
    other = compare(CONTENDERS, judge(), CONFIG, SEED + 1)
    assert other.model("one_head").points[0].metrics["recall"].value == 0.4
    assert to_json(other) != to_json(comparison)


def test_contenders_are_made_and_let_go_one_by_one(comparison):
    made = []

    def make(contender):
        assert not any(recommender() for recommender in made)
        recommender = Scripted(contender.recommender.answers)
        made.append(weakref.ref(recommender))
        return dataclasses.replace(contender, recommender=recommender)

    assert to_json(compare(map(make, CONTENDERS), judge(), CONFIG, SEED)) == to_json(comparison)
    assert len(made) == len(CONTENDERS)


def test_without_a_dial_there_is_no_subject():
    found = compare(CONTENDERS[:3], judge(), CONFIG, SEED)
    assert (found.subject, found.gains, found.gaps, found.areas, found.above, found.floors) == (None, *[()] * 5)


def test_what_was_not_compared_has_no_rows():
    found = compare([CONTENDERS[0], CONTENDERS[-1]], judge(), CONFIG, SEED)
    assert (found.subject, found.best_co_engagement, found.gains, found.gaps, found.floors) == ("mtmh", None, *[()] * 3)
    assert {row.over for row in found.areas} == {"popularity"}


def test_without_categories():
    plain = dataclasses.replace(ITEMS, categories=[()] * 4)
    found = compare(CONTENDERS, judge(plain), CONFIG, SEED)
    assert found.data.topic_match_independent is None
    assert found.model("mtmh").area["topic_match"] == Estimate(None, None, None)
    assert only(found.areas, over="one_head", axis="topic_match").difference.value is None
    assert only(found.gains, at="recall gain").relevance_weight == 0.0
    assert from_json(to_json(found), "x") == found


def test_where_no_recall_is_known_no_baseline_is_best_and_nothing_above(caplog):
    """Nobody has engaged with any item before the split, so that all pairs are cold."""
    cold = dataclasses.replace(ITEMS, interaction_count=np.zeros(4, np.int64))
    with caplog.at_level("INFO", "mtmh.compare"):
        found = compare(CONTENDERS, judge(cold), CONFIG, SEED)
    assert "scored MTMH: recall@1 unknown" in caplog.text
    assert found.model("one_head").points[0].metrics["recall"] == Estimate(None, None, None)
    assert (found.subject, found.best_co_engagement) == ("mtmh", None)
    compared = [row for row in found.above if row.compared]
    assert compared
    assert {row.strictly for row in compared} == {None}
    assert {row.least_lead for row in compared} == {Estimate(None, None, None)}
    assert only(found.gains, over="one_head", at="dial 0").percent["relevance"].value == value(
        only(compare(CONTENDERS, judge(), CONFIG, SEED).gains, at="dial 0").percent["relevance"]
    )
    assert from_json(to_json(found), "x") == found


def test_nothing_to_compare_on():
    empty = make_judge(ITEMS, eval_triggers([]), categories_seen=False)
    with pytest.raises(UserError, match=r"lower split\.quantile"):
        compare(CONTENDERS, empty, CONFIG, SEED)


def test_held_out_annotations_are_ranked_with_intervals_over_their_triggers():
    """Trigger 0 in the right order and trigger 1 in the wrong one by engagement; both right by relevance."""
    content = np.eye(4, dtype=np.float32)
    engaged, relevant = content.copy(), content.copy()
    engaged[2, :2], relevant[2, 0], relevant[3, 1] = 1.0, 1.0, 1.0
    vectors = ItemVectors(content, engaged, relevant)
    annotations = annotation_columns([(0, 2, 1.0, True), (0, 3, 0.0, True), (1, 2, 0.0, True), (1, 3, 1.0, True)])
    teacher = np.array([[1, 0], [0, 1], [0.6, 0.8], [0, 0]], np.float32)
    by_cosine = DotProductRecommender(teacher, teacher, teacher.any(axis=1), np.ones(4))
    contenders = [
        CONTENDERS[0], Contender(MODELS["content"], by_cosine),
        Contender(MODELS["mtmh"], VectorRecommender(vectors, True), 0.1),
    ]  # fmt: skip
    found = compare(contenders, judge(annotations=annotations), CONFIG, SEED)
    wrong = 1 / np.log2(3)
    points = {point.relevance_weight: point.annotation_ndcg for point in found.model("mtmh").points}
    assert points[0.0].value == pytest.approx((1 + wrong) / 2)
    assert (points[0.0].low, points[0.0].high) == pytest.approx(
        (wrong, 1.0)
    )  # of two triggers one is often drawn twice
    assert points[1.0] == Estimate(1.0, 1.0, 1.0)
    assert found.model("popularity").points[0].annotation_ndcg is None
    # Item 2 has a vector and item 3 has none: for trigger 0 that is the right order, for trigger 1 the wrong one.
    assert found.model("content").points[0].annotation_ndcg.value == pytest.approx((1 + wrong) / 2)
    assert found.data.annotated_triggers == 2
    document = json.loads(to_json(found))
    assert document["models"][0]["points"][0]["annotation_ndcg"] is None
    assert set(document["models"][2]["points"][0]["annotation_ndcg"]) == {"value", "low", "high"}
    assert from_json(to_json(found), "x") == found


def test_without_held_out_annotations_there_is_no_ndcg(comparison):
    assert comparison.data.annotated_triggers == 0
    assert all(point.annotation_ndcg is None for model in comparison.models for point in model.points)
