"""Filters by category: the promised counts, the exact answers, any selectivity, both flavours."""

import dataclasses

import numpy as np
import pytest

from preprocessing.backend import tf
from serving.filters import CategoryFilters
from serving.signatures import MAX_FILTERS
from tests.serving.conftest import SHELVES
from tests.serving.naive import CLOSE, Row, Shelf, batched, random_vectors
from trainer.model import ItemVectors


@pytest.fixture(params=SHELVES)
def shelf(request, filtered_shelf):
    return filtered_shelf(request.param)


def asked(shelf, allow=(), deny=(), k=50, number=40, seed=0):
    rng = np.random.default_rng(seed)
    weights = np.resize([0.0, 0.1, 0.25, 0.5, 0.75, 1.0], number)
    rows = rng.choice(len(shelf.ids), number, replace=False)
    return [Row([shelf.ids[row]], weight, k, allow=allow, deny=deny) for row, weight in zip(rows, weights, strict=True)]


@pytest.mark.parametrize("allow", ["half", "twentieth", "rare"])
@pytest.mark.parametrize("k", [5, 50])
def test_recall_and_count_at_each_selectivity(shelf, allow, k):
    """`Shelf.check` asserts that ``count`` is the smaller of k and the matches."""
    rows = asked(shelf, [allow], k=k)
    recall = shelf.check(rows, shelf.ask(rows, filtered=True), complete=False)
    assert np.mean(recall) >= 0.95
    matches = sum(allow in categories for categories in shelf.categories)
    assert (matches < 50) == (allow == "rare")
    if allow != "half" or shelf.plan.kind == "exact":  # served by exact search
        assert min(recall) == 1.0


@pytest.mark.parametrize(
    ("allow", "deny"),
    [
        ([], ["half"]),
        (["half"], ["half"]),
        (["half", "rare"], ["twentieth"]),
        (["nothing"], []),
        ([], ["nothing"]),
        (["nothing", "twentieth"], ["nothing"]),
        (["ünï | cödé", "x" * 10_000], ["Half", " half"]),
        (["twentieth"] * 60, ["half"] * 60),
    ],
)
def test_any_filter(shelf, allow, deny):
    rows = asked(shelf, allow, deny, k=20, number=12)
    assert np.mean(shelf.check(rows, shelf.ask(rows, filtered=True), complete=False)) >= 0.95


def test_rows_of_a_batch_have_filters_of_their_own(shelf):
    rows = [
        Row(["i1"], 0.3, 9, allow=["rare"]),
        Row(["i2"], 0.3, 30, allow=["half"], exclude=shelf.ids[:100]),
        Row(["nobody"], 0.3, 20, allow=["twentieth"], deny=["half"], exclude=shelf.ids[:50]),
        Row(["i3"], 0.3, 0, allow=["half"]),
        Row(["nobody"], 0.3, 2000, deny=["half"]),
        Row(["i4", "", "i5"], 0.3, 40),
        Row([], 0.3, 7, allow=["nothing"]),
        Row(["i6"], 0.3, 2100, deny=["twentieth"]),
    ]
    answer = shelf.ask(rows, filtered=True)
    shelf.check(rows, answer, complete=False)
    # Each row's answer is its own, whoever else is in the batch.
    for at, row in enumerate(rows):
        alone = shelf.ask([row], filtered=True)
        assert (
            answer["item_id"][at][: answer["count"][at]].tolist() == alone["item_id"][0][: alone["count"][0]].tolist()
        )


def test_no_filter_is_retrieve(shelf):
    rows = asked(shelf, k=10, number=20)
    plain, filtered = shelf.ask(rows), shelf.ask(rows, filtered=True)
    same = [set(one) == set(other) for one, other in zip(plain["item_id"], filtered["item_id"], strict=True)]
    assert np.mean(same) >= 0.9  # a filtered list may be longer than a plain one
    shelf.check(rows, filtered, complete=False)


