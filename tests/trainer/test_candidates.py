"""What the rows of a batch are compared with."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from preprocessing.backend import tf
from trainer.candidates import CandidateSampler, TrainingTables
from trainer.config import LossConfig
from trainer.losses import log_inclusion

NUMBER = 12


SHARE = np.arange(NUMBER) / np.arange(NUMBER).sum()


def step(number):
    return tf.constant(number, tf.int64)


def sampler(known=None, seed=0, of_trend=None, num_known=NUMBER, **config):
    """A sampler over 12 items; ``known`` maps triggers to their known targets, ``of_trend`` is how popularity moved."""
    known = known or {}
    lists = [sorted(known.get(item, ())) for item in range(NUMBER)]
    tables = TrainingTables(
        chance=SHARE,
        known_row_splits=np.concatenate([[0], np.cumsum([len(targets) for targets in lists])]).astype(np.int64),
        known_values=np.array([target for targets in lists for target in targets], np.int32),
        teacher_neighbours=np.stack([(np.arange(NUMBER) + 1) % NUMBER, (np.arange(NUMBER) + 2) % NUMBER], 1).astype(
            np.int32
        ),
        draws_per_batch=6.0,
        num_known=num_known,
        trend=of_trend,
    )
    options = {"uniform_negatives": 4, "relevance_candidates": 5, "unseen_rows": 3} | config
    return CandidateSampler(tables, dataclasses.replace(LossConfig(), **options), seed)


TARGET = tf.constant([[3, 4], [5, 0], [3, 11]], tf.int32)
WEIGHT = tf.constant([[1.0, 0.5], [1.0, 0.0], [1.0, 1.0]])


def test_engagement_candidates_are_distinct_and_hold_all_targets():
    for number in range(20):
        found = sampler().for_engagement(TARGET, WEIGHT, step(number)).numpy().tolist()
        assert len(set(found)) == len(found)
        assert {3, 4, 5, 11} <= set(found) <= set(range(NUMBER))
        assert len(found) <= 4 + 4


def test_padding_is_no_candidate():
    found = [
        set(sampler(uniform_negatives=0).for_engagement(TARGET, WEIGHT, step(number)).numpy()) for number in range(5)
    ]
    assert found == [{3, 4, 5, 11}] * 5


def test_candidates_depend_on_seed_and_step_alone():
    def drawn(seed, number):
        source = sampler(seed=seed)
        return (
            source.for_engagement(TARGET, WEIGHT, step(number)).numpy().tolist(),
            source.unseen(step(number)).numpy().tolist(),
            source.for_relevance(tf.constant([1, 2]), step(number)).numpy().tolist(),
        )

    assert drawn(3, 7) == drawn(3, 7)
    assert len({str(drawn(seed, number)) for seed in range(3) for number in range(3)}) == 9
    assert drawn(2**31 - 1, 0) == drawn(2**31 - 1, 0)


@pytest.mark.parametrize("uniform", [NUMBER, NUMBER + 1])
def test_small_catalogue_is_taken_whole_and_needs_no_correction(uniform):
    source = sampler(uniform_negatives=uniform)
    assert source.for_engagement(TARGET, WEIGHT, step(0)).numpy().tolist() == list(range(NUMBER))
    assert not source.log_offset.numpy().any()


def test_log_q_can_be_switched_off():
    expected = log_inclusion(SHARE, draws=6.0, uniform=4)
    assert sampler().log_offset.numpy() == pytest.approx(expected)
    assert (expected < 0).all()
    assert not sampler(log_q=False).log_offset.numpy().any()


def test_uniform_draws_reach_every_item_alike():
    source = sampler(uniform_negatives=6)
    drawn = tf.function(lambda number: source.for_engagement(TARGET[:0], WEIGHT[:0], number))
    counts = np.zeros(NUMBER)
    for number in range(400):
        counts[drawn(step(number)).numpy()] += 1
    assert counts / 400 == pytest.approx(np.full(NUMBER, 1 - (1 - 1 / NUMBER) ** 6), abs=0.1)


@pytest.mark.parametrize("wanted", [0, 2, 5, 100])
def test_unseen_are_items_that_were_never_a_trigger(wanted):
    source = sampler({item: {0} for item in (0, 2, 3, 7, 8, 11)}, unseen_rows=wanted)
    unseen = {1, 4, 5, 6, 9, 10}
    drawn = [source.unseen(step(number)).numpy().tolist() for number in range(60)]
    assert all(len(set(found)) == len(found) <= wanted for found in drawn)
    assert set().union(*drawn) == (unseen if wanted else set())
    assert (wanted < 6) or drawn == [sorted(unseen)] * 60


def test_no_item_is_unseen_where_all_are_triggers():
    source = sampler({item: {0} for item in range(NUMBER)})
    assert source.unseen(step(0)).shape == (0,)
    assert len(source.for_relevance(source.unseen(step(0)), step(0))) <= 5


def test_relevance_candidates_hold_the_near_neighbours_of_the_unseen():
    unseen = tf.constant([1, 6])
    for number in range(10):
        found = sampler().for_relevance(unseen, step(number)).numpy().tolist()
        assert len(set(found)) == len(found) <= 5 + 4
        assert {2, 3, 7, 8} <= set(found)


def test_places_are_the_inverse_of_the_candidates():
    places = sampler().places(tf.constant([4, 0, 9])).numpy()
    assert places[[4, 0, 9]].tolist() == [0, 1, 2]
    assert (np.delete(places, [4, 0, 9]) == -1).all()


ITEMS = st.integers(0, NUMBER - 1)


@settings(max_examples=60)
@given(
    known=st.dictionaries(ITEMS, st.sets(ITEMS, max_size=6)),
    trigger=st.lists(ITEMS, min_size=1, max_size=6),
    candidates=st.sets(ITEMS, min_size=1).map(list).flatmap(st.permutations),
)
def test_positives_are_the_known_targets_among_the_candidates(known, trigger, candidates):
    source = sampler(known, mask_known_positives=True)
    found = source.positives(tf.constant(trigger), source.places(tf.constant(candidates)))
    assert found.dtype == tf.int32
    expected = [
        [row, column]
        for row, item in enumerate(trigger)
        for column, candidate in enumerate(candidates)
        if candidate in known.get(item, ())
    ]
    assert sorted(found.numpy().tolist()) == sorted(expected)


def test_where_positives_are_not_masked_none_are_known():
    source = sampler({0: {3}}, mask_known_positives=False)
    assert source.positives(TARGET[:, 0], source.places(tf.range(NUMBER))) is None


def test_known_positives_are_masked_by_default_where_they_are_few():
    few, many = {0: {3}, 1: {4}}, {0: {3}, 1: {4}, 2: {5}}
    assert sampler(few).masks_known_positives
    assert not sampler(many).masks_known_positives
    assert not sampler(few, num_known=6).masks_known_positives  # however many more the catalogue lists
    assert sampler(many, mask_known_positives=True).masks_known_positives
    assert not sampler({0: {3}}, mask_known_positives=False).masks_known_positives


def test_what_has_become_popular_needs_a_larger_logit():
    """The trend's power comes on top of the correction, and stands without it."""
    trend = np.linspace(0.2, 3.0, NUMBER)
    plain = sampler(trend=0.5).log_offset.numpy()
    for log_q in (True, False):
        found = sampler(of_trend=trend, trend=0.5, log_q=log_q).log_offset.numpy()
        assert found == pytest.approx(log_q * plain + 0.5 * np.log(trend), abs=1e-6)
    assert sampler(of_trend=trend, trend=0.0).log_offset.numpy() == pytest.approx(plain)
