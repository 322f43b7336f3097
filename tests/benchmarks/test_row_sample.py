"""Thinning a log out to a random sample of rows."""

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.row_sample import sample

COUNT = {"often": 400, "sometimes": 100, "seldom": 10}
LOG = pa.table(
    {
        "user_id": [user for user, count in COUNT.items() for _ in range(count)],
        "item_id": [f"i{number}" for number in range(sum(COUNT.values()))],
        "timestamp": np.arange(sum(COUNT.values()), dtype=float),
    }
)


def test_a_sample_keeps_so_many_rows_of_frequent_users_in_their_order():
    kept = sample(LOG, users=5, fewest=50, rows=120, seed=0)
    assert len(kept) == 120
    assert set(kept["user_id"].to_pylist()) == {"often", "sometimes"}
    assert np.all(np.diff(kept["timestamp"].to_numpy()) > 0)
    assert kept.equals(sample(LOG, users=5, fewest=50, rows=120, seed=0))
    assert not kept.equals(sample(LOG, users=5, fewest=50, rows=120, seed=1))


def test_a_user_with_four_times_the_rows_has_twice_as_many_in_the_sample():
    drawn = [sample(LOG, users=5, fewest=50, rows=30, seed=seed)["user_id"].to_pylist() for seed in range(40)]
    often = np.mean([users.count("often") for users in drawn])
    assert 1.7 < often / (30 - often) < 2.3


def test_of_the_frequent_users_so_many_are_drawn_and_a_small_log_is_kept_whole():
    assert len(set(sample(LOG, users=1, fewest=1, rows=5, seed=0)["user_id"].to_pylist())) == 1
    assert sample(LOG, users=5, fewest=1, rows=10_000, seed=0).equals(LOG)


def test_items_are_as_unequal_as_asked_for():
    items = np.repeat(["a", "b", "c"], [300, 200, 100])
    log = pa.table({"user_id": ["u"] * 600, "item_id": items, "timestamp": np.arange(600.0)})
    drawn = [sample(log, users=1, fewest=1, rows=11, seed=seed, zipf=1.0)["item_id"].to_pylist() for seed in range(200)]
    shares = [np.mean([kept.count(item) for kept in drawn]) for item in "abc"]
    assert shares == [pytest.approx(share, abs=0.4) for share in (6, 3, 2)]