def test_batches_of_tf_serving_give_the_unmerged_answers(shelf):
    requests = [
        {
            "item_id": np.array([["", *[f"i{7 * at + each}" for each in range(1 + at % 3)]]], object),
            "relevance_weight": np.array([0.3], np.float32),
            "k": np.array([5 + 4 * at], np.int32),
            "exclude_id": np.array([["", *[f"i{each}" for each in range(3 * at)]]], object),
            "allow_category": np.array([["", *["twentieth", "rare", "half"][: at % 4]]], object),
            "deny_category": np.array([["", *["rare"] * (at % 2)]], object),
        }
        for at in range(6)
    ]
    merged = batched(requests)
    together = shelf.ask_tensors(*merged.values())
    for at, request in enumerate(requests):
        alone = shelf.ask_tensors(*request.values())
        k = int(request["k"][0])
        assert alone["count"][0] == together["count"][at]
        for name in ("score", "engagement_score", "relevance_score"):
            np.testing.assert_allclose(alone[name][0], together[name][at][:k], atol=CLOSE)
        for name in ("item_id", "source"):
            assert alone[name][0].tolist() == together[name][at][:k].tolist()


@pytest.mark.parametrize("shape", [(0, 1), (0, 0), (2, 0)])
def test_no_columns_and_no_rows(filtered_shelf, shape):
    shelf = filtered_shelf("stock-tree")
    nothing = np.zeros(shape, object)
    answer = shelf.ask_tensors(nothing, np.zeros(shape[0]), np.full(shape[0], 4), nothing, nothing, nothing)
    shelf.check([Row([], 0.0, 4)] * shape[0], answer)


def test_as_many_categories_as_are_allowed_and_one_more(filtered_shelf):
    shelf = filtered_shelf("stock-exact")
    most = ["nothing"] * (MAX_FILTERS - 2)
    assert shelf.ask([Row(["i1"], 0.3, 3, allow=[*most, "half"])], filtered=True)["count"].tolist() == [3]
    for name in ("allow", "deny"):
        row = dataclasses.replace(Row(["i1"], 0.3, 3), **{name: ["half"] * MAX_FILTERS})
        with pytest.raises(Exception, match=f"{name}_category holds more than 64 categories a row"):
            shelf.ask([row], filtered=True)


def test_correlated_filters_are_not_left_to_the_index(tmp_path):
    """What passes lies where the query does not: the share of the catalogue promises enough, the index has nothing."""
    side = np.where(np.arange(400) < 200, 1.0, -1.0)[:, np.newaxis] * np.eye(8)[0]
    parts = [0.3 * getattr(random_vectors(400), head.name) + side for head in dataclasses.fields(ItemVectors)]
    shifted = [(each / np.linalg.norm(each, axis=1, keepdims=True)).astype(np.float32) for each in parts]
    shelf = Shelf(
        tmp_path,
        [f"i{row}" for row in range(400)],
        ItemVectors(*shifted),
        kind="tree",
        categories=[("near",) if row < 200 else ("far",) for row in range(400)],
    )
    rows = [Row([f"i{row}"], 0.3, 10, allow=["far"]) for row in range(20)]
    assert min(shelf.check(rows, shelf.ask(rows, filtered=True))) == 1.0


@pytest.mark.parametrize("categories", [[(), (), ()], [("a",), ("a", "a", "b"), ()]])
def test_what_passes(categories):
    filters = CategoryFilters(categories)
    read = filters.read(tf.constant([["", "a"], ["b", ""], ["", ""]]), tf.constant([["b"], ["c"], ["a"]]))
    expected = [
        [row.passes(each) for each in categories]
        for row in (Row([], allow=["a"], deny=["b"]), Row([], allow=["b"], deny=["c"]), Row([], deny=["a"]))
    ]
    assert filters.mask(read).numpy().tolist() == expected
    rows = tf.constant([[0, 1, 2, -1]] * 3)
    assert filters.admits(read, rows).numpy().tolist() == [[*each, False] for each in expected]
    for found, row in list(zip(filters.members(read).numpy(), expected, strict=True))[:2]:
        assert sorted(found[found >= 0]) == np.flatnonzero(row).tolist()
