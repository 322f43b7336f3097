"""Exact evaluation against a naive one."""

import collections
import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from preprocessing.config import FeaturesConfig, PreprocessingConfig, TeacherConfig
from preprocessing.errors import UserError
from preprocessing.manifest import load_manifest
from tests.trainer.toys import annotation_columns, eval_triggers, item_table, write_examples
from trainer import best, metrics
from trainer.config import EvaluateConfig
from trainer.evaluate import (
    evaluate,
    make_judge,
    sample_triggers,
    score_lists,
    sees_categories,
)
from trainer.exact import nearest, retrieve_along_dial, retrieve_exact
from trainer.model import ItemVectors
from trainer.names import QUOTA
from trainer.neighbours import teacher_neighbours
from trainer.statistics import Tally


def unit(rng, number, dimension):
    vectors = rng.normal(size=(number, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def random_vectors(number, dimension=5, seed=0):
    rng = np.random.default_rng(seed)
    return ItemVectors(*(unit(rng, number, dimension) for _ in range(3)))


def naive_lists(vectors, trigger, k, weight):
    scores = (1 - weight) * vectors.engagement_trigger @ vectors.engagement_candidate.T
    scores = scores + weight * vectors.relevance @ vectors.relevance.T
    lists = []
    for item in trigger:
        order = [j for j in np.argsort(-scores[item], kind="stable").tolist() if j != item][:k]
        lists.append(order + [-1] * (k - len(order)))
    return lists


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("k", [1, 6, 19, 20, 30])
def test_retrieval_is_the_naive_one_also_beyond_the_catalogue(weight, k):
    vectors, trigger = random_vectors(20), np.array([0, 19, 3, 3])
    found = retrieve_exact(vectors, trigger, k=k, relevance_weight=weight)
    assert found.dtype == np.int32
    assert found.tolist() == naive_lists(vectors, trigger, k, weight)


@pytest.mark.parametrize("rows", [1, 4, 21])
def test_blocks_change_nothing(rows, monkeypatch):
    vectors, trigger = random_vectors(21), np.arange(21)
    whole = retrieve_exact(vectors, trigger, k=5, relevance_weight=0.4)
    monkeypatch.setattr(best, "ROWS", rows)
    monkeypatch.setattr(best, "_FIRST_COLUMNS", rows)
    assert np.array_equal(retrieve_exact(vectors, trigger, k=5, relevance_weight=0.4), whole)


@pytest.mark.parametrize("k", [1, 6, 19, 30])
@pytest.mark.parametrize("rows", [1, 3, 256])
def test_retrieval_along_the_dial_is_that_of_each_setting(k, rows, monkeypatch):
    monkeypatch.setattr(best, "ROWS", rows)
    monkeypatch.setattr(best, "_FIRST_COLUMNS", rows)
    vectors, trigger, weights = random_vectors(20), np.array([0, 19, 3, 3]), (0.0, 0.3, 0.55, 1.0)
    found = retrieve_along_dial(vectors, trigger, k=k, weights=weights)
    assert found.dtype == np.int32
    assert found.tolist() == [naive_lists(vectors, trigger, k, weight) for weight in weights]
    one = ItemVectors(*(np.ones((1, 2), np.float32) for _ in range(3)))
    assert retrieve_along_dial(one, np.array([0]), k=2, weights=weights).tolist() == [[[-1, -1]]] * 4


def test_catalogue_of_one_item_has_no_answer():
    table = np.ones((1, 2), np.float32)
    assert nearest(table, table, k=3, exclude=np.array([0])).tolist() == [[-1, -1, -1]]
    assert nearest(table[:0], table, k=3, exclude=np.array([], np.int64)).shape == (0, 3)


ITEMS = item_table(
    [""] * 9,
    [["a"], ["a", "b"], ["b"], [], ["a", "b", "c"], ["c"], ["a"], ["b", "c"], ["c"]],
    np.concatenate([unit(np.random.default_rng(3), 8, 3), np.zeros((1, 3), np.float32)]),
    interaction_count=[5, 0, 9, 1, 4, 4, 2, 7, 3],
)
EVENTS = [(0, [2, 1]), (4, [5]), (0, [7]), (1, [2, 8]), (3, [3 + 1]), (8, [0, 2])]


def naive_scores(lists, events, items, k, tail_share):
    """Every metric from its definition in the design, one occasion at a time."""
    seen = items.interaction_count > 0
    number = len(items.ids)
    tail = set(sorted(range(number), key=lambda i: (items.interaction_count[i], i))[: int(number * tail_share)])
    values = collections.defaultdict(list)
    # Of 35 interactions items 2 and 7 make 16, and item 0's five cross the half.
    popular = {2, 7, 0}
    bits = []
    slots = tail_slots = popular_slots = 0
    for trigger, targets in events:
        found = [item for item in lists[trigger] if item >= 0]
        gains = ideal = 0.0
        for target in targets:
            if not (seen[trigger] and seen[target]):
                values["recall_cold"].append(target in found)
                continue
            values["recall"].append(target in found)
            values["mrr"].append(1 / (found.index(target) + 1) if target in found else 0)
            gains += 1 / math.log2(found.index(target) + 2) if target in found else 0
            ideal += 1 / math.log2(len([t for t in targets[: targets.index(target)] if seen[t]]) + 2)
        if ideal:
            values["ndcg"].append(gains / ideal)
        content = items.content_vectors
        if content[trigger].any():
            values["relevance"].append(np.mean([content[trigger] @ content[item] for item in found]))
        own = set(items.categories[trigger])
        if own:
            overlaps = [len(own & set(items.categories[i])) / len(own | set(items.categories[i])) for i in found]
            values["topic_match"].append(np.mean(overlaps))
        slots += len(found)
        popular_slots += len(popular & set(found))
        count = items.interaction_count
        bits += [math.log2((count.sum() + number) / (count[item] + 1)) for item in found]
        known = [item for item in found if content[item].any()]
        apart = [1 - content[a] @ content[b] for a, b in itertools.combinations(known, 2)]
        if apart:
            values["diversity"].append(np.mean(apart))
        tail_slots += len(tail & set(found))
    result = {name: float(np.mean(list_)) for name, list_ in values.items()}
    distinct = {item for trigger, _ in events for item in lists[trigger] if item >= 0}
    return result | {
        "coverage": len(distinct) / number,
        "tail_share": tail_slots / slots,
        "popular_share": popular_slots / slots,
        "novelty": np.mean(bits),
    }


@pytest.mark.parametrize("k", [3, 8, 12])
def test_evaluation_is_the_naive_one_at_every_dial(k):
    vectors = random_vectors(9, seed=4)
    weights = (0.0, 0.25, 1.0)
    judge = make_judge(ITEMS, eval_triggers(EVENTS), categories_seen=True)
    scores = evaluate(vectors, judge, EvaluateConfig(k=k, tail_share=0.4), weights)
    assert [score.relevance_weight for score in scores] == list(weights)
    for score in scores:
        lists = naive_lists(vectors, range(9), k, score.relevance_weight)
        expected = naive_scores(lists, EVENTS, ITEMS, k, 0.4)
        assert set(score.values) == set(metrics.METRICS) == set(expected)
        assert score.values == pytest.approx(expected, abs=1e-6)
        assert (score.k, score.num_triggers, score.num_pairs, score.num_cold_pairs) == (k, 6, 6, 3)
        assert score.topic_match_independent is False


@pytest.mark.parametrize(
    ("model", "teacher", "kind", "seen"),
    [
        (False, False, "lsa", False),
        (True, False, "lsa", True),
        (False, True, "lsa", True),
        (False, True, "onnx", True),
        (False, True, "column", False),  # vectors that the catalogue brings are not made of its categories
        (True, True, "column", True),
    ],
)
def test_categories_are_seen_by_the_model_or_by_the_teacher_of_the_examples(tmp_path, model, teacher, kind, seen):
    made = PreprocessingConfig(features=FeaturesConfig(categories=teacher), teacher=TeacherConfig(kind=kind))
    manifest = load_manifest(str(write_examples(tmp_path, ITEMS, EVENTS, EVENTS)))
    made_so = dataclasses.replace(manifest, config=dataclasses.asdict(made))
    assert sees_categories(FeaturesConfig(categories=model), made_so) is seen


def test_held_out_annotations_are_ranked_by_the_blend_at_each_dial():
    """Engagement brings item 1 before item 2, relevance the other way round; the grades agree with relevance."""
    engaged, relevant = np.eye(9, dtype=np.float32), np.eye(9, dtype=np.float32)
    engaged[1, 0], relevant[2, 0] = 1.0, 1.0
    vectors = ItemVectors(np.eye(9, dtype=np.float32), engaged, relevant)
    annotations = annotation_columns([(0, 1, 0.5, True), (0, 2, 1.0, True), (3, 4, 1.0, False), (3, 5, 0.0, False)])
    second = 1 / math.log2(3)
    worst = (0.5 + second) / (1 + 0.5 * second)

    def ndcg(annotations, **options):
        judge = make_judge(ITEMS, eval_triggers(EVENTS), categories_seen=True, annotations=annotations)
        return [score.annotation_ndcg for score in evaluate(vectors, judge, EvaluateConfig(k=3), (0.0, 1.0), **options)]

    assert ndcg(annotations) == pytest.approx([worst, 1.0])
    assert ndcg(annotations.select(~annotations.held_out)) == ndcg(None) == [None, None]
    assert ndcg(annotations, merge=QUOTA) == [None, None]  # no score decides there


def test_cold_pairs_are_reported_apart():
    """Item 1 is unseen in training: pairs to it and from it count as cold, hit or not."""
    config = EvaluateConfig(k=2)
    judge = make_judge(ITEMS, eval_triggers([(0, [1, 2]), (1, [2])]), categories_seen=False)
    retrieved = np.array([[[1, 3], [3, 4]]], np.int32)
    (scores,) = score_lists(retrieved, Tally(judge, config), [0.0])
    assert scores.values[metrics.RECALL] == 0.0
    assert scores.values[metrics.RECALL_COLD] == 0.5
    assert (scores.num_pairs, scores.num_cold_pairs) == (1, 2)
    assert scores.topic_match_independent is True
    warm = make_judge(ITEMS, eval_triggers([(0, [2])]), categories_seen=False)
    (scores,) = score_lists(retrieved[:, :1], Tally(warm, config), [0.0])
    assert scores.values["recall_cold"] is None


def test_what_the_data_cannot_tell_is_none():
    plain = item_table([""] * 9)
    judge = make_judge(plain, eval_triggers(EVENTS), categories_seen=True)
    (scores,) = evaluate(random_vectors(9), judge, EvaluateConfig(k=3))
    assert scores.values[metrics.RELEVANCE] is None
    assert scores.values[metrics.TOPIC_MATCH] is None
    assert scores.values[metrics.RECALL] is not None


def test_category_named_twice_counts_once():
    items = item_table(["", ""], [["a", "a"], ["a"]])
    judge = make_judge(items, eval_triggers([(0, [1])]), categories_seen=True)
    assert judge.categories.toarray().tolist() == [[1.0], [1.0]]


def test_nothing_to_evaluate_on():
    judge = make_judge(ITEMS, eval_triggers([]), categories_seen=True)
    with pytest.raises(UserError, match=r"lower split\.quantile"):
        evaluate(random_vectors(9), judge, EvaluateConfig())


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 8), st.lists(st.integers(0, 8), min_size=1, max_size=3)), max_size=9),
    st.integers(1, 9),
    st.integers(0, 5),
)
def test_sampled_triggers_are_whole_occasions_in_order(events, count, seed):
    found = sample_triggers(eval_triggers(events), count, seed)
    splits = found.row_splits
    kept = [(int(trigger), found.target[splits[i] : splits[i + 1]].tolist()) for i, trigger in enumerate(found.trigger)]
    assert len(kept) == min(count, len(events))
    remaining = iter(events)
    assert all(occasion in remaining for occasion in kept)  # a subsequence
    again = sample_triggers(eval_triggers(events), count, seed)
    assert all(
        np.array_equal(getattr(found, field.name), getattr(again, field.name)) for field in dataclasses.fields(found)
    )


