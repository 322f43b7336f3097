"""How popularity has moved: against ratios that are known, and what models and baselines make of it."""

import dataclasses

import numpy as np
import pytest

from preprocessing import schema
from preprocessing.config import FeaturesConfig
from preprocessing.read import read_items
from tests.trainer.event_logs import COLD, NUMBER, colours, histories, pair_events
from tests.trainer.toys import (
    SMALL,
    changed,
    checkerboard_events,
    checkerboard_items,
    eval_triggers,
    write_examples,
)
from trainer.artefact import load_model
from trainer.baselines import BaselineData, fit_baseline
from trainer.data import summarise_pairs
from trainer.exact import retrieve_exact
from trainer.names import CONTENT, COUNTED, MODELS
from trainer.train import _build, _read, _trend, train
from trainer.trend import popularity_trend

LATELY = np.array([0, 1, 2, 3])
"""Fields of both colours that are all that is engaged with lately."""


def simulated(shape, *, number=3000, recent=9000, seed=0):
    """Occurrences over all time, recent ones, and the ratio that each item's rate has changed by."""
    rng = np.random.default_rng(seed)
    counted = rng.poisson(rng.pareto(1.5, number) * 20 + 1) + 1
    ratio = rng.gamma(shape, 1 / shape, number) if shape else np.ones(number)
    rate = counted * ratio
    return rng.poisson(rate / rate.sum() * recent), counted, ratio


@pytest.mark.parametrize("shape", [0.5, 2.0, 8.0])
def test_ratios_are_told_from_chance(shape):
    """Nearer to the truth than what is counted alone, and than ratios that are taken as they are."""
    recent, counted, ratio = simulated(shape)
    found = popularity_trend(recent, counted)
    plain = recent / (counted * recent.sum() / counted.sum())

    def error(guess):
        return np.mean((guess - ratio) ** 2)

    assert error(found) < 0.95 * min(error(plain), error(np.ones(len(ratio))))


def test_where_nothing_has_changed_nothing_is_seen():
    recent, counted, _ = simulated(0)
    assert np.abs(popularity_trend(recent, counted) - 1.0).max() < 0.1


def test_without_anything_recent_or_counted_there_is_no_trend():
    nothing, some = np.zeros(4, np.int64), np.arange(4)
    for recent, counted in ((nothing, some), (some, nothing), (nothing, nothing)):
        assert popularity_trend(recent, counted).tolist() == [1.0] * 4


def test_an_item_that_is_only_recent_gains():
    found = popularity_trend(np.array([50, 3, 0, 7]), np.array([100, 100, 100, 0]))
    assert found[3] > 1.0
    assert (found > 0.0).all()


def recent_of(number):
    """Periods before the split have `LATELY` recent, the log's end all other items."""
    recent = np.zeros((number, len(schema.PERIODS)), np.int64)
    recent[LATELY, :2] = 50
    recent[len(LATELY) :, 2] = 50
    return recent


def test_each_training_goes_by_the_end_of_its_own_period(tmp_path):
    items = dataclasses.replace(checkerboard_items(), recent_count=recent_of(16))
    data = _read(write_examples(tmp_path, items, checkerboard_events(), checkerboard_events(events=40, seed=1)), SMALL)
    for parts in (schema.PERIODS[:1], schema.PERIODS[:2], schema.PERIODS):
        offsets = {}
        for power in (0.0, 0.7):
            model, _ = _build(data, parts, changed(SMALL, loss={"trend": power}))
            offsets[power] = model.sampler.log_offset.numpy()
        trend = np.exp((offsets[0.7] - offsets[0.0]) / 0.7)
        lately, others = trend[LATELY], trend[len(LATELY) :]
        if parts != schema.PERIODS:
            assert lately.min() > 2.0 > 0.1 > others.max()
        else:
            assert others.min() > 0.9 > 0.1 > lately.max()


