"""Pairs as a stream of batches, and what is counted of them beforehand."""

import collections
import tracemalloc

import numpy as np
import pytest

from preprocessing import schema
from preprocessing.read import read_pairs
from tests.trainer.toys import checkerboard_events, item_table, write_examples
from trainer import data as data_module, pair_counts
from trainer.data import summarise_pairs, training_batches

NUMBER = 16
PARTS = (schema.PAIRS, schema.EVAL)


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    directory = tmp_path_factory.mktemp("examples")
    items = item_table([""] * NUMBER)
    return write_examples(
        directory, items, checkerboard_events(events=50), checkerboard_events(events=9, seed=1), weight=0.5, shards=3
    )


def files(directory, *parts):
    return sorted(str(path) for part in parts for path in (directory / part).glob("*.tfrecord.gz"))


def batches(directory, *parts, batch_size=8, window=3, seed=0, epoch=0):
    stream = training_batches(
        files(directory, *(parts or (schema.PAIRS,))), batch_size=batch_size, window=window, seed=seed, epoch=epoch
    )
    return list(stream.as_numpy_iterator())


def events(stream):
    """Multiset of (trigger, ((target, weight), ...)) of batches."""
    return collections.Counter(
        (int(trigger), tuple((int(t), float(w)) for t, w in zip(target, weight, strict=True) if w > 0))
        for batch in stream
        for trigger, target, weight in zip(batch["trigger"], batch["target"], batch["weight"], strict=True)
    )


def stored(directory):
    found = collections.Counter()
    for block in read_pairs(str(directory)):
        stop = np.cumsum(block.targets_of_trigger)
        for trigger, end, length in zip(block.trigger, stop, block.targets_of_trigger, strict=True):
            part = slice(end - length, end)
            pairs = zip(block.target[part].tolist(), block.weight[part].tolist(), strict=True)
            found[int(trigger), tuple(pairs)] += 1
    return found


def test_every_pair_comes_exactly_once_an_epoch(examples):
    for epoch in range(3):
        assert events(batches(examples, epoch=epoch)) == stored(examples)


def test_shapes_and_the_last_batch(examples):
    found = batches(examples)
    assert [len(batch["trigger"]) for batch in found] == [8] * 6 + [2]
    for batch in found:
        rows = len(batch["trigger"])
        assert batch["target"].shape == batch["weight"].shape == (rows, 3)
        assert (batch["trigger"].dtype, batch["target"].dtype, batch["weight"].dtype) == (
            np.int32,
            np.int32,
            np.float32,
        )
        assert not batch["target"][batch["weight"] == 0].any()
    assert [len(batch["trigger"]) for batch in batches(examples, batch_size=500)] == [50]


@pytest.mark.parametrize("seed", [0, 2**31 - 1])
def test_order_depends_on_seed_and_epoch_alone(examples, seed):
    def order(seed, epoch):
        return [batch["trigger"].tolist() for batch in batches(examples, seed=seed, epoch=epoch)]

    assert order(seed, 1) == order(seed, 1)
    assert order(seed, 1) != order(seed, 2)
    assert order(seed, 1) != order(seed + 1 if seed == 0 else 5, 1)


def test_one_stream_read_twice_is_one_order(examples):
    stream = training_batches(files(examples, schema.PAIRS), batch_size=8, window=3, seed=0, epoch=0)
    first, second = ([batch["trigger"].tolist() for batch in stream.as_numpy_iterator()] for _ in range(2))
    assert first == second


def test_rows_are_mixed_across_blocks(examples):
    """A batch is no neighbourhood of the log: consecutive events (a user's) come apart."""
    place = {trigger: i for i, (trigger, _) in enumerate(checkerboard_events(events=50))}
    first = batches(examples)[0]["trigger"]
    assert max(place[int(t)] for t in first) - min(place[int(t)] for t in first) > 14  # two blocks


def test_eval_blocks_have_no_weights_and_count_fully(examples):
    late = collections.Counter(
        (trigger, tuple((target, 1.0) for target in targets))
        for trigger, targets in checkerboard_events(events=9, seed=1)
    )
    assert events(batches(examples, *PARTS)) == stored(examples) + late


