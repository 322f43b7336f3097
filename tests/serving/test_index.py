"""ScaNN as an index: exact and tree, at sizes where it is easily wrong."""

import numpy as np
import pytest

from preprocessing.backend import tf
from serving.config import IndexConfig
from serving.index import LEAST_TREE, TREE_FROM, IndexPlan, ScannIndex, plan_index, wider_plan
from tests.serving.naive import unit


def naive(queries, candidates, k):
    scores = queries @ candidates.T
    return -np.sort(-scores, axis=1)[:, :k]


def test_kind_follows_the_catalogue():
    assert plan_index(TREE_FROM - 1, IndexConfig()) == IndexPlan("exact", 0, 0, 0)
    assert plan_index(TREE_FROM, IndexConfig()).kind == "tree"
    assert plan_index(TREE_FROM, IndexConfig(kind="exact")).kind == "exact"


def test_plan_of_a_tree():
    assert plan_index(40_000, IndexConfig()) == IndexPlan("tree", 200, 40, 600)
    own = IndexConfig(kind="tree", leaves=7, leaves_to_search=3, reorder=11)
    assert plan_index(500, own) == IndexPlan("tree", 7, 3, 11)


@pytest.mark.parametrize("number", [1, 2, 3, LEAST_TREE - 1])
def test_too_few_items_for_a_tree(number):
    """ScaNN does not refuse them: it ends the process."""
    assert plan_index(number, IndexConfig(kind="tree")).kind == "exact"
    with pytest.raises(ValueError, match="at least 16 candidates"):
        ScannIndex(IndexPlan("tree", 1, 1, 1)).index(np.eye(number, 4, dtype=np.float32))


@pytest.mark.parametrize("number", [LEAST_TREE, 50])
def test_plan_fits_a_small_catalogue(number):
    plan = plan_index(number, IndexConfig(kind="tree", leaves=100, leaves_to_search=100, reorder=100))
    assert 1 <= plan.leaves_to_search <= plan.leaves <= number
    assert plan.reorder <= number


def test_wider_plan_ends():
    config = IndexConfig(kind="tree")
    plans = [plan_index(40_000, config)]
    while (wider := wider_plan(plans[-1], 40_000, config)) is not None:
        plans.append(wider)
    assert {(plan.kind, plan.leaves) for plan in plans} == {("tree", 200)}
    assert [plan.leaves_to_search for plan in plans[:4]] == [40, 80, 160, 200]
    assert plans[-1].reorder == 4800
    assert len(plans) < 8


def test_wider_plan_leaves_alone_what_is_configured():
    config = IndexConfig(kind="tree", leaves_to_search=5, reorder=10)
    assert wider_plan(plan_index(1000, config), 1000, config) is None
    config = IndexConfig(kind="tree", leaves_to_search=5, reorder=9000)
    plan = plan_index(20_000, config)
    assert wider_plan(plan, 20_000, config) is None
    config = IndexConfig(kind="tree", reorder=10)
    assert wider_plan(plan_index(10_000, config), 10_000, config) == IndexPlan("tree", 100, 40, 10)
    assert wider_plan(plan_index(1000, IndexConfig(kind="exact")), 1000, IndexConfig()) is None


@pytest.mark.parametrize("kind", ["exact", "tree"])
@pytest.mark.parametrize("number", [1, 2, 16, 300])
@pytest.mark.parametrize("dimension", [2, 5])
def test_small_catalogues(kind, number, dimension):
    rng = np.random.default_rng(number)
    candidates = unit(rng, number, dimension)
    index = ScannIndex(plan_index(number, IndexConfig(kind=kind))).index(candidates)
    for batch in (0, 1, 3):
        queries = unit(rng, batch, dimension)
        for k in (0, 1, number, number + 5):
            scores, rows = (part.numpy() for part in index(tf.constant(queries), k=k))
            assert scores.shape == rows.shape == (batch, k)
            for query, values, found in zip(queries, scores, rows, strict=True):
                real = found >= 0
                assert (values[~real] == -np.inf).all()
                assert len(set(found[real])) == real.sum()
                np.testing.assert_allclose(values[real], candidates[found[real]] @ query, atol=1e-6)
            if kind == "exact" and batch:
                np.testing.assert_allclose(scores[:, :number], naive(queries, candidates, k), atol=1e-6)


def test_too_few_neighbours_are_no_phantoms():
    """A tree that visits one leaf finds less than asked; ScaNN pads by NaN and row 0."""
    rng = np.random.default_rng(0)
    candidates = unit(rng, 200, 4)
    index = ScannIndex(IndexPlan("tree", 14, 1, 200)).index(candidates)
    scores, rows = (part.numpy() for part in index(tf.constant(unit(rng, 20, 4)), k=200))
    assert (rows[:, -1] == -1).all()
    assert ((rows >= 0) == np.isfinite(scores)).all()
    assert all(len(set(row[row >= 0])) == (row >= 0).sum() for row in rows)


