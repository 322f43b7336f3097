"""What answers, and by which name."""

import dataclasses

import numpy as np
import pytest

from preprocessing.errors import UserError
from tests.trainer.test_evaluate import naive_lists, random_vectors
from trainer.names import BLEND, MODELS, QUOTA, merge_of, pick_models
from trainer.recommender import VectorRecommender, lists_along_dial
from trainer.variants import trainings

WEIGHTS = (0.0, 0.35, 1.0)
TRIGGER = np.array([4, 0, 11])


def test_vectors_answer_along_the_dial():
    vectors = random_vectors(12)
    recommender = VectorRecommender(vectors, has_dial=True)
    expected = [naive_lists(vectors, TRIGGER, 5, weight) for weight in WEIGHTS]
    assert lists_along_dial(recommender, TRIGGER, k=5, weights=WEIGHTS).tolist() == expected
    assert [recommender.retrieve(TRIGGER, k=5, relevance_weight=w).tolist() for w in WEIGHTS] == expected


def test_without_a_dial_the_weight_moves_nothing():
    vectors = random_vectors(12)
    recommender = VectorRecommender(vectors, has_dial=False)
    expected = naive_lists(vectors, TRIGGER, 5, 0.0)
    assert lists_along_dial(recommender, TRIGGER, k=5, weights=WEIGHTS).tolist() == [expected] * 3
    assert recommender.retrieve(TRIGGER, k=5, relevance_weight=0.7).tolist() == expected


def test_scores_of_pairs_are_those_that_rank():
    vectors = random_vectors(12)
    left, right = np.repeat(TRIGGER, 11), np.concatenate([np.delete(np.arange(12), item) for item in TRIGGER])
    for has_dial in (True, False):
        recommender = VectorRecommender(vectors, has_dial)
        for weight in WEIGHTS:
            found = recommender.score_pairs(left, right, weight).reshape(3, 11)
            best = right.reshape(3, 11)[np.arange(3)[:, None], np.argsort(-found, axis=1)]
            assert best.tolist() == recommender.retrieve(TRIGGER, k=11, relevance_weight=weight).tolist()
    blend = VectorRecommender(vectors, True).score_pairs(np.array([4]), np.array([7]), 0.25)
    engagement = vectors.engagement_trigger[4] @ vectors.engagement_candidate[7]
    assert blend == pytest.approx([0.75 * engagement + 0.25 * vectors.relevance[4] @ vectors.relevance[7]], abs=1e-6)


def test_any_recommender_is_asked_setting_by_setting():
    @dataclasses.dataclass(frozen=True)
    class Constant:
        has_dial: bool = True

        def retrieve(self, trigger, *, k, relevance_weight):
            return np.full((len(trigger), k), int(10 * relevance_weight), np.int32)

    found = lists_along_dial(Constant(), TRIGGER, k=2, weights=(0.2, 0.9))
    assert found.tolist() == [[[2, 2]] * 3, [[9, 9]] * 3]


def test_models_are_picked_once_and_in_the_order_of_tables():
    assert [model.name for model in pick_models(["mtmh", "content", "mtmh"])] == ["content", "mtmh"]
    assert pick_models(MODELS) == list(MODELS.values())


def test_a_quota_is_a_row_on_request():
    assert "mtmh_quota" not in MODELS
    assert [model.label for model in pick_models(["mtmh_quota", "mtmh"])] == ["MTMH", "MTMH, quota"]
    assert trainings("mtmh_quota") == ("mtmh",)
    assert [merge_of(name, BLEND) for name in ("mtmh", "mtmh_quota")] == [BLEND, QUOTA]
    assert merge_of("mtmh", QUOTA) == QUOTA


@pytest.mark.parametrize(
    ("names", "said"), [(["itemkn"], "did you mean itemknn"), (["x"], "models are popularity"), ([], "models are")]
)
def test_models_that_are_none(names, said):
    with pytest.raises(UserError, match=said):
        pick_models(names)
