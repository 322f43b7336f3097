"""What the index finds, by the deployed way to merge."""

import dataclasses
import types

import numpy as np
import pytest

from serving import index_gate
from serving.config import ServingConfig
from serving.index import IndexPlan
from serving.index_gate import GATE_DIAL, measure_index, tune_index
from tests.serving.naive import DEFAULTS, Shelf, random_vectors, without_scan
from trainer.model import ItemVectors
from trainer.names import MERGES
from trainer.recommender import VectorRecommender


@pytest.fixture(params=MERGES)
def defaults(request):
    return dataclasses.replace(DEFAULTS, merge=request.param)


def shelf_of(directory, vectors, defaults, kind="tree"):
    return Shelf(directory, [str(row) for row in range(len(vectors.relevance))], vectors, kind=kind, defaults=defaults)


@pytest.mark.parametrize("deployed", MERGES)
def test_the_share_of_the_exact_answers(defaults, deployed, tmp_path):
    """One way to merge as the search of another: what they have in common is what is found."""
    vectors, triggers = random_vectors(300), np.arange(60)
    judged = shelf_of(tmp_path, vectors, dataclasses.replace(defaults, merge=deployed), "exact").retriever
    stand_in = types.SimpleNamespace(
        search=judged.search, merge=defaults.merge, num_items=judged.num_items, max_k=judged.max_k
    )
    found = measure_index(stand_in, vectors, triggers)
    for weight in GATE_DIAL:
        expected, served = (
            VectorRecommender(vectors, has_dial=True, merge=merge).retrieve(triggers, k=50, relevance_weight=weight)
            for merge in (defaults.merge, deployed)
        )
        common = [len(set(one) & set(other)) for one, other in zip(expected, served, strict=True)]
        assert found[weight] == pytest.approx(np.mean(common) / 50)
    same = defaults.merge == deployed
    assert (min(found.values()) == 1.0) == same
    assert found[0.0] == found[1.0] == 1.0
    assert same or 0.4 < found[0.5] < 0.95


def test_a_head_without_vectors_is_not_asked_for(defaults, tmp_path):
    """Else every item would be one of its best, and any index good enough."""
    vectors = random_vectors(300)
    one_head = dataclasses.replace(vectors, relevance=np.zeros_like(vectors.relevance))
    reversed_ = dataclasses.replace(one_head, engagement_candidate=-vectors.engagement_candidate)
    retriever = shelf_of(tmp_path, reversed_, defaults, "exact").retriever
    found = measure_index(retriever, one_head, np.arange(60))
    assert max(found[weight] for weight in GATE_DIAL if weight < 1.0) < 0.1


def test_search_is_widened_until_it_finds_enough(defaults, tmp_path, monkeypatch):
    vectors, triggers = random_vectors(60), np.arange(60)
    retriever = (shelf := shelf_of(tmp_path, vectors, defaults)).retriever
    # No scan of all may help out.
    monkeypatch.setattr("serving.search.Search._by_scan", without_scan)
    monkeypatch.setattr(index_gate, "GATE_K", 10)
    narrow = IndexPlan("tree", shelf.plan.leaves, 1, 10)
    retriever.search_with(narrow)
    assert min(measure_index(retriever, vectors, triggers).values()) < 0.9
    plan, recall = tune_index(retriever, vectors, triggers, narrow, ServingConfig())
    assert plan.leaves == narrow.leaves
    assert plan.leaves_to_search > 1
    assert min(recall.values()) >= 0.97


def test_equal_items_are_as_good_as_one_another(defaults, tmp_path):
    """Among items with equal vectors the index may pick others than exact search does."""
    one = np.zeros((100, 4), np.float32)
    one[:, 0] = 1.0
    vectors = ItemVectors(one, one, one)
    retriever = shelf_of(tmp_path, vectors, defaults).retriever
    assert set(measure_index(retriever, vectors, np.arange(100)).values()) == {1.0}


@pytest.mark.parametrize("number", [1, 2])
def test_measure_of_tiny_catalogues(defaults, tmp_path, number):
    vectors = ItemVectors(*(np.eye(number, 4, dtype=np.float32),) * 3)
    retriever = shelf_of(tmp_path, vectors, defaults).retriever
    assert set(measure_index(retriever, vectors, np.arange(number)).values()) == {1.0}