def test_wider_search_of_the_same_index_finds_more():
    rng = np.random.default_rng(1)
    candidates, queries = unit(rng, 2000, 16), unit(rng, 50, 16)
    index = ScannIndex(IndexPlan("tree", 40, 1, 100)).index(candidates)
    best = naive(queries, candidates, 20)

    def recall():
        scores, _ = index(tf.constant(queries), k=20)
        return float(np.mean(scores.numpy() >= best[:, -1:] - 1e-6))

    narrow = recall()
    index.search_with(IndexPlan("tree", 40, 40, 2000))
    assert narrow < 0.6
    assert recall() > 0.99
    with pytest.raises(ValueError, match="cannot be searched with"):
        index.search_with(IndexPlan("tree", 41, 1, 100))


def test_two_indexes_in_one_graph_are_two():
    rng = np.random.default_rng(2)
    left, right = unit(rng, 50, 4), unit(rng, 50, 4)
    plan = plan_index(50, IndexConfig())
    indexes = [ScannIndex(plan, name="same").index(vectors) for vectors in (left, right)]
    queries = unit(rng, 3, 4)
    found = tf.function(lambda rows: [index(rows, k=5)[0] for index in indexes], autograph=False)(tf.constant(queries))
    for scores, vectors in zip(found, (left, right), strict=True):
        np.testing.assert_allclose(scores, naive(queries, vectors, 5), atol=1e-6)


@pytest.mark.parametrize("kind", ["exact", "tree"])
def test_two_indexes_of_saved_models_are_two(kind, tmp_path):
    """As ScaNN's own module rebuilds its searchers, all of a process came to answer from the first of them."""
    rng = np.random.default_rng(3)
    queries = unit(rng, 3, 4)
    expected = {}
    for name in ("one", "other"):
        module = tf.Module()
        candidates = [unit(rng, 60, 4), unit(rng, 60, 4)]
        module.indexes = [
            ScannIndex(plan_index(60, IndexConfig(kind=kind)), name="same").index(vectors) for vectors in candidates
        ]
        search = tf.function(
            lambda queries, indexes=module.indexes: {
                f"head{at}": index(queries, k=5)[0] for at, index in enumerate(indexes)
            },
            autograph=False,
        ).get_concrete_function(queries=tf.TensorSpec([None, 4]))
        tf.saved_model.save(module, str(tmp_path / name), signatures={"serving_default": search})
        expected[name] = {f"head{at}": naive(queries, vectors, 5) for at, vectors in enumerate(candidates)}
    loaded = {name: tf.saved_model.load(str(tmp_path / name)) for name in (*expected, *expected)}
    for name in (*expected, *expected):
        found = loaded[name].signatures["serving_default"](queries=tf.constant(queries))
        for head, scores in expected[name].items():
            np.testing.assert_allclose(found[head], scores, atol=1e-6)


def test_what_it_refuses():
    index = ScannIndex(plan_index(3, IndexConfig()))
    with pytest.raises(ValueError, match="map them to identifiers outside"):
        index.index(np.eye(3, dtype=np.float32), ["a", "b", "c"])
    for shape in ((3,), (0, 3)):
        with pytest.raises(ValueError, match="matrix with at least one row"):
            index.index(np.zeros(shape, np.float32))
    assert index.is_exact()


@pytest.mark.slow
@pytest.mark.parametrize("correlated", [True, False])
def test_default_plan_finds_enough_of_sixty_thousand(correlated, tmp_path):
    """The design's check: 60k items, two heads of 64 dimensions, with related and with unrelated heads."""
    from serving.config import ServingConfig
    from serving.index_gate import tune_index
    from tests.serving.naive import Shelf
    from trainer.model import ItemVectors

    rng = np.random.default_rng(0)
    spectrum = np.arange(1, 65) ** -0.5
    topics = rng.normal(size=(300, 64)) * spectrum

    def meaning():
        return topics[rng.integers(0, 300, 60_000)] + 0.6 * spectrum * rng.normal(size=(60_000, 64))

    def view(of):
        vectors = of + 0.3 * spectrum * rng.normal(size=of.shape)
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    first = meaning()
    vectors = ItemVectors(view(first), view(first), view(first if correlated else meaning()))
    shelf = Shelf(tmp_path, [str(row) for row in range(60_000)], vectors, kind="auto")
    triggers = rng.choice(60_000, 200, replace=False)
    _, recall = tune_index(shelf.retriever, vectors, triggers, shelf.plan, ServingConfig())
    assert min(recall.values()) >= 0.97
