"""Sequences, pairs and eval triggers against loops that say the same in the plainest way."""

import itertools

import numpy as np
from hypothesis import given, strategies as st

from preprocessing.config import PairsConfig, SplitConfig
from preprocessing.mixing import checksums, pick
from preprocessing.pairs import mine_pairs, mine_triggers
from preprocessing.parse import Rows
from preprocessing.sessions import build_sequences, mixed_order, split_by_user
from preprocessing.split import Part, Split, find_split, part_of_rows, recent_counts
from preprocessing.statistics import count_values, dense

NEVER = (np.inf, np.inf, np.inf)

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
    """Lists of (item, time, user), one a sequence."""
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
        sequences.setdefault((number, user in dropped_late and time >= split), []).append((time, position, item, user))
    return [[(item, time, user) for time, _, item, user in sorted(rows)] for _, rows in sorted(sequences.items())]


def naive_targets(sequence, at, window, max_seconds):
    """(distance, item) of the targets of a row."""
    item, time, _ = sequence[at]
    found = []
    for distance in range(1, window + 1):
        if at + distance >= len(sequence):
            break
        other, later, _ = sequence[at + distance]
        soon = max_seconds is None or later - time <= max_seconds
        if soon and other != item and other not in [seen for _, seen in found]:
            found.append((distance, other))
    return found


def unblock(blocks):
    """(trigger, user, [targets], [weights]) of each trigger."""
    result = []
    for block in blocks:
        ends = np.cumsum(block.targets_of_trigger)
        weights = getattr(block, "weight", np.zeros(len(block.target)))
        assert ends[-1] == len(block.target) == len(weights)
        for trigger, user, end, count in zip(block.trigger, block.user, ends, block.targets_of_trigger, strict=True):
            part = slice(end - count, end)
            result.append((int(trigger), int(user), block.target[part].tolist(), weights[part].tolist()))
    return result


@given(
    log=logs,
    split=st.integers(0, 31),
    validation=st.integers(0, 31),
    share=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 3),
    gap=st.none() | st.integers(1, 10),
    cap=st.integers(1, 6),
    window=st.integers(1, 6),
    max_seconds=st.none() | st.integers(1, 15),
    order=st.randoms(use_true_random=False),
    in_log_order=st.booleans(),
)
def test_pairs_and_triggers_match_plain_loops(
    log, split, validation, share, seed, gap, cap, window, max_seconds, order, in_log_order
):
    validation = min(validation, split)
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
    part = part_of_rows(shuffled, Split(validation, split, NEVER), share, seed)
    sequences = build_sequences(shuffled, part, gap, cap, ties_in_log_order=in_log_order)
    config = PairsConfig(train_window=1, window=window, max_seconds=max_seconds, distance_decay=0.5)
    expected = naive_sequences(log, split, gap, cap, rows.position if in_log_order else mixed_order(rows))

    starts = np.flatnonzero(np.diff(sequences.sequence, prepend=-1))
    found = [list(part) for part in np.split(np.arange(len(sequences.item)), starts[1:])] if len(starts) else []
    users = sorted({row[0] for row in log}, key=str.encode)
    assert [
        [(sequences.item[i], sequences.timestamp[i], users[sequences.user[i]]) for i in part] for part in found
    ] == expected
    assert len(sequences.item) + sequences.repeats + sequences.capped == len(log)
    assert sequences.num_users == len({row[0] for row in log})

    # One after another: no row of ``held_out`` and no row from the split on is in a pair, on either side.
    held_out = {user for user in users if pick([user.encode()], share, seed)[0]}
    pairs = []
    for sequence in expected:
        train = [row for row in sequence if row[1] < (validation if row[2] in held_out else split)]
        for at, (item, _, user) in enumerate(train):
            targets = naive_targets(train, at, window, max_seconds)
            if targets:
                weights = [0.5 ** (d - 1) for d, _ in targets]
                pairs.append((item, users.index(user), [other for _, other in targets], weights))
    assert unblock(mine_pairs(sequences, split, config)) == pairs

    def naive_triggers(sequences, begin):
        triggers = []
        for sequence in sequences:
            for at in range(1, len(sequence)):
                if sequence[at][1] >= begin:
                    targets = [other for _, other in naive_targets(sequence, at - 1, window, max_seconds)]
                    if targets:
                        triggers.append((sequence[at - 1][0], users.index(sequence[at][2]), targets))
        return triggers

    late = unblock(mine_triggers(sequences, Part.EVALUATION, config))
    assert [row[:3] for row in late] == naive_triggers(expected, split)
    known = [[row for row in sequence if row[1] < split and row[2] in held_out] for sequence in expected]
    validating = unblock(mine_triggers(sequences, Part.VALIDATION, config))
    assert [row[:3] for row in validating] == naive_triggers(known, validation)


def test_a_validation_slice_by_hand():
    """User v validates from time 4 to 8; user u trains on all that v holds out."""
    seed = next(s for s in range(99) if pick([b"u", b"v"], 0.5, s).tolist() == [False, True])
    log = [(user, "", item, item) for user in "uv" for item in range(10)]
    rows = as_rows(log)
    sequences = build_sequences(rows, part_of_rows(rows, Split(4.0, 8.0, NEVER), 0.5, seed), None, 100)
    config = PairsConfig(train_window=1, window=2)
    assert [row[:3] for row in unblock(mine_pairs(sequences, 8.0, config))] == [
        *((item, 0, [item + 1, item + 2]) for item in range(6)),
        (6, 0, [7]),
        (0, 1, [1, 2]),
        (1, 1, [2, 3]),
        (2, 1, [3]),
    ]
    assert [row[:3] for row in unblock(mine_triggers(sequences, Part.VALIDATION, config))] == [
        (3, 1, [4, 5]),
        (4, 1, [5, 6]),
        (5, 1, [6, 7]),
        (6, 1, [7]),
    ]
    # The predecessor of the first row after the split is an eval trigger, whether it trains or validates.
    assert [row[:3] for row in unblock(mine_triggers(sequences, Part.EVALUATION, config))] == [
        (7, 0, [8, 9]),
        (8, 0, [9]),
        (7, 1, [8, 9]),
        (8, 1, [9]),
    ]


