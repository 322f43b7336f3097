"""Where batches come from: trigger events in a stream, or draws from the table of counted pairs."""

import dataclasses

import numpy as np
import pytest

from trainer.batches import EventBatches, TriggerBatches, make_batches
from trainer.config import TrainerConfig
from trainer.data import PairSummary
from trainer.trigger_draws import TriggerTable, rows_and_targets


def counted(weights, events=100):
    """A summary of pairs given as a square matrix of weights."""
    weights = np.asarray(weights, float)
    present = weights > 0
    return PairSummary(
        num_triggers=events,
        num_pairs=int(present.sum()),
        most_targets=5,
        late_weight=1.0,
        target_count=present.sum(axis=0),
        row_count=present.sum(axis=0) + present.sum(axis=1),
        known_row_splits=np.concatenate([[0], np.cumsum(present.sum(axis=1))]).astype(np.int64),
        known_values=np.nonzero(present)[1].astype(np.int32),
        known_counts=np.ones(int(present.sum()), np.int64),
        known_weights=weights[present],
    )


WEIGHTS = [[0, 8, 1, 1, 2], [0.5, 0, 0, 0.5, 0], [0, 0, 0, 0, 0], [3, 3, 3, 0, 3], [1, 0, 0, 0, 0]]


def drawn(table, size, steps=400):
    """The batches, and the mean over them of the weight of each pair, [N, N]."""
    batches = list(table.batches(size, steps=steps, seed=(0, 1)).as_numpy_iterator())
    mean = np.zeros((5, 5))
    for batch in batches:
        np.add.at(mean, (batch["trigger"][:, np.newaxis], batch["target"]), batch["weight"] / len(batches))
    return batches, mean


@pytest.mark.parametrize("targets", [4, 2, 1])
@pytest.mark.parametrize("size", [2, 50])
def test_draws_weigh_pairs_as_the_table_does(targets, size):
    """A batch is a sample, without bias, of all pairs; rows of few targets are whole."""
    batches, mean = drawn(TriggerTable(counted(WEIGHTS), targets), size)
    expected = np.array(WEIGHTS) / np.sum(WEIGHTS) * size
    assert mean == pytest.approx(expected, abs=0.12 * size * (0.1 if size > 2 else 0.25))
    for batch in batches:
        assert len(set(batch["trigger"].tolist())) == len(batch["trigger"]) <= size
        assert batch["target"].shape == batch["weight"].shape
        assert batch["target"].shape[1] <= targets
        rows = zip(batch["trigger"], batch["target"], batch["weight"], strict=True)
        assert all(WEIGHTS[row][item] > 0 for row, items, weights in rows for item in items[weights > 0])


@pytest.mark.parametrize("targets", [4, 2])
def test_chance_is_the_share_of_draws_that_hold_the_item(targets):
    table = TriggerTable(counted(WEIGHTS), targets)
    batches, _ = drawn(table, 1, steps=3000)
    held = [np.mean([item in batch["target"][batch["weight"] > 0] for batch in batches]) for item in range(5)]
    assert table.chance(5) == pytest.approx(held, abs=0.04)


def test_draws_depend_on_seed_and_epoch_alone():
    def first(seed, epoch):
        batches = TriggerBatches(TrainerConfig(batch_size=3), counted(WEIGHTS), seed)
        batch = next(iter(batches.epoch(epoch).as_numpy_iterator()))
        return {name: value.tolist() for name, value in batch.items()}

    assert first(0, 0) == first(0, 0)
    assert len({str(first(seed, epoch)) for seed in range(3) for epoch in range(3)}) > 5


def test_a_step_of_draws_speaks_for_many_events():
    batches = TriggerBatches(TrainerConfig(), counted(WEIGHTS, events=81920), 0)
    assert (batches.size, batches.steps, batches.rate) == (2048, 40, 4.0)
    assert TriggerBatches(TrainerConfig(batch_size=2), counted(WEIGHTS, events=9), 0).rate == 1.0


def test_an_epoch_of_a_small_log_has_20_steps():
    """So that the rate does not rise within a handful of steps, and patience lasts."""
    for events, steps in ((100, 20), (20 * 2048, 20), (20 * 2048 + 1, 21)):
        batches = TriggerBatches(TrainerConfig(), counted(WEIGHTS, events=events), 0)
        assert batches.steps == len(list(batches.epoch(0))) == steps


@pytest.mark.parametrize(
    ("events", "size", "steps"), [(100, 512, 20), (20 * 1024 - 1, 512, 40), (20 * 1024, 1024, 20), (10**6, 2048, 489)]
)
def test_a_small_log_has_smaller_steps_where_asked_for(events, size, steps):
    pairs = counted(WEIGHTS, events=events)
    batches = make_batches(TrainerConfig(), pairs, [], 0, shrink=True)
    assert (batches.size, batches.steps) == (size, steps)
    assert make_batches(TrainerConfig(), pairs, [], 0).size == 2048
    assert make_batches(TrainerConfig(batch_size=7), pairs, [], 0, shrink=True).size == 7


def test_large_catalogues_take_fewer_rows_and_targets():
    assert [rows_and_targets(number) for number in (3, 5_000, 12_000, 20_000, 10**8)] == [
        (2048, 256), (2048, 256), (1024, 256), (512, 256), (512, 48),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("triggers", "size"),
    [(0, 1024), (200 * 1024, 1024), (200 * 1400, 1024), (200 * 1500, 2048), (200 * 2048, 2048), (10**9, 4096)],
)
def test_some_200_steps_make_a_pass_of_the_stream(triggers, size):
    """Powers of two, the nearest one: 1448 is halfway between 1024 and 2048."""
    pairs = dataclasses.replace(counted(WEIGHTS), num_triggers=triggers)
    assert EventBatches(TrainerConfig(), pairs, [], 0).size == size
    assert EventBatches(TrainerConfig(batch_size=7), pairs, [], 0).size == 7


def test_the_stream_is_for_tables_that_are_too_large(caplog):
    assert isinstance(make_batches(TrainerConfig(), counted(WEIGHTS), [], 0), TriggerBatches)
    assert isinstance(make_batches(TrainerConfig(batches="events"), counted(WEIGHTS), [], 0), EventBatches)
    thinned_out = dataclasses.replace(counted(WEIGHTS), exact=False)
    assert isinstance(make_batches(TrainerConfig(), thinned_out, [], 0), EventBatches)
    assert not caplog.messages
    assert isinstance(make_batches(TrainerConfig(batches="triggers"), thinned_out, [], 0), TriggerBatches)
    assert "draws from 11 pairs" in caplog.text


def test_no_thread_tunes_what_leaves_nothing_to_tune(tmp_path):
    """It would keep an iterator from ending, see `trainer.data.untuned`."""
    config = TrainerConfig(batch_size=4)
    for batches in (
        TriggerBatches(config, counted(WEIGHTS), 0),
        EventBatches(config, counted(WEIGHTS), [str(tmp_path / "pairs.tfrecord.gz")], 0),
    ):
        assert batches.epoch(0).options().autotune.enabled is False
