"""Histories that are read back from pairs."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tests.trainer.event_logs import as_events, histories, pair_events
from trainer.histories import RowCounter, histories_of

SEQUENCES = st.lists(
    st.lists(st.integers(0, 4), min_size=2, max_size=9).map(
        lambda items: [item for row, item in enumerate(items) if not row or item != items[row - 1]]
    ),
    min_size=1,
    max_size=5,
)


@given(SEQUENCES, st.integers(1, 3))
def test_histories_are_what_pairs_were_mined_from(sequences, window):
    long = [sequence for sequence in sequences if len(sequence) > 1]
    found = histories_of([as_events(pair_events(long, window), weight=0.5)])
    expected = histories(long, weight=0.5)
    for column in ("item", "user", "sequence", "weight"):
        assert getattr(found, column).tolist() == getattr(expected, column).tolist()


def test_held_out_rows_go_on_where_the_training_rows_end():
    training = as_events([(7, 1, [2]), (7, 2, [3]), (9, 5, [6])])
    held_out = as_events([(7, 3, [4, 1]), (7, 4, [1])])
    found = histories_of([training, held_out])
    assert found.item.tolist() == [1, 2, 3, 4, 1, 5, 6]
    assert found.user.tolist() == [7] * 5 + [9] * 2
    assert found.sequence.tolist() == [0] * 5 + [1] * 2


def test_a_sequence_ends_where_the_next_trigger_is_another_item():
    found = histories_of([as_events([(0, 1, [2]), (0, 4, [5])])])
    assert (found.item.tolist(), found.sequence.tolist()) == ([1, 2, 4, 5], [0, 0, 1, 1])


def test_of_an_event_the_nearest_target_and_its_weight_are_held():
    events = as_events([(0, 1, [2, 3, 4]), (0, 2, [3])], weight=[0.5, 0.4, 0.3, 0.8])
    assert events.target.tolist() == [2, 3]
    assert events.weight.tolist() == pytest.approx([0.5, 0.8])
    assert events.target.base is events.weight.base is None  # nothing keeps the others alive


def test_events_come_in_any_number_of_parts():
    rows = [(7, 1, [2]), (9, 5, [6]), (7, 2, [3]), (7, 3, [4, 1])]
    whole, parts = histories_of([as_events(rows)]), histories_of([as_events([row]) for row in rows])
    for column in ("item", "user", "sequence", "weight"):
        assert getattr(whole, column).tolist() == getattr(parts, column).tolist()


@given(st.lists(SEQUENCES, min_size=1, max_size=3), st.integers(1, 3), st.integers(1, 4))
def test_rows_are_counted_as_in_the_histories_a_block_at_a_time(periods, window, block):
    """Sequences of the same few users period after period, whose events come a few at a time."""
    parts = [as_events(pair_events(sequences, window)) for sequences in periods]
    counter = RowCounter(5)
    for part in parts:
        for start in range(0, len(part.user), block):
            some = slice(start, start + block)
            counter.add(part.user[some], part.trigger[some], part.target[some])
    expected = np.bincount(histories_of(parts).item, minlength=5)
    assert counter.rows.tolist() == expected.tolist()


def test_no_events_are_no_rows():
    counter = RowCounter(3)
    counter.add(*np.zeros((3, 0), np.int64))
    assert counter.rows.tolist() == [0, 0, 0]


def test_rows_weigh_what_their_nearest_pair_weighs():
    found = histories_of([as_events([(0, 1, [2, 3]), (0, 2, [3])], weight=[0.5, 0.4, 0.8])])
    assert found.weight.tolist() == pytest.approx([0.5, 0.8, 0.8])
    assert found.popularity(5).tolist() == pytest.approx([0, 0.5, 0.8, 0.8, 0])
    assert found.engagements(5).toarray().tolist() == [pytest.approx([0, 0.5, 0.8, 0.8, 0])]


def test_parts_of_histories_are_equal_and_whole_by_default():
    found = histories([[0] * 7, [1] * 2, [2] * 3])
    assert found.parts(None).tolist() == [0] * 7 + [1] * 2 + [2] * 3
    assert found.parts(3).tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 3]
    assert histories([[4, 2, 4], [2, 1]]).engagements(5).toarray().tolist() == [[0, 0, 1, 0, 1], [0, 1, 1, 0, 0]]
