"""The quota against a naive one, and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from tests.trainer.test_evaluate import random_vectors
from trainer import quota
from trainer.model import ItemVectors
from trainer.names import QUOTA
from trainer.quota import relevance_slots, retrieve_quota
from trainer.recommender import VectorRecommender, lists_along_dial

WEIGHTS = (0.0, 0.1, 0.35, 0.5, 0.9, 1.0)


def naive_quota(vectors, trigger, k, weight):
    """One trigger after another, one answer after another."""
    lists = []
    for item in trigger:
        engagement = vectors.engagement_candidate @ vectors.engagement_trigger[item]
        relevance = vectors.relevance @ vectors.relevance[item]
        others = [j for j in range(len(relevance)) if j != item]
        slots = relevance_slots(weight, k)
        if not vectors.engagement_trigger[item].any():
            slots = k
        if not vectors.relevance[item].any():
            slots = 0
        answer = sorted(others, key=lambda j: -engagement[j])[: k - slots]
        answer += sorted(set(others) - set(answer), key=lambda j: -relevance[j])[:slots]
        answer.sort(key=lambda j: -((1 - weight) * engagement[j] + weight * relevance[j]))
        lists.append(answer + [-1] * (k - len(answer)))
    return lists


def by_scores(engagement, relevance):
    """Vectors of a trigger, item 0, and of what scores so with it."""
    rows = np.array([[1.0, *engagement]], np.float32).T, np.array([[1.0, *relevance]], np.float32).T
    return ItemVectors(np.ones_like(rows[0]), rows[0], rows[1])


@pytest.mark.parametrize(
    ("weight", "k", "slots"),
    [
        (0.0, 50, 0),
        (1.0, 50, 50),
        (0.2, 50, 10),
        (0.01, 50, 1),
        (0.009, 50, 0),
        (0.29, 50, 15),
        (0.35, 50, 18),
        (0.5, 1, 1),
        (0.4, 1, 0),
        (0.5, 5, 3),
        (0.3, 0, 0),
        (0.1234, 1000, 123),
    ],
)
def test_halves_go_up(weight, k, slots):
    assert relevance_slots(weight, k) == slots


def test_by_hand():
    """Items 1 to 5: by engagement 1 2 3 4 5, by relevance 2 5 4 3 1."""
    vectors = by_scores([0.9, 0.8, 0.4, 0.3, 0.1], [0.0, 0.9, 0.2, 0.3, 0.8])
    lists = retrieve_quota(vectors, np.array([0]), k=3, weights=(0.0, 1 / 3, 2 / 3, 1.0))[:, 0].tolist()
    # A third: 1 and 2 by engagement, so of the relevance head's best 5 is the first that is not held.
    assert lists == [[1, 2, 3], [2, 1, 5], [2, 5, 1], [2, 5, 4]]


def test_the_list_is_in_the_order_of_the_blend():
    vectors = by_scores([0.9, 0.2, 0.1], [0.1, 0.8, 0.9])
    at = retrieve_quota(vectors, np.array([0]), k=2, weights=(0.3, 0.7))[:, 0].tolist()
    # One of each: at .3 item 1 scores .66 and item 3 .34, at .7 .34 and .66.
    assert at == [[1, 3], [3, 1]]


@settings(max_examples=60, deadline=None, derandomize=True)  # scores that all but tie may change places
@given(st.integers(1, 25), st.integers(1, 30), st.integers(0, 1000), st.floats(0, 1, width=32))
def test_as_the_naive_one(number, k, seed, weight):
    vectors, trigger = random_vectors(number, seed=seed), np.arange(number)[::2]
    found = retrieve_quota(vectors, trigger, k=k, weights=(weight, *WEIGHTS))
    assert found.dtype == np.int32
    assert found.tolist() == [naive_quota(vectors, trigger, k, each) for each in (weight, *WEIGHTS)]


@pytest.mark.parametrize("values_held", [1, 150, 400])
def test_blocks_change_nothing(values_held, monkeypatch):
    vectors, trigger = random_vectors(21), np.arange(21)
    whole = retrieve_quota(vectors, trigger, k=5, weights=WEIGHTS)
    monkeypatch.setattr(quota, "_BLOCK_VALUES", values_held)
    assert np.array_equal(retrieve_quota(vectors, trigger, k=5, weights=WEIGHTS), whole)


def test_heads_without_a_vector_leave_their_slots_to_the_other():
    vectors = random_vectors(12)
    mute = vectors.relevance.copy()
    mute[[0, 3]] = 0.0
    deaf = vectors.engagement_trigger.copy()
    deaf[5] = 0.0
    vectors, trigger = ItemVectors(deaf, vectors.engagement_candidate, mute), np.arange(12)
    found = retrieve_quota(vectors, trigger, k=4, weights=WEIGHTS)
    assert found.tolist() == [naive_quota(vectors, trigger, 4, weight) for weight in WEIGHTS]
    assert {tuple(sorted(each)) for each in found[:, 0].tolist()} == {tuple(sorted(found[0, 0].tolist()))}


def test_a_recommender_with_a_quota():
    vectors, trigger = random_vectors(12), np.array([4, 0, 11])
    recommender = VectorRecommender(vectors, has_dial=True, merge=QUOTA)
    expected = [naive_quota(vectors, trigger, 5, weight) for weight in WEIGHTS]
    assert lists_along_dial(recommender, trigger, k=5, weights=WEIGHTS).tolist() == expected
    assert [recommender.retrieve(trigger, k=5, relevance_weight=w).tolist() for w in WEIGHTS] == expected
    without = VectorRecommender(vectors, has_dial=False, merge=QUOTA)
    assert without.retrieve(trigger, k=5, relevance_weight=0.5).tolist() == expected[0]
