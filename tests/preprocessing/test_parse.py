import datetime

import numpy as np
import pytest
from hypothesis import given, strategies as st

from preprocessing.config import InputConfig
from preprocessing.errors import UserError
from preprocessing.parse import (
    InteractionParser,
    check_time,
    concat_rows,
    empty_rows,
    parse_split_time,
    parse_time,
    take_rows,
)
from preprocessing.rows import RawBatch


def batch(**columns):
    count = len(next(iter(columns.values())))
    return RawBatch(np.arange(2, count + 2), columns, lambda i: f"row {i}", [], 0)


def parse(config=None, **columns):
    return InteractionParser(config or InputConfig(), {"a": 0, "b": 1}).parse(batch(**columns), 3)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        (" 1500000000 ", 1.5e9),
        ("1.5e9", 1.5e9),
        ("1500000000.25", 1500000000.25),
        ("2017-07-14", 1499990400.0),
        ("2017-07-14 02:40:00", 1.5e9),
        ("2017-07-14T02:40:00Z", 1.5e9),
        ("20170714T024000Z", 1.5e9),
        ("20170714T044000.5+0200", 1.5e9 + 0.5),
        ("20170714", 20170714.0),
        ("2017-07-14T04:40:00+02:00", 1.5e9),
        ("2017-07-14T04:40:00+0200", 1.5e9),
        ("2017-07-14T04:40:00+02", 1.5e9),
        ("2017-07-14T02:40:00.5Z", 1.5e9 + 0.5),
        ("2017-07-14T02:40:00.123456789Z", 1.5e9 + 0.123456),
    ],
)
def test_times(text, seconds):
    assert parse_time(text) == seconds


@given(st.datetimes(datetime.datetime(1970, 1, 1), datetime.datetime(2199, 1, 1), timezones=st.timezones()))
def test_iso_times_round_trip(moment):
    if moment.utcoffset() % datetime.timedelta(minutes=1):
        return
    assert parse_time(moment.isoformat()) == pytest.approx(moment.timestamp(), abs=1e-6)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "missing_timestamp"),
        ("  ", "missing_timestamp"),
        ("soon", "bad_timestamp"),
        ("nan", "bad_timestamp"),
        ("inf", "bad_timestamp"),
        ("1_000", "bad_timestamp"),
        ("1e999", "bad_timestamp"),
        ("2017-13-01", "bad_timestamp"),
        ("٣", "bad_timestamp"),
        ("-1", "negative_timestamp"),
        ("1969-12-31", "negative_timestamp"),
        ("1500000000000", "timestamp_in_milliseconds"),
        ("1500000000000000000", "timestamp_out_of_range"),
        ("9999-12-31", "timestamp_out_of_range"),
        ("99991231T000000Z", "timestamp_out_of_range"),
    ],
)
def test_bad_times(text, reason):
    if text == "٣":
        # Digits of other scripts are numbers to Python; whatever is made of them, it is one time or none.
        assert check_time(text)[1] in ("", reason)
    else:
        assert check_time(text)[1] == reason


def test_milliseconds_have_a_remedy():
    assert "divide it by 1000" in check_time("1500000000000")[2]


def test_good_rows_become_columns():
    rows = parse(user_id=["u2", "u1", "u2"], item_id=["b", " a ", "a"], timestamp=["3", "2", "1"]).rows
    assert [rows.users[i] for i in rows.user] == [b"u2", b"u1", b"u2"]
    assert rows.item.tolist() == [1, 0, 0]
    assert rows.timestamp.tolist() == [3.0, 2.0, 1.0]
    assert rows.position.tolist() == [(3 << 40) + line for line in (2, 3, 4)]
    assert rows.sessions == [b""]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("", "a", "1"), "missing_user_id"),
        ((None, "a", "1"), "missing_user_id"),
        (("u", " ", "1"), "missing_item_id"),
        (("u", "zzz", "1"), "unknown_item"),
        (("u", "a", ""), "missing_timestamp"),
        (("u\t1", "a", "1"), "control_character"),
        (("u" * 513, "a", "1"), "field_too_long"),
        (("ü" * 257, "a", "1"), "field_too_long"),
        (("u\0", "a", "1"), "nul_byte"),
    ],
)
def test_bad_rows_name_the_first_fault(row, reason):
    user, item, timestamp = row
    result = parse(user_id=["good", user], item_id=["a", item], timestamp=["1", timestamp])
    assert len(result.rows) == 1
    assert [(bad.line, bad.reason, bad.raw) for bad in result.bad] == [(3, reason, "row 1")]


def test_filters_drop_by_rule_and_only_filtered_rows_need_a_value():
    config = InputConfig(events=("buy",), min_value=4)
    result = parse(
        config,
        user_id=["u"] * 6,
        item_id=["a"] * 6,
        timestamp=["1"] * 6,
        event=["buy", "view", "buy", "buy", "buy", None],
        value=["4", "", "3.5", "", "many", None],
    )
    assert len(result.rows) == 1
    assert {name: count for name, count in result.dropped.items() if count} == {"event_filter": 2, "below_min_value": 1}
    assert [(bad.line, bad.reason) for bad in result.bad] == [(5, "missing_value"), (6, "bad_value")]
    assert len(result.rows) + len(result.bad) + sum(result.dropped.values()) == result.rows_in


def test_values_do_not_matter_without_a_threshold():
    assert not parse(user_id=["u"], item_id=["a"], timestamp=["1"], value=["many"]).bad


def test_concat_and_take_keep_each_row_together():
    one = parse(user_id=["x", "y"], item_id=["a", "b"], timestamp=["1", "2"], session_id=["s", None]).rows
    two = parse(user_id=["y", "z"], item_id=["b", "a"], timestamp=["3", "4"], session_id=["t", "s"]).rows
    both = concat_rows([one, two])
    assert [both.users[i] for i in both.user] == [b"x", b"y", b"y", b"z"]
    assert [both.sessions[i] for i in both.session] == [b"s", b"", b"t", b"s"]
    some = take_rows(both, np.array([3, 1]))
    assert [some.users[i] for i in some.user] == [b"z", b"y"]
    assert some.timestamp.tolist() == [4.0, 2.0]
    assert len(concat_rows([])) == len(empty_rows()) == 0


def test_split_time_is_checked():
    assert parse_split_time("2017-07-14T02:40:00Z") == 1.5e9
    with pytest.raises(UserError, match=r"split\.time: 'then'"):
        parse_split_time("then")