def test_samples_differ_by_seed():
    events = [(i % 9, [0]) for i in range(200)]
    assert len({tuple(sample_triggers(eval_triggers(events), 5, seed).trigger) for seed in range(10)}) > 5


def test_teacher_neighbours_are_the_nearest_others():
    content = unit(np.random.default_rng(0), 30, 4)
    found = teacher_neighbours(content, 5, seed=0)
    similarity = content @ content.T
    np.fill_diagonal(similarity, -2)
    assert (found == np.argsort(-similarity, axis=1, kind="stable")[:, :5]).all()


def test_teacher_neighbours_of_a_tiny_catalogue_are_filled_up():
    found = teacher_neighbours(unit(np.random.default_rng(0), 3, 4), 5, seed=0)
    assert found.shape == (3, 5)
    assert ((found >= 0) & (found < 3)).all()
    assert all(set(found[item][:2]) == {0, 1, 2} - {item} for item in range(3))


def test_teacher_neighbours_of_a_huge_catalogue_come_from_a_sample(monkeypatch):
    content = unit(np.random.default_rng(0), 60, 4)
    monkeypatch.setattr("trainer.neighbours._EXACT_PRODUCTS", 60 * 4 * 40)
    found = teacher_neighbours(content, 3, seed=0)
    assert found.shape == (60, 3)
    assert len(np.unique(found)) <= 40
    assert (found != np.arange(60)[:, None]).all()
    similarity = content @ content.T
    np.fill_diagonal(similarity, 0)
    near = np.take_along_axis(similarity, found.astype(np.int64), axis=1).mean()
    assert near > np.sort(similarity, axis=1)[:, -8:].mean() - 0.05  # nearly as near as the exact ones
    sampled = np.unique(found)
    alike = np.full_like(similarity, -2.0)
    alike[:, sampled] = similarity[:, sampled]
    np.fill_diagonal(alike, -2.0)
    # The nearest of the sample, its first item among them, also for what is not in it.
    assert (found == np.argsort(-alike, axis=1, kind="stable")[:, :3]).all()
