"""Sequences, pairs and eval triggers against loops that say the same in the plainest way."""

import itertools

import numpy as np
from hypothesis import given, strategies as st

from preprocessing.config import PairsConfig
from preprocessing.pairs import mine_pairs, mine_triggers
from preprocessing.parse import Rows
from preprocessing.sessions import build_sequences, mixed_order, split_by_user

logs = st.lists(
    st.tuples(
        st.sampled_from(["u", "v", "ü", "w1"]),
        st.sampled_from(["", "s", "t"]),
        st.integers(0, 4),
        st.integers(0, 30),
    ),
    max_size=40,
)


def as_rows(log):
    users = list(dict.fromkeys(user.encode() for user, *_ in log))
    sessions = list(dict.fromkeys(session.encode() for _, session, *_ in log))
    return Rows(
        users=users,
        user=np.array([users.index(row[0].encode()) for row in log], np.int32),
        sessions=sessions,
        session=np.array([sessions.index(row[1].encode()) for row in log], np.int32),
        item=np.array([row[2] for row in log], np.int32),
        timestamp=np.array([row[3] for row in log], np.float64),
        position=np.arange(len(log), dtype=np.int64),
    )


def naive_sequences(log, split, gap, cap, tie):
    """Lists of (item, time), one a sequence."""
    kept = []
    rows = sorted(enumerate(log), key=lambda row: (row[1][0].encode(), row[1][1].encode(), row[1][3], tie[row[0]]))
    number, previous = 0, None
    for position, (user, session, item, time) in rows:
        if previous and (previous[:2] != (user, session) or (gap is not None and time - previous[3] > gap)):
            number, previous = number + 1, None
        if previous is None or previous[2] != item:
            kept.append((user, number, item, time, (session.encode(), int(tie[position]), position)))
        previous = (user, session, item, time)
    result = []
    dropped_late = set()
    for user, late in itertools.product({row[0] for row in kept}, (False, True)):
        side = sorted((row for row in kept if row[0] == user and (row[3] >= split) == late), key=lambda r: (r[3], r[4]))
        if late and len(side) > cap:
            dropped_late.add(user)
        result += side[-cap:]
    sequences = {}
    for row in result:
        user, number, item, time, position = row
        sequences.setdefault((number, user in dropped_late and time >= split), []).append((time, position, item))
    return [[(item, time) for time, _, item in sorted(rows)] for _, rows in sorted(sequences.items())]


def naive_targets(sequence, at, window, max_seconds):
    """(distance, item) of the targets of a row."""
    item, time = sequence[at]
    found = []
    for distance in range(1, window + 1):
        if at + distance >= len(sequence):
            break
        other, later = sequence[at + distance]
        soon = max_seconds is None or later - time <= max_seconds
        if soon and other != item and other not in [seen for _, seen in found]:
            found.append((distance, other))
    return found


def unblock(blocks):
    """(trigger, [targets], [weights]) of each trigger."""
    result = []
    for block in blocks:
        ends = np.cumsum(block.targets_of_trigger)
        weights = getattr(block, "weight", np.zeros(len(block.target)))
        assert ends[-1] == len(block.target) == len(weights)
        for trigger, end, count in zip(block.trigger, ends, block.targets_of_trigger, strict=True):
            result.append((int(trigger), block.target[end - count : end].tolist(), weights[end - count : end].tolist()))
    return result


@given(
    log=logs,
    split=st.integers(0, 31),
    gap=st.none() | st.integers(1, 10),
    cap=st.integers(1, 6),
    window=st.integers(1, 6),
    max_seconds=st.none() | st.integers(1, 15),
    order=st.randoms(use_true_random=False),
    in_log_order=st.booleans(),
)
def test_pairs_and_triggers_match_plain_loops(log, split, gap, cap, window, max_seconds, order, in_log_order):
    rows = as_rows(log)
    places = list(range(len(log)))
    order.shuffle(places)
    shuffled = Rows(
        rows.users,
        rows.user[places],
        rows.sessions,
        rows.session[places],
        rows.item[places],
        rows.timestamp[places],
        rows.position[places],
    )
    sequences = build_sequences(shuffled, split, gap, cap, ties_in_log_order=in_log_order)
    config = PairsConfig(window=window, max_seconds=max_seconds, distance_decay=0.5)
    expected = naive_sequences(log, split, gap, cap, rows.position if in_log_order else mixed_order(rows))

    starts = np.flatnonzero(np.diff(sequences.sequence, prepend=-1))
    found = [list(part) for part in np.split(np.arange(len(sequences.item)), starts[1:])] if len(starts) else []
    assert [[(sequences.item[i], sequences.timestamp[i]) for i in part] for part in found] == expected
    assert len(sequences.item) + sequences.repeats + sequences.capped == len(log)
    assert sequences.num_users == len({row[0] for row in log})

    pairs = []
    for sequence in expected:
        train = [row for row in sequence if row[1] < split]
        for at, (item, _) in enumerate(train):
            targets = naive_targets(train, at, window, max_seconds)
            if targets:
                pairs.append((item, [other for _, other in targets], [0.5 ** (d - 1) for d, _ in targets]))
    assert unblock(mine_pairs(sequences, split, config)) == pairs

    triggers = []
    for sequence in expected:
        for at in range(1, len(sequence)):
            if sequence[at][1] >= split:
                targets = [other for _, other in naive_targets(sequence, at - 1, window, max_seconds)]
                if targets:
                    triggers.append((sequence[at - 1][0], targets))
    assert [row[:2] for row in unblock(mine_triggers(sequences, split, config))] == triggers


def test_a_basket_has_no_order_of_its_own():
    basket = [("u", "", item, 7) for item in range(40)]
    forward, backward = as_rows(basket), as_rows(basket[::-1])
    mixed = build_sequences(forward, 9.0, None, 100).item
    np.testing.assert_array_equal(mixed, build_sequences(backward, 9.0, None, 100).item)
    assert sorted(mixed) == list(range(40))
    assert np.mean(np.diff(mixed) == 1) < 0.2
    kept = build_sequences(forward, 9.0, None, 100, ties_in_log_order=True).item
    np.testing.assert_array_equal(kept, np.arange(40))


def test_blocks_are_bounded():
    count = 50_000
    rows = as_rows([("u", "", 0, 0)])
    many = Rows(
        rows.users,
        np.zeros(count, np.int32),
        rows.sessions,
        np.zeros(count, np.int32),
        (np.arange(count) % 97).astype(np.int32),
        np.arange(count, dtype=np.float64),
        np.arange(count),
    )
    sequences = build_sequences(many, 25_000.0, None, count)
    config = PairsConfig(window=5)
    pairs, triggers = list(mine_pairs(sequences, 25_000.0, config)), list(mine_triggers(sequences, 25_000.0, config))
    assert max(len(block.target) for block in pairs) <= 8192
    assert max(len(block.trigger) for block in triggers) <= 8192
    assert sum(len(block.target) for block in pairs) == 5 * 25_000 - 15


def test_users_are_split_whole_and_nothing_is_lost():
    rows = as_rows([(f"u{i % 7}", "", i % 5, i) for i in range(100)])
    parts = split_by_user(rows, np.arange(7) % 3)
    assert sorted(number for number, _ in parts) == [0, 1, 2]
    assert sum(len(part) for _, part in parts) == 100
    owners = [user for _, part in parts for user in part.users]
    assert len(owners) == len(set(owners)) == 7
