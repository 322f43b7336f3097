"""Blend and quota of what two heads found, by hand."""

import numpy as np
import pytest

from preprocessing.backend import tf
from serving import ranking
from serving.ranking import Finds, Query
from trainer import quota

ENGAGEMENT = (0.9, 0.8, 0.7, 0.3, 0.2, 0.1)
RELEVANCE = (0.1, 0.2, 0.9, 0.3, 0.8, 0.7)
"""Of items 0 to 5: by engagement 0 1 2 3 4 5, by relevance 2 4 5 3 1 0."""


def rank(way, weight, k, *, banned=(), engagement=range(6), relevance=range(6), heads=(1.0, 1.0)):
    """Answers to one request: items, their scores, and their sources; ``engagement``: what that head found."""
    scores = np.array([ENGAGEMENT, RELEVANCE], np.float32) * np.array(heads, np.float32)[:, np.newaxis]
    own = [
        sorted(found, key=lambda item: -row[item]) for found, row in zip((engagement, relevance), scores, strict=True)
    ]
    union = list(dict.fromkeys([*own[0], *own[1]]))
    query = Query(
        engagement=tf.constant([[heads[0]]]),
        relevance=tf.constant([[heads[1]]]),
        weight=tf.constant([[weight]], tf.float32),
        k=tf.constant([k]),
        size=tf.constant(k),
        banned=tf.constant([list(banned)], tf.int32, shape=[1, len(banned)]),
        wanted=tf.constant(6),
        possible=tf.constant([k]),
    )
    finds = Finds(
        candidates=tf.constant([union], tf.int32),
        engagement=tf.constant([scores[0][union]]),
        relevance=tf.constant([scores[1][union]]),
        by_engagement=(tf.constant([scores[0][own[0]]]), tf.constant([own[0]], tf.int32)),
        by_relevance=(tf.constant([scores[1][own[1]]]), tf.constant([own[1]], tf.int32)),
    )
    answers = way(query, finds)
    return (
        answers.candidates.numpy()[0].tolist(),
        answers.score.numpy()[0],
        [name.decode() for name in ranking.source(answers, query.weight).numpy()[0]],
    )


@pytest.mark.parametrize(
    ("weight", "k", "items"),
    [(0.0, 3, [0, 1, 2]), (0.5, 3, [2, 0, 1]), (1.0, 3, [2, 4, 5]), (0.3, 2, [2, 0])],
)
def test_blend(weight, k, items):
    assert rank(ranking.blend, weight, k)[0] == items


@pytest.mark.parametrize(
    ("weight", "k", "items"),
    [
        (0.0, 3, [0, 1, 2]),
        (0.3, 3, [0, 1, 2]),  # one of relevance: 2, which the other part, 0 and 1, does not hold
        (0.5, 4, [2, 0, 1, 4]),  # 2 is of relevance, or of both: the other head has no slot for it
        (0.5, 2, [2, 0]),
        (0.7, 3, [2, 4, 0]),
        (0.25, 4, [2, 0, 1, 4]),  # the third of engagement is 2: it takes no slot of relevance
        (1.0, 3, [2, 4, 5]),
    ],
)
def test_quota(weight, k, items):
    found, score, _ = rank(ranking.quota, weight, k)
    expected = [(1 - weight) * ENGAGEMENT[item] + weight * RELEVANCE[item] for item in items]
    order = np.argsort(-np.array(expected), kind="stable")
    assert found == [items[place] for place in order]
    np.testing.assert_allclose(score, np.array(expected)[order], rtol=1e-6)


def test_banned_items_take_no_slot():
    found, score, _ = rank(ranking.quota, 0.5, 4, banned=[0, 2])
    assert sorted(found) == [1, 3, 4, 5]
    assert (np.diff(score) <= 0).all()


@pytest.mark.parametrize(
    ("lists", "items"),
    [
        ({"engagement": [0], "relevance": [2, 4, 5]}, {0, 2, 4, 5}),  # 2 is the second of engagement that is known
        ({"engagement": [0, 1, 3], "relevance": [2]}, {0, 1, 2, 3}),  # 3 is the second of relevance that is known
        ({"engagement": [], "relevance": [3, 4, 5]}, {3, 4, 5, -1}),
        ({"engagement": [3, 4], "relevance": []}, {3, 4, -1}),
    ],
)
def test_short_lists_are_filled_from_the_other_head(lists, items):
    assert set(rank(ranking.quota, 0.5, 4, **lists)[0]) == items


@pytest.mark.parametrize(("heads", "items"), [((1.0, 0.0), [0, 1, 2]), ((0.0, 1.0), [2, 4, 5])])
def test_a_head_without_a_vector_leaves_its_slots(heads, items):
    for weight in (0.0, 0.5, 1.0):
        assert set(rank(ranking.quota, weight, 3, heads=heads)[0]) == set(items)


def test_source_of_a_quota():
    found, _, source = rank(ranking.quota, 0.5, 4)
    assert dict(zip(found, source, strict=True)) == {
        0: "engagement",
        1: "engagement",
        2: "both",
        4: "relevance",
    }


def test_slots_are_those_of_the_evaluation():
    weights = np.concatenate([np.arange(0, 1.0001, 0.005), np.random.default_rng(0).random(200)]).astype(np.float32)
    for k in (0, 1, 2, 7, 20, 50, 100, 999, 1000):
        counted = ranking.relevance_slots(tf.constant(weights), tf.fill([len(weights)], k)).numpy().tolist()
        assert counted == [quota.relevance_slots(float(weight), k) for weight in weights]