def test_old_pairs_weigh_less():
    day = 86_400.0
    rows = as_rows([("u", "", 0, 0), ("u", "", 1, 10 * day), ("u", "", 2, 20 * day), ("u", "", 3, 25 * day)])
    sequences = build_sequences(rows, part_of_rows(rows, Split(30 * day, 30 * day, NEVER), 0.0, 0), None, 100)
    config = PairsConfig(train_window=1, window=2, distance_decay=0.5, half_life_days=10)
    weights = [row[3] for row in unblock(mine_pairs(sequences, 30 * day, config))]
    assert weights == [[1 / 8, 1 / 16], [1 / 4, 1 / 8], [1 / 2]]
    # However old, a pair is one: its weight does not round to 0, which the trainer takes for padding.
    config = PairsConfig(train_window=1, window=2, half_life_days=1e-3)
    assert all(w > 0 for row in unblock(mine_pairs(sequences, 30 * day, config)) for w in row[3])


def test_the_validation_slice_is_a_share_of_the_times_before_the_split():
    times = count_values(np.arange(100, dtype=np.float64))
    assert find_split(times, SplitConfig()) == Split(81.0, 90.0, (72.0, 81.0, 90.0))
    assert find_split(times, SplitConfig(quantile=0.5, validation_quantile=0.5)) == Split(
        25.0, 50.0, (22.0, 45.0, 90.0)
    )
    assert find_split(times, SplitConfig(time="20", validation_quantile=0.75)) == Split(15.0, 20.0, (13.0, 18.0, 90.0))
    assert find_split(times, SplitConfig(time="0")) == Split(0.0, 0.0, (0.0, 0.0, 90.0))
    assert find_split(count_values(np.zeros(9)), SplitConfig()) == Split(0.0, 0.0, (0.0, 0.0, 0.0))
    # A moment that has all rows before the split is not held out of all users: something is to be learnt from.
    days = count_values(np.repeat([1.0, 2.0], [85, 15]))
    assert find_split(days, SplitConfig()) == Split(2.0, 2.0, (1.0, 1.0, 2.0))
    assert find_split(days, SplitConfig(validation_users=0.5)).validation_time == 1.0


def test_what_is_recent_is_counted_at_the_end_of_each_period():
    """Item 1 is recent throughout, item 0 from the validation slice on, item 2 only before it."""
    item = np.array([2, 1, 1, 2, 1, 0, 1, 0], np.int32)
    time = np.array([0, 10, 11, 19, 20, 21, 30, 31], np.float64)
    part = np.array([0, 0, 0, 0, 1, 1, 2, 2], np.int8)
    counts = recent_counts(item, time, part, Split(20.0, 30.0, (10.0, 20.0, 30.0)))
    assert dense(counts, 9).reshape(3, 3).tolist() == [[0, 1, 1], [2, 1, 1], [1, 0, 0]]
    # A user who isn't held out trains on rows of the slice's time, too.
    trains = np.where(part == Part.VALIDATION, Part.TRAINING, part).astype(np.int8)
    counts = recent_counts(item, time, trains, Split(20.0, 30.0, (10.0, 20.0, 30.0)))
    assert dense(counts, 9).reshape(3, 3)[:, 0].tolist() == [1, 3, 1]


def test_a_share_of_the_names_is_picked_by_seed_and_name():
    users = [f"user {i}".encode() for i in range(10_000)]
    for share in (0.05, 0.2, 0.9):
        assert abs(pick(users, share, 0).mean() - share) < 0.02
    assert pick(users, 1.0, 0).all()
    assert not pick(users, 0.0, 0).any()
    picked = pick(users, 0.2, 0)
    np.testing.assert_array_equal(pick(users[::-1], 0.2, 0)[::-1], picked)
    assert not (picked & ~pick(users, 0.3, 0)).any()
    assert abs((picked & pick(users, 0.2, 1)).mean() - 0.04) < 0.01
    # The pick is independent of the partition, which goes by the same checksum.
    partition = checksums(users) % np.uint64(4)
    assert all(abs(picked[partition == shard].mean() - 0.2) < 0.04 for shard in range(4))
    # Pinned: the choice is part of what one seed means.
    assert np.flatnonzero(picked[:20]).tolist() == [13, 18]


def test_a_basket_has_no_order_of_its_own():
    basket = [("u", "", item, 7) for item in range(40)]
    train = np.full(40, Part.TRAINING, np.int8)
    forward, backward = as_rows(basket), as_rows(basket[::-1])
    mixed = build_sequences(forward, train, None, 100).item
    np.testing.assert_array_equal(mixed, build_sequences(backward, train, None, 100).item)
    assert sorted(mixed) == list(range(40))
    assert np.mean(np.diff(mixed) == 1) < 0.2
    kept = build_sequences(forward, train, None, 100, ties_in_log_order=True).item
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
    part = part_of_rows(many, Split(25_000.0, 25_000.0, NEVER), 0.0, 0)
    sequences = build_sequences(many, part, None, count)
    config = PairsConfig(train_window=1, window=5)
    pairs = list(mine_pairs(sequences, 25_000.0, config))
    triggers = list(mine_triggers(sequences, Part.EVALUATION, config))
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
