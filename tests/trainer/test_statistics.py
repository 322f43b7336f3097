"""Sums by user, counted by hand."""

import doctest

import numpy as np
import pytest

from preprocessing.errors import UserError
from tests.trainer.toys import eval_triggers, item_table
from trainer import metrics, slices, statistics
from trainer.config import EvaluateConfig
from trainer.evaluate import make_judge, score_lists
from trainer.statistics import COLUMNS, Tally

CONTENT = np.array([[1, 0], [0.6, 0.8], [0, 1], [0, 0], [1, 0]])
# Of 100 interactions item 0 has half: head; 1 torso; 2 and 4 tail; 3 cold.
ITEMS = item_table([""] * 5, [["a"], ["a", "b"], [], ["b"], ["a"]], CONTENT, interaction_count=[50, 30, 15, 0, 5])
# User 70 has three occasions, two of them alike; user 9 one, whose first target is cold.
EVENTS, USERS = [(0, [1, 2]), (1, [0]), (0, [1, 2]), (2, [3, 0])], [70, 70, 70, 9]
LISTS = np.array([[[2, 4], [2, 0], [3, 1]]], np.int32)
"""For triggers 0, 1 and 2."""


def sums():
    judge = make_judge(ITEMS, eval_triggers(EVENTS, USERS), categories_seen=False)
    tally = Tally(judge, EvaluateConfig(k=2, tail_share=0.4))
    (found,) = tally.sums(LISTS)
    return tally, {
        column: list(zip(found.numerator[:, place].tolist(), found.denominator[:, place].tolist(), strict=True))
        for place, column in enumerate(COLUMNS)
    }


def test_docstrings():
    assert doctest.testmod(statistics).failed == 0


def test_sums_by_user():
    """Users in the order of their numbers: 9, then 70."""
    tally, found = sums()
    assert tally.trigger.tolist() == [0, 1, 2]
    assert (tally.num_users, tally.num_pairs, tally.num_cold_pairs) == (2, 6, 1)
    assert found[metrics.RECALL, slices.ALL] == [(0, 1), (3, 5)]
    assert found[metrics.RECALL, slices.HEAD] == [(0, 0), (2, 4)]
    assert found[metrics.RECALL, slices.TORSO] == [(0, 0), (1, 1)]
    assert found[metrics.RECALL, slices.TAIL] == [(0, 1), (0, 0)]
    assert found[metrics.RECALL, slices.COLD] == found[metrics.RECALL_COLD, slices.ALL] == [(1, 1), (0, 0)]
    assert found[metrics.MRR, slices.ALL] == [(0, 1), (1 + 0.5 + 1, 5)]
    ideal, first, second = 1 + 1 / np.log2(3), 1, 1 / np.log2(3)
    assert found[metrics.NDCG, slices.ALL][0] == (0, 1)
    assert found[metrics.NDCG, slices.ALL][1] == pytest.approx((2 * first / ideal + second, 3))
    # Cosines of trigger 0: 0 and 1; of 1: 0.8 and 0.6; of 2: 0, unknown to the teacher, and 0.8.
    assert found[metrics.RELEVANCE, slices.ALL] == [pytest.approx((0.4, 1)), pytest.approx((2 * 0.5 + 0.7, 3))]
    assert found[metrics.RELEVANCE, slices.TORSO] == [(0, 0), pytest.approx((0.7, 1))]
    # Trigger 2 has no category; 1 shares one of two with item 0, none with 2; 0 is equal to 4.
    assert found[metrics.TOPIC_MATCH, slices.ALL] == [(0, 0), pytest.approx((2 * 0.5 + 0.25, 3))]
    # The tail are the two least engaged, items 3 and 4.
    assert found[metrics.TAIL_SHARE, slices.ALL] == [(1, 2), (2, 6)]
    assert found[metrics.POPULAR_SHARE, slices.ALL] == [(0, 2), (1, 6)]
    # Item 3 is unknown to the teacher: a list of one known item has no diversity.
    assert found[metrics.DIVERSITY, slices.ALL] == [(0, 0), pytest.approx((2 * 1 + 1, 3))]


def test_occasions_and_pairs_are_counted_by_slice():
    tally, _ = sums()
    assert tally.occasions == {"head": 2, "torso": 1, "tail": 1, "cold": 0}
    assert tally.pairs == {"head": 4, "torso": 1, "tail": 1, "cold": 1}


def test_scores_hold_the_slices():
    tally, _ = sums()
    (scores,) = score_lists(LISTS, tally, [0.0])
    assert scores.slices["head"]["recall"] == 0.5
    assert scores.slices["cold"] == {"recall": 1.0, "relevance": None, "topic_match": None}
    assert scores.values["coverage"] == 1.0


def test_users_beyond_the_clusters_share_one(monkeypatch):
    monkeypatch.setattr(statistics, "_MOST_CLUSTERS", 1)
    tally, found = sums()
    assert (tally.num_users, tally.num_clusters) == (2, 1)
    assert found[metrics.RECALL, slices.ALL] == [(3, 6)]


def test_nothing_to_evaluate_on():
    with pytest.raises(UserError, match=r"lower split\.quantile"):
        Tally(make_judge(ITEMS, eval_triggers([]), categories_seen=False), EvaluateConfig())
