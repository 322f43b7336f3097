"""What is served has to be good, better than nothing, and no worse than what is served today."""

import dataclasses
import json

import numpy as np
import pytest

from preprocessing.config import PreprocessingConfig
from preprocessing.errors import UserError
from tests.trainer.toys import checkerboard_events, checkerboard_items, eval_triggers
from trainer import metrics, slices
from trainer.config import EvaluateConfig, GateConfig
from trainer.evaluate import make_judge
from trainer.gate import Evidence, Gate
from trainer.model import ItemVectors
from trainer.snapshot import Snapshot, load_snapshot, recall_measure

NUMBER = 16
EVALUATE = EvaluateConfig(k=5, bootstrap_resamples=200)
ITEMS = checkerboard_items(NUMBER)
RAN = json.loads(json.dumps(dataclasses.asdict(PreprocessingConfig())))
"""The options of a preprocessing as its manifest gives them."""


def vectors(colour):
    """Vectors that retrieve items of the same colour, [N], and among them near numbers."""
    angle = 0.05 * np.arange(NUMBER) + 1.5 * np.asarray(colour)
    rows = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    return ItemVectors(rows, rows, rows)


def snapshot(colour=None, **changes):
    colour = np.arange(NUMBER) % 2 if colour is None else colour
    made = Snapshot(ITEMS.ids, vectors(colour), ITEMS.interaction_count, True, 0.25, recall=0.7)
    return dataclasses.replace(made, **changes)


def gate(events=None, index_recall=1.0, validation_recall=0.7, items=ITEMS, measure=None, **options):
    triggers = eval_triggers(checkerboard_events(events=120, seed=1) if events is None else events)
    judge = make_judge(items, triggers, categories_seen=False)
    evidence = Evidence(judge, items.ids, {0.0: 1.0, 0.5: index_recall}, validation_recall, measure)
    return Gate(evidence, EVALUATE, GateConfig(**options), seed=0)


def failed(checks):
    return [(check.metric, check.option) for check in checks if not check.passed]


def permuted_events(seed=0):
    """Events whose items, half of all, were given each other's names."""
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(NUMBER)[: NUMBER // 2]
    name = np.arange(NUMBER)
    name[np.sort(chosen)] = chosen
    name[:4] = [1, 0, 3, 2]
    return [(int(name[t]), [int(name[each]) for each in ts]) for t, ts in checkerboard_events(events=120, seed=1)]


BAD = (np.arange(NUMBER) // 2) % 2
"""Colours that have nothing to do with the events'."""


def test_a_good_model_passes_with_and_without_an_earlier_one():
    assert failed(gate().judge(snapshot(), None, 0.95)) == []
    assert failed(gate().judge(snapshot(), snapshot(), 0.95)) == []


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"min_recall": 0.99}, (metrics.RECALL, "gate.min_recall")),
        ({"min_relevance": 0.99}, (metrics.RELEVANCE, "gate.min_relevance")),
        ({"min_tail_share": 0.9}, (metrics.TAIL_SHARE, "gate.min_tail_share")),
    ],
)
def test_floors_hold_on_the_first_run(options, found):
    checks = gate(**options).judge(snapshot(), None, 0.95)
    assert failed(checks) == [found]
    (check,) = (check for check in checks if not check.passed)
    reason = check.reason()
    for part in (check.metric, "slice all", f"{check.value:.4f}", f"{check.bound:.4f}", check.option):
        assert part in reason


def test_an_index_that_finds_too_little_is_refused_at_its_worst_dial():
    checks = gate(index_recall=0.9).judge(snapshot(), None, 0.95)
    assert failed(checks) == [("index_recall", "index.min_recall")]
    assert next(check for check in checks if not check.passed).relevance_weight == 0.5


def test_a_model_that_knows_no_more_than_what_is_popular_is_refused():
    few = checkerboard_events(events=120, seed=1)
    to_popular = [(trigger, [NUMBER - 1 if trigger != NUMBER - 1 else NUMBER - 2]) for trigger, _ in few]
    assert (metrics.RECALL, "gate.over_popularity") in failed(gate(to_popular).judge(snapshot(), None, 0.95))


def test_the_bound_of_popularity_is_what_the_most_popular_others_recall():
    events = checkerboard_events(events=120, seed=1)
    order = np.argsort(-ITEMS.interaction_count, kind="stable").tolist()
    found = [target in [item for item in order if item != trigger][:5] for trigger, after in events for target in after]
    checks = gate(events, over_popularity=1.0).judge(snapshot(), None, 0.95)
    (check,) = (check for check in checks if check.option == "gate.over_popularity")
    assert check.bound == pytest.approx(np.mean(found))


def test_rows_after_the_split_that_are_not_like_those_before_are_refused_on_the_first_run():
    elsewhere = [(trigger, [(trigger + 9) % NUMBER]) for trigger, _ in checkerboard_events(events=120, seed=1)]
    checks = gate(elsewhere, over_popularity=0.0, min_recall=0.0).judge(snapshot(), None, 0.95)
    assert ("recall", "gate.validation_kept") in failed(checks)
    assert failed(gate(validation_recall=None).judge(snapshot(), None, 0.95)) == []


