"""Whole answers, compared with a naive implementation: both kinds of index, catalogues of any size, odd requests."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from preprocessing.backend import tf
from serving.signatures import MAX_EXCLUSIONS, MAX_TRIGGERS
from tests.serving.naive import CLOSE, DEFAULTS, Row, Shelf, batched, clustered, random_vectors, unit
from trainer.model import ItemVectors
from trainer.names import MERGES
from trainer.recommender import VectorRecommender

SIZES = [(1, "exact"), (2, "exact"), (3, "exact"), (40, "exact"), (3, "tree"), (16, "tree"), (50, "tree")]
ODD_IDS = ["", "nobody", "é" * 5000, "\u2028", " i1", "i1 ", "I1", "🎬" * 2500, "\n", "\x00"]
NAN, INF = math.nan, math.inf


@pytest.fixture(scope="module", params=MERGES)
def defaults(request):
    """Both ways to merge."""
    return dataclasses.replace(DEFAULTS, merge=request.param)


@pytest.fixture(scope="module")
def make(tmp_path_factory, defaults):
    """A catalogue of items i0, i1 and so on."""

    def shelf(vectors, kind="exact"):
        ids = [f"i{row}" for row in range(len(vectors.relevance))]
        return Shelf(tmp_path_factory.mktemp("shelf"), ids, vectors, kind=kind, defaults=defaults)

    return shelf


@pytest.fixture(scope="module", params=SIZES, ids=lambda size: f"{size[1]}-{size[0]}")
def shelf(request, make):
    number, kind = request.param
    return make(random_vectors(number), kind)


@pytest.fixture(scope="module")
def exact(make):
    return make(random_vectors(300))


@pytest.fixture(scope="module")
def tree(make):
    """2,000 items in 45 leaves, of which 10 are searched."""
    return make(clustered(2000), "tree")


def requests(number):
    known = st.integers(0, number - 1).map(lambda row: f"i{row}")
    ids = st.lists(st.one_of(known, st.sampled_from(ODD_IDS)), max_size=6)
    weight = st.one_of(st.floats(0, 1, width=32), st.sampled_from([NAN, -1.0, 2.0, INF, -INF, 0.0, 1.0]))
    k = st.one_of(st.integers(-3, number + 3), st.sampled_from([-(2**31), 2**31 - 1, 60, 61]))
    exclude = st.one_of(ids, st.just([f"i{row}" for row in range(number)]))
    return st.lists(st.builds(Row, triggers=ids, weight=weight, k=k, exclude=exclude), max_size=4)


@pytest.mark.parametrize(
    "change",
    [{"weight": [0.5]}, {"k": [3]}, {"exclude": [[""]]}, {"allow": [[""]]}, {"deny": [["a"]]}, {"item_id": [["i1"]]}],
    ids=lambda change: next(iter(change)),
)
def test_one_row_does_not_count_for_all(exact, change):
    """TensorFlow would spread it over the batch."""
    inputs = {"item_id": [["i1"], ["i2"]], "weight": [0.5, 0.5], "k": [3, 3], "exclude": [[""], [""]]}
    if change.keys() & {"allow", "deny"}:
        inputs |= {"allow": [[""], [""]], "deny": [[""], [""]]}
    assert exact.ask_tensors(**inputs)["count"].tolist() == [3, 3]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"item_id, relevance_weight, k, .* must all have a row"):
        exact.ask_tensors(**(inputs | change))


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_whole_answer(shelf, data):
    rows = data.draw(requests(len(shelf.ids)))
    shelf.check(rows, shelf.ask(rows))


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(requests(300))
def test_whole_answer_of_the_exact_index(exact, rows):
    exact.check(rows, exact.ask(rows))


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(requests(2000))
def test_whole_answer_of_the_tree(tree, rows):
    """Valid and rightly scored whatever is asked; complete counts, where the tree does not suffice by a scan."""
    tree.check(rows, tree.ask(rows), complete=False)


def test_tree_finds_the_best(tree):
    rng = np.random.default_rng(0)
    for weight in (0.0, 0.25, 0.5, 1.0):
        rows = [Row([f"i{item}"], weight, 50) for item in rng.choice(2000, 100)]
        assert np.mean(tree.check(rows, tree.ask(rows), complete=False)) > 0.97


@pytest.mark.parametrize("kind", ["exact", "tree"])
@pytest.mark.parametrize("length", [64, 256])
def test_long_histories(exact, tree, kind, length):
    shelf = {"exact": exact, "tree": tree}[kind]
    rng = np.random.default_rng(length)
    rows = []
    for _ in range(6):
        ids = [f"i{row}" for row in rng.integers(0, 300, length)]
        for position in rng.choice(length, length // 3, replace=False):
            ids[position] = ODD_IDS[position % len(ODD_IDS)]
        rows.append(Row(ids, 0.4, 50))
    shelf.check(rows, shelf.ask(rows), complete=kind == "exact")


def test_more_triggers_than_are_merged(exact):
    """Those beyond the bound do not count, but are no answers either; empty and unknown ids take no place."""
    many = [f"i{row}" for row in range(MAX_TRIGGERS)]
    beyond = [f"i{row}" for row in range(290, 300)]
    rows = [Row(many, 0.3, 60), Row([*many, *beyond], 0.3, 60), Row(["", "nobody"] * 300 + many + beyond, 0.3, 60)]
    answers = [exact.ask([row]) for row in rows]
    assert [int(answer["count"][0]) for answer in answers] == [44, 34, 34]
    rest = [item_id for item_id in answers[0]["item_id"][0][:44] if item_id.decode() not in beyond]
    assert [list(answer["item_id"][0][:34]) for answer in answers[1:]] == [rest, rest]
    half = [f"i{row % 100}" for row in range(MAX_TRIGGERS)]
    plain, padded = exact.ask([Row(half, 0.3, 60)]), exact.ask([Row(["", "nobody"] * 300 + half, 0.3, 60)])
    assert plain["item_id"].tolist() == padded["item_id"].tolist()
    np.testing.assert_allclose(plain["score"], padded["score"], atol=CLOSE)


def test_first_trigger_counts_most(exact):
    first, second = exact.ask([Row(["i1"], 0.0, 60)]), exact.ask([Row(["i2"], 0.0, 60)])
    both = exact.ask([Row(["i1", "i2"], 0.0, 60)])
    swapped = exact.ask([Row(["i2", "i1"], 0.0, 60)])

    def common(left, right):
        return len(set(left["item_id"][0]) & set(right["item_id"][0]))

    assert common(both, first) >= common(both, second)
    assert both["item_id"].tolist() != swapped["item_id"].tolist()
    shares = 0.9 ** np.arange(2) / 1.9
    scores = exact.vectors.engagement_candidate @ (shares @ exact.vectors.engagement_trigger[[1, 2]])
    top = exact.row[both["item_id"][0][0].decode()]
    assert both["score"][0][0] == pytest.approx(scores[top], abs=CLOSE)


@pytest.mark.parametrize("triggers", [["", "i1", "i2"], ["i1", "", "i2"], ["i1", "i2", "", ""], ["i1", "nobody", "i2"]])
def test_empty_and_unknown_ids_are_neutral_anywhere(exact, triggers):
    plain, other = exact.ask([Row(["i1", "i2"], 0.5, 9)], lead=False), exact.ask([Row(triggers, 0.5, 9)], lead=False)
    for name in plain:
        if plain[name].dtype == np.float32:
            np.testing.assert_allclose(plain[name], other[name], atol=CLOSE)
        else:
            assert plain[name].tolist() == other[name].tolist()


@pytest.mark.parametrize("kind", ["exact", "tree"])
@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (1, 0), (2, 0)])
def test_no_columns_and_no_rows(exact, tree, kind, shape):
    shelf = {"exact": exact, "tree": tree}[kind]
    batch = shape[0]
    for k in (0, 5, -1):
        answer = shelf.ask_tensors(
            np.zeros(shape, object), np.zeros(batch), np.full(batch, k), np.zeros((batch, 0), object)
        )
        shelf.check([Row([], 0.0, k, [])] * batch, answer)


def test_unknown_trigger_gets_what_is_popular_beside_known_ones(exact):
    rows = [Row(["nobody"], k=3), Row(["i5"], k=7), Row([], k=0), Row(["nobody"], k=4, exclude=["i0", "i2"])]
    answer = exact.ask(rows)
    exact.check(rows, answer)
    assert answer["item_id"][3][:4].tolist() == [b"i1", b"i3", b"i4", b"i5"]


@pytest.mark.parametrize("kind", ["exact", "tree"])
def test_everything_excluded(exact, tree, kind):
    shelf = {"exact": exact, "tree": tree}[kind]
    ids = [f"i{row}" for row in range(len(shelf.ids))]
    rows = [
        Row(["i0"], 0.5, 10, ids),
        Row(["nobody"], 0.5, 10, ids),
        Row(["i0"], 0.5, 10, ids[:-3]),
        Row(["i7"], 0.5, 10, [ids[-1], ids[-1], ids[7]]),
    ]
    answer = shelf.ask(rows)
    shelf.check(rows, answer, complete=kind == "exact")
    assert answer["count"].tolist() == [0, 0, 3, 10]


def test_as_many_exclusions_as_are_allowed_and_one_more(exact):
    ids = [f"i{row}" for row in range(290)]
    most = [*ids, *["nobody"] * (MAX_EXCLUSIONS - 1 - len(ids))]
    assert exact.ask([Row(["i295"], k=60, exclude=most)])["count"].tolist() == [9]
    with pytest.raises(Exception, match="exclude_id holds more than 4096 ids a row"):
        exact.ask([Row(["i295"], k=60, exclude=[*most, "nobody"])])


def test_bounds_of_k(exact):
    answer = exact.ask([Row(["i1"], k=10**9), Row(["i1"], k=-1), Row(["i1"], k=0)])
    assert answer["item_id"].shape == (3, exact.defaults.max_k)
    assert answer["count"].tolist() == [60, 5, 0]


@pytest.mark.parametrize(
    ("weight", "meant"), [(NAN, 0.3), (-5.0, 0.0), (7.0, 1.0), (INF, 1.0), (-INF, 0.0), (-0.0, 0.0)]
)
def test_bounds_of_the_weight(exact, weight, meant):
    answer, same = exact.ask([Row(["i1"], weight)]), exact.ask([Row(["i1"], meant)])
    assert answer["item_id"].tolist() == same["item_id"].tolist()
    np.testing.assert_array_equal(answer["score"], same["score"])


def test_default_signature_is_retrieve_with_defaults(exact):
    ids = ["i1", "nobody", "", "i299"]
    answer = {name: value.numpy() for name, value in exact.retriever.retrieve_default(tf.constant(ids)).items()}
    same = exact.ask([Row([item_id]) for item_id in ids])
    for name, value in same.items():
        assert value.tolist() == answer[name].tolist()


@pytest.mark.parametrize("kind", ["exact", "tree"])
def test_batches_of_tf_serving_give_the_unmerged_answers(exact, tree, kind):
    shelf = {"exact": exact, "tree": tree}[kind]
    rng = np.random.default_rng(0)
    asked = []
    for size in (1, 5, 64, 2, 1):
        asked.append(
            {
                "item_id": np.array([["", *[f"i{row}" for row in rng.integers(0, 300, size)]]], object),
                "relevance_weight": np.array([rng.random()], np.float32),
                "k": np.array([rng.integers(0, 30)], np.int32),
                "exclude_id": np.array([["", *[f"i{row}" for row in rng.integers(0, 300, 6 - size % 6)]]], object),
            }
        )
    order = ("item_id", "relevance_weight", "k", "exclude_id")
    merged = batched(asked)
    together = shelf.ask_tensors(*(merged[name] for name in order))
    for at, request in enumerate(asked):
        alone = shelf.ask_tensors(*(request[name] for name in order))
        k = int(request["k"][0])
        for name, value in alone.items():
            if name == "count":
                assert value[0] == together[name][at]
            elif value.dtype == np.float32:
                np.testing.assert_allclose(value[0], together[name][at][:k], atol=CLOSE)
            else:
                assert value[0].tolist() == together[name][at][:k].tolist()


@pytest.mark.parametrize("kind", ["exact", "tree"])
def test_a_model_with_one_head(make, kind):
    """Its relevance vectors are zero: nothing is of the relevance head, and the dial does no harm."""
    vectors = random_vectors(30)
    one_head = ItemVectors(vectors.engagement_trigger, vectors.engagement_candidate, np.zeros((30, 8), np.float32))
    shelf = make(one_head, kind)
    rows = [Row([f"i{row}"], weight, 9) for row in range(4) for weight in (0.0, 0.5, 1.0)]
    answer = shelf.ask(rows)
    shelf.check(rows, answer)
    assert set(answer["source"].ravel()) == {b"engagement"}


@pytest.mark.parametrize("kind", ["exact", "tree"])
def test_served_answers_are_the_offline_ones(make, kind):
    """What is measured is what is served, list by list and in order."""
    shelf, trigger = make(random_vectors(50), kind), np.arange(50)
    recommender = VectorRecommender(shelf.vectors, has_dial=True, merge=shelf.defaults.merge)
    for weight in (0.0, 0.13, 0.3, 0.5, 0.77, 1.0):
        for k in (1, 7, 20, 60):
            offline = recommender.retrieve(trigger, k=k, relevance_weight=weight)
            answer = shelf.ask([Row([f"i{row}"], weight, k) for row in trigger])
            served = [[shelf.row.get(item_id.decode(), -1) for item_id in row] for row in answer["item_id"]]
            assert served == offline.tolist()


def test_items_with_equal_vectors(make):
    """Cold items without a text share their vectors: none is lost or repeated."""
    one = unit(np.random.default_rng(0), 1, 8).repeat(40, axis=0)
    shelf = make(ItemVectors(one, one, one), "tree")
    answer = shelf.ask([Row(["i3"], 0.5, 60)])
    shelf.check([Row(["i3"], 0.5, 60)], answer)
    assert set(answer["item_id"][0][:39]) == {f"i{row}".encode() for row in range(40) if row != 3}


def test_ids_that_are_hard_to_keep_apart(tmp_path):
    ids = ["a", " a", "a ", "A", "Ａ", "a b", 'a"b', "'a'", "a,b", "a\tb", "a\rb", "\ra", "\x85", "x\x85y", "x\u2028y"]
    ids += ["x\u2029y", "\ufeffa", "é", "e\u0301", "\\n", "%s", "🎬", "\x0b", "x" * 512, "x" * 10_000, "1", "01", "1.0"]
    shelf = Shelf(tmp_path, ids, random_vectors(len(ids)))
    assert shelf.retriever.rows_of(tf.constant(ids)).numpy().tolist() == list(range(len(ids)))
    assert shelf.retriever.rows_of(tf.constant(["", "b", "a\n", "é "])).numpy().tolist() == [-1] * 4
    rows = [Row([item_id], 0.5, len(ids)) for item_id in ids]
    shelf.check(rows, shelf.ask(rows))


@pytest.mark.parametrize("ids", [["a", ""], ["a\nb"], ["a\r"], []])
def test_ids_that_cannot_be(tmp_path, ids):
    with pytest.raises(ValueError, match=r"cannot be looked up|at least one item"):
        Shelf(tmp_path, ids, random_vectors(len(ids)))


def test_embed(exact):
    found = exact.retriever.embed(tf.constant(["i7", "nobody", "", "i0"]))
    for name, value in found.items():
        expected = getattr(exact.vectors, name)[[7, 0, 0, 0]] * np.array([[1], [0], [0], [1]], np.float32)
        np.testing.assert_array_equal(value.numpy(), expected)
