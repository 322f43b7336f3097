"""Splitting the items of a log into variants of one title."""

from collections import Counter, defaultdict

import pyarrow as pa

from benchmarks.item_variants import split

ROWS = {"milk": 100, "bread": 25, "saffron": 1}
LOG = pa.table(
    {
        "user_id": [f"u{row % 10}" for count in ROWS.values() for row in range(count)],
        "item_id": [item for item, count in ROWS.items() for _ in range(count)],
        "timestamp": list(range(sum(ROWS.values()))),
    }
)
ITEMS = pa.table({"item_id": ["saffron", "milk", "bread", "salt"], "title": ["SAFFRON", "MILK", "BREAD", "SALT"]})


def test_frequent_items_get_more_variants_of_the_same_title():
    log, items = split(LOG, ITEMS, seed=0)
    assert Counter(items["title"].to_pylist()) == {"MILK": 14, "BREAD": 7, "SAFFRON": 1}
    assert len(set(items["item_id"].to_pylist())) == len(items)
    assert set(log["item_id"].to_pylist()) <= set(items["item_id"].to_pylist())
    assert [name.split("-")[0] for name in log["item_id"].to_pylist()] == LOG["item_id"].to_pylist()
    assert log.drop(["item_id"]).equals(LOG.drop(["item_id"]))
    title = dict(zip(items["item_id"].to_pylist(), items["title"].to_pylist(), strict=True))
    assert all(title[name] == name.split("-")[0].upper() for name in title)


def test_the_first_variants_are_taken_most_and_by_loyal_users():
    log, _ = split(
        pa.table({"user_id": [f"u{row % 200}" for row in range(4000)], "item_id": ["milk"] * 4000}), ITEMS, seed=0
    )
    taken = Counter(log["item_id"].to_pylist())
    assert taken["milk-0"] > 1.5 * taken["milk-1"] > 1.5 * taken["milk-39"] > 0
    of_user = defaultdict(Counter)
    for user, item in zip(log["user_id"].to_pylist(), log["item_id"].to_pylist(), strict=True):
        of_user[user][item] += 1
    favourite = [counts.most_common(1)[0][1] / counts.total() for counts in of_user.values()]
    assert 0.6 < sum(favourite) / len(favourite) < 0.75


def test_equal_seeds_give_equal_logs_and_what_is_not_in_the_catalogue_is_left_out():
    assert all(
        one.equals(other) for one, other in zip(split(LOG, ITEMS, seed=3), split(LOG, ITEMS, seed=3), strict=True)
    )
    assert not split(LOG, ITEMS, seed=3)[0].equals(split(LOG, ITEMS, seed=4)[0])
    log, items = split(LOG, ITEMS.slice(0, 1), seed=0)
    assert len(log) == ROWS["saffron"]
    assert items["item_id"].to_pylist() == ["saffron-0"]