def test_a_dial_that_was_turned_is_judged_as_people_would_see_it():
    """Its relevance head tells colours, its engagement head anything but: the dial decides what is answered."""
    heads = ItemVectors(
        vectors(BAD).engagement_trigger, vectors(BAD).engagement_candidate, snapshot().vectors.relevance
    )
    before, after = (snapshot(vectors=heads, relevance_weight=dial, recall=None) for dial in (1.0, 0.0))
    judged = gate(validation_recall=None, over_popularity=0.0, min_recall=0.0, min_relevance=-1.0)
    checks = judged.judge(after, before, 0.95)
    assert (metrics.RELEVANCE, "gate.relevance_margin") in failed(checks)
    assert any("at its own dial, 1" in check.reason() for check in checks if not check.passed)
    assert failed(judged.judge(before, after, 0.95)) == []
    assert failed(judged.judge(after, after, 0.95)) == []


def test_a_model_that_is_worse_than_the_last_blessed_one_is_refused_by_slice():
    checks = gate(validation_recall=None, over_popularity=0.0, min_relevance=-1.0).judge(
        snapshot(BAD), snapshot(), 0.95
    )
    assert (metrics.RECALL, "gate.recall_margin") in failed(checks)
    assert (metrics.RELEVANCE, "gate.relevance_margin") in failed(checks)
    assert {check.slice for check in checks if check.option == "gate.slice_margin"} == {"head", "torso", "tail"}
    assert any(not check.passed and check.slice == slices.HEAD for check in checks)
    assert all(
        "the last blessed model has" in check.reason() for check in checks if check.option == "gate.recall_margin"
    )


def test_a_loss_within_the_interval_refuses_nobody():
    one_off = np.arange(NUMBER) % 2
    one_off[0] = 1
    few = checkerboard_events(events=12, seed=3)
    assert failed(gate(few, validation_recall=None).judge(snapshot(one_off), snapshot(), 0.95)) == []


def test_half_the_items_permuted_is_told_by_the_last_blessed_model():
    poisoned = permuted_events()
    learnt = np.arange(NUMBER) % 2
    checks = gate(poisoned, validation_recall=None).judge(snapshot(learnt), snapshot(recall=0.99), 0.95)
    found = [check for check in checks if not check.passed]
    assert any(check.option == "gate.blessed_kept" for check in found)
    assert "the data have changed" in next(check for check in found if check.option == "gate.blessed_kept").reason()


def test_a_recall_of_another_kind_is_not_compared_with(caplog):
    """Of fewer answers the same model recalls less: neither the data nor the model are at fault."""
    caplog.set_level("INFO", "mtmh")
    then, now = recall_measure(50, RAN), recall_measure(5, RAN)
    before = snapshot(recall=0.99, measure=then)
    judged = gate(permuted_events(), validation_recall=None, measure=now).judge(snapshot(), before, 0.95)
    (check,) = (check for check in judged if check.option == "gate.blessed_kept")
    assert check.passed
    assert check.value is None
    assert "not comparable with the 0.9900 that it had when it was blessed: evaluate.k was 50, is 5" in check.reason()
    assert "evaluate.k was 50, is 5" in caplog.text
    # Of the same kind, or of a kind that nobody has noted, it is.
    for same in (now, None):
        before = snapshot(recall=0.99, measure=same)
        judged = gate(permuted_events(), validation_recall=None, measure=now).judge(snapshot(), before, 0.95)
        (check,) = (check for check in judged if check.option == "gate.blessed_kept")
        assert not check.passed
        assert ("unless evaluate.k, pairs.window or the like have" in check.reason()) == (same is None)


def test_what_a_recall_is_does_not_depend_on_the_day():
    nightly = [{**RAN, "split": {"quantile": 0.9, "time": day}} for day in ("2026-11-25", "2026-11-26")]
    assert recall_measure(5, nightly[0]) == recall_measure(5, nightly[1]) != recall_measure(5, RAN)
    wider = {**RAN, "pairs": {**RAN["pairs"], "window": 9}}
    assert recall_measure(5, wider)["pairs.window"] == 9
    columns = {**RAN["input"]["columns"], "session_id": "invoice"}
    visits = {**RAN, "input": {**RAN["input"], "columns": columns}}
    assert recall_measure(5, visits)["input.columns.session_id"] == "invoice"
    learns_more = {**RAN, "pairs": {**RAN["pairs"], "train_window": 90}}
    assert recall_measure(5, learns_more) == recall_measure(5, RAN)


def test_a_blessed_model_answers_from_the_catalogue_that_it_knows():
    old = snapshot(ids=[f"old{row}" if row % 4 == 0 else item for row, item in enumerate(ITEMS.ids)])
    found = old.retrieve(ITEMS.ids, np.arange(NUMBER), k=5, weights=[0.0, 1.0])
    assert found.shape == (2, NUMBER, 5)
    gone = [row for row in range(NUMBER) if row % 4 == 0]
    assert not set(found.ravel()) & set(gone)
    popular = np.argsort(-ITEMS.interaction_count)[:5].tolist()
    expected = [-1 if row % 4 == 0 else row for row in popular]
    assert found[0, 0].tolist() == expected
    assert 5 not in found[0, 5]


def test_a_snapshot_comes_back_as_it_was(tmp_path):
    made = snapshot(ids=["a b", "ü", *ITEMS.ids[2:]], measure=recall_measure(5, RAN))
    made.save(tmp_path)
    back = load_snapshot(tmp_path)
    assert back.ids == made.ids
    assert (back.has_dial, back.relevance_weight, back.merge, back.recall) == (True, 0.25, "blend", 0.7)
    assert back.measure == made.measure
    np.testing.assert_array_equal(back.vectors.relevance, made.vectors.relevance)
    (tmp_path / "vectors.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(UserError, match="no usable snapshot"):
        load_snapshot(tmp_path)