def naive_summary(parts):
    known = collections.defaultdict(collections.Counter)
    target_count = np.zeros(NUMBER, np.int64)
    listed = []
    if schema.PAIRS in parts:
        listed += checkerboard_events(events=50)
    if schema.EVAL in parts:
        listed += checkerboard_events(events=9, seed=1)
    for trigger, targets in listed:
        known[trigger].update(targets)
        np.add.at(target_count, targets, 1)
    return listed, known, target_count


@pytest.mark.parametrize("parts", [(schema.PAIRS,), PARTS])
@pytest.mark.parametrize("most_known", [100, 2])
@pytest.mark.parametrize("merged", [4_000_000, 10])
def test_summary_is_the_naive_one(examples, parts, most_known, merged, monkeypatch):
    monkeypatch.setattr(pair_counts, "_MERGED_PAIRS", merged)
    monkeypatch.setattr(data_module, "_LATE_TRIGGERS", merged // 4)
    summary = summarise_pairs(examples, parts, NUMBER, most_known)
    listed, known, target_count = naive_summary(parts)
    assert summary.num_triggers == len(listed)
    assert summary.num_pairs == sum(len(targets) for _, targets in listed)
    assert summary.most_targets == max(len(targets) for _, targets in listed)
    assert summary.target_count.tolist() == target_count.tolist()
    assert (summary.known_row_splits.dtype, summary.known_values.dtype) == (np.int64, np.int32)
    assert summary.exact
    for trigger in range(NUMBER):
        found = summary.known_values[summary.known_row_splits[trigger] : summary.known_row_splits[trigger + 1]]
        ordered = sorted(known[trigger], key=lambda item: (-known[trigger][item], item))
        assert found.tolist() == sorted(ordered[:most_known])
    rows = np.repeat(np.arange(NUMBER), np.diff(summary.known_row_splits))
    counts = [known[trigger][item] for trigger, item in zip(rows, summary.known_values.tolist(), strict=True)]
    assert summary.known_counts.tolist() == counts


def test_summary_of_no_pairs(tmp_path):
    write_examples(tmp_path, item_table(["a", "b"]), [], [])
    summary = summarise_pairs(tmp_path, PARTS, 2, 10)
    assert (summary.num_triggers, summary.num_pairs, summary.most_targets) == (0, 0, 0)
    assert summary.known_row_splits.tolist() == [0, 0, 0]
    assert len(summary.known_values) == 0


def summarise_columns(monkeypatch, blocks, num_items, **constants):
    """The summary of blocks of (trigger, target), and the most bytes that it took."""
    for name, value in constants.items():
        monkeypatch.setattr(pair_counts, name, value)
    monkeypatch.setattr(
        data_module,
        "_columns",
        lambda *_: (
            (
                False,
                trigger,
                np.arange(len(trigger)),
                np.ones(len(trigger), np.int64),
                target,
                np.ones(len(target), np.float32),
            )
            for trigger, target in blocks
        ),
    )
    tracemalloc.start()
    summary = summarise_pairs(None, (schema.PAIRS,), num_items, 4096)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return summary, peak


def random_blocks(number, num_items):
    """So many blocks of 10,000 pairs, nearly all of them distinct."""
    rng = np.random.default_rng(0)
    for _ in range(number):
        yield tuple(rng.integers(0, num_items, (2, 10_000)))


def test_counting_takes_little_more_than_the_table(monkeypatch):
    summary, peak = summarise_columns(monkeypatch, random_blocks(60, 50_000), 50_000, _MERGED_PAIRS=40_000)
    assert summary.exact
    assert peak < 50 * len(summary.known_values)


def test_tables_of_like_size_are_merged(monkeypatch):
    """64 parts, each merged seven times or less in the mean; with all before it, it would be 32 times."""
    merged = []
    add = pair_counts.Counts.add
    monkeypatch.setattr(
        pair_counts.Counts, "add", lambda counts, other: (merged.append(len(counts) + len(other)), add(counts, other))
    )
    summary, _ = summarise_columns(monkeypatch, random_blocks(64, 50_000), 50_000, _MERGED_PAIRS=10_000)
    assert sum(merged) < 7 * len(summary.known_values)


def test_more_pairs_than_can_be_counted_take_no_more_memory(monkeypatch):
    bounds = {"MOST_COUNTED_PAIRS": 50_000, "_MERGED_PAIRS": 10_000}
    some, least = summarise_columns(monkeypatch, random_blocks(20, 5000), 5000, **bounds)
    many, most = summarise_columns(monkeypatch, random_blocks(80, 5000), 5000, **bounds)
    assert (some.exact, many.exact) == (False, False)
    assert most < 1.1 * least
    assert 20_000 < len(many.known_values) <= 50_000
    assert many.num_pairs == many.target_count.sum() == 800_000
    expected = sum(np.bincount(target, minlength=5000) for _, target in random_blocks(80, 5000))
    assert many.target_count.tolist() == expected.tolist()


def test_of_too_many_pairs_those_that_are_frequent_for_their_trigger_stay(monkeypatch):
    """Each trigger has one target in every block, and three that are new."""
    trigger = np.repeat(np.arange(10), 4)
    blocks = [(trigger, np.tile([990, *range(3 * part, 3 * part + 3)], 10)) for part in range(100)]
    bounds = {"MOST_COUNTED_PAIRS": 100, "_MERGED_PAIRS": 40}
    summary, _ = summarise_columns(monkeypatch, blocks, 1000, **bounds)
    assert not summary.exact
    assert len(summary.known_values) <= 100
    assert np.diff(summary.known_row_splits)[:10].min() >= 5
    frequent = summary.known_values == 990
    assert (frequent.sum(), set(summary.known_counts[frequent].tolist())) == (10, {100})


@pytest.fixture(scope="module")
def two_periods(tmp_path_factory):
    """Two triggers with 3 and 2 targets before, and in each later period two with 1 and 1."""
    directory = tmp_path_factory.mktemp("periods")
    early, late = [(0, [1, 2, 3]), (1, [2, 0])], [(2, [3]), (3, [1])]
    return write_examples(directory, item_table([""] * 4), early, late, validation_events=late[:1], shards=1)


@pytest.mark.parametrize(
    ("parts", "targets", "weight"),
    [
        ((schema.PAIRS, schema.EVAL), None, 2.5),
        ((schema.PAIRS, schema.VALIDATION, schema.EVAL), None, 2.5),
        ((schema.PAIRS, schema.EVAL), 2, 2.0),
        ((schema.PAIRS, schema.EVAL), 1, 1.0),
        ((schema.PAIRS,), None, 1.0),
        ((schema.EVAL,), None, 1.0),
    ],
)
def test_late_triggers_weigh_by_the_targets_that_they_lack(two_periods, parts, targets, weight):
    assert summarise_pairs(two_periods, parts, 4, 10, targets).late_weight == weight


def test_late_weight_is_that_of_pairs_without_one_of_their_own(two_periods):
    stream = training_batches(files(two_periods, *PARTS), batch_size=8, window=3, seed=0, epoch=0, late_weight=2.5)
    assert events(list(stream.as_numpy_iterator())) == collections.Counter(
        {(0, ((1, 1.0), (2, 1.0), (3, 1.0))): 1, (1, ((2, 1.0), (0, 1.0))): 1, (2, ((3, 2.5),)): 1, (3, ((1, 2.5),)): 1}
    )


def test_only_the_nearest_targets_are_counted_and_read(two_periods):
    summary = summarise_pairs(two_periods, (schema.PAIRS,), 4, 10, 2)
    assert (summary.num_pairs, summary.most_targets) == (4, 2)
    assert summary.target_count.tolist() == [1, 1, 2, 0]
    assert summary.known_counts.tolist() == [1, 1, 1, 1]
    found = events(batches(two_periods, window=2))
    assert found == collections.Counter({(0, ((1, 1.0), (2, 1.0))): 1, (1, ((2, 1.0), (0, 1.0))): 1})


def test_weights_of_the_same_pair_are_summed_up(two_periods):
    """Early pairs by their own weight, which is 1 here, late ones by what a late trigger counts."""
    summary = summarise_pairs(two_periods, (schema.PAIRS, schema.VALIDATION, schema.EVAL), 4, 10)
    pairs = list(zip(np.repeat(np.arange(4), np.diff(summary.known_row_splits)), summary.known_values, strict=True))
    weights = dict(zip(pairs, summary.known_weights, strict=True))
    assert weights == {(0, 1): 1, (0, 2): 1, (0, 3): 1, (1, 0): 1, (1, 2): 1, (2, 3): 5.0, (3, 1): 2.5}
