"""Random requests by the thousand: no wrong shape, phantom, repeated, trigger or excluded item, whatever is asked."""

import numpy as np
import pytest

from serving.signatures import ANSWER
from tests.serving.conftest import CATEGORIES, ODD_IDS, SHELVES

BATCH = 250
UNKNOWN = ["", "nobody", "é" * 5000, " i1", "I1", "\n", "\x00", "\u2028", "🎬🎬"]
FILTERS = [*CATEGORIES, "", "nothing", "x" * 10_000]
WEIGHTS = [0.0, 1.0, np.nan, -3.0, 7.0, np.inf, -np.inf]


def lists(rng, pool, most, batch):
    """A matrix of names, some rows of it empty."""
    width = int(rng.integers(1, most + 1))
    cells = pool[rng.integers(0, len(pool), (batch, width))]
    cells[rng.random((batch, width)) < 0.3] = ""
    cells[rng.random(batch) < 0.1] = ""
    return cells


def draw(rng, shelf):
    """One batch: ids, dial, k, exclusions, and filters or none."""
    ids = np.array([*shelf.ids, *UNKNOWN * 20, *ODD_IDS * 20], object)
    many = rng.random() < 0.1
    most_k = len(shelf.ids) + 200 if many else 60
    weights = np.where(rng.random(BATCH) < 0.5, rng.random(BATCH), rng.choice(WEIGHTS, BATCH))
    k = rng.integers(-2, most_k, BATCH)
    asked = [lists(rng, ids, 6, BATCH), weights, k, lists(rng, ids, 200 if many else 12, BATCH)]
    if rng.random() < 0.5:
        asked += [lists(rng, np.array(FILTERS, object), 3, BATCH), lists(rng, np.array(FILTERS, object), 2, BATCH)]
    return asked


def check(shelf, has, asked, answer):
    """Every promise that holds for any answer; ``has``: bool [N] by category."""
    triggers, _, k, excluded, *filters = asked
    k = np.minimum(np.where(k < 0, shelf.defaults.k, k), shelf.defaults.max_k)
    size = max(int(k.max()), 0)
    for tensor in ANSWER:
        assert answer[tensor.name].shape == ((BATCH, size) if len(tensor.shape) == 2 else (BATCH,))
    for row in range(BATCH):
        banned = np.zeros(len(shelf.ids), bool)
        for item_id in (*triggers[row], *excluded[row]):
            if item_id in shelf.row:
                banned[shelf.row[item_id]] = True
        if filters:
            allow, deny = ({*names[row]} - {""} for names in filters)
            nothing = np.zeros(len(shelf.ids), bool)
            if allow:
                banned |= ~np.any([has.get(name, nothing) for name in allow], axis=0)
            for name in deny:
                banned |= has.get(name, nothing)
        count = answer["count"][row]
        assert count == min(k[row], len(shelf.ids) - banned.sum())
        found = [shelf.row[item_id.decode()] for item_id in answer["item_id"][row][:count]]
        assert len(set(found)) == count
        assert not banned[found].any()
        assert set(answer["item_id"][row][count:]) <= {b""}
        scores = answer["score"][row]
        assert np.isfinite(scores).all()
        assert (np.diff(scores[:count]) <= 0).all()
        assert not scores[count:].any()
        known = any(item_id in shelf.row for item_id in triggers[row])
        assert set(answer["source"][row][:count]) <= ({b"engagement", b"relevance", b"both"} if known else {b"popular"})


@pytest.mark.parametrize("requests", [750, pytest.param(34_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SHELVES)
def test_promises_hold_for_any_request(filtered_shelf, name, requests):
    shelf, rng = filtered_shelf(name), np.random.default_rng(requests)
    has = {category: np.array([category in categories for categories in shelf.categories]) for category in CATEGORIES}
    for _ in range(requests // BATCH):
        asked = draw(rng, shelf)
        check(shelf, has, asked, shelf.ask_tensors(*asked))