def test_what_sessions_open_with_has_no_trend_by_that(tmp_path):
    """A log of which each tenth is like the whole. Items 0 and 1 open the sessions, and 0 is in no other row."""
    rng = np.random.default_rng(0)
    sequences = [
        [session % 2, *rng.choice(np.arange(1 + session % 2, 16), 3, replace=False).tolist()] for session in range(400)
    ]
    rows = np.bincount(np.concatenate(sequences), minlength=16)
    recent = np.tile(rows[:, np.newaxis] // 10, len(schema.PERIODS))
    events = pair_events(sequences)
    examples = write_examples(
        tmp_path,
        dataclasses.replace(checkerboard_items(), recent_count=recent),
        [(item, after) for _, item, after in events],
        [],
        users=[user for user, _, _ in events],
        shards=1,
    )
    summary = summarise_pairs(examples, schema.PERIODS[:1], 16, 100)
    assert summary.row_count.tolist() == rows.tolist()
    assert 0 == summary.target_count[0] < summary.target_count[1] < 0.5 * rows[1]
    trend = _trend(read_items(str(examples)), summary, schema.PERIODS[0])
    assert np.abs(trend - 1.0).max() < 0.1
    recent[:2] *= 5
    trend = _trend(dataclasses.replace(checkerboard_items(), recent_count=recent), summary, schema.PERIODS[0])
    assert trend[0] == 1.0 < 2.0 < trend[1]  # in no pair is item 0 what is gone for


@pytest.mark.slow
def test_what_is_recent_ranks_before_what_is_engaged_with_as_often(tmp_path):
    def rank_of_recent(power):
        items = dataclasses.replace(checkerboard_items(), recent_count=recent_of(16))
        events = checkerboard_events(events=600)
        directory = tmp_path / f"examples {power}"
        examples = write_examples(directory, items, events, events[:40], validation_events=[])
        config = changed(
            SMALL,
            features=FeaturesConfig(text=False, categories=False, content_vector=False),
            loss={"trend": power, "mask_known_positives": False},
            trainer={"epochs": 10},
        )
        train(examples, tmp_path / f"{power}", config)
        vectors = load_model(tmp_path / f"{power}" / "model", read_items(str(examples)))[0].embed_catalogue()
        found = retrieve_exact(vectors, np.arange(4, 16), k=7, relevance_weight=0.0)
        # Of each trigger's own colour two fields are recent, so that the best mean place among seven is 0.5.
        own = np.isin(found, LATELY) & (found % 2 == np.arange(4, 16)[:, np.newaxis] % 2)
        return np.nonzero(own)[1].mean()

    assert rank_of_recent(1.0) < 1.5 < 2.5 < rank_of_recent(0.0)


@pytest.mark.parametrize("name", [model.name for model in MODELS.values() if model.kind == COUNTED])
@pytest.mark.parametrize("lately_engaged", [True, False])
def test_baselines_follow_it_where_the_validation_slice_says_so(name, lately_engaged):
    """Answers are the recent fields where these are what was engaged with in the slice, and else as without."""
    known = histories(colours())
    recent = np.zeros((NUMBER, 3), np.int64)
    recent[LATELY] = 50
    asked = [trigger for trigger in range(4, NUMBER) if trigger not in COLD]
    follow = LATELY if lately_engaged else np.arange(4, 16)
    validation = eval_triggers([(t, [j for j in follow if j % 2 == t % 2 and j != t]) for t in asked])
    content = checkerboard_items(NUMBER).content_vectors

    def answers(counts):
        data = BaselineData(known, known, validation, content, counts)
        recommender, parameters = fit_baseline(name, data, k=2, seed=0)
        return recommender.retrieve(np.array(asked), k=2, relevance_weight=0.0), parameters

    (found, parameters), (plain, without) = answers(recent), answers(np.zeros_like(recent))
    assert "trend" not in without
    if name == CONTENT or not lately_engaged:
        assert "trend" not in parameters
        assert np.array_equal(found, plain)
    else:
        assert parameters["trend"] > 0
        assert np.isin(found, LATELY).mean() > max(0.9, np.isin(plain, LATELY).mean())
