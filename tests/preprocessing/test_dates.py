"""Dates written as numbers are told from unix seconds."""

import numpy as np
import pytest

from preprocessing.config import PreprocessingConfig
from preprocessing.dates import DateWatch
from preprocessing.errors import UserError
from preprocessing.parse import check_time, parse_split_time
from preprocessing.pipeline import preprocess
from preprocessing.statistics import count_values
from tests.preprocessing.shop import shop_interactions, shop_items, write_csv


def check(times):
    watch = DateWatch()
    for part in np.array_split(np.array(times, np.float64), 3):
        watch.add(count_values(part))
    watch.check("log.csv")


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([20120131] * 40, "40 of 40 timestamps in log.csv are dates such as 20120131, .* of 1970; .*: 2012-01-31$"),
        ([20120231, 20120131, 1.5e9] * 10, "20 of 30 .* 2012-01-31$"),
        ([2012013123, 1.5e9] * 10, "10 of 20 .* such as 2012013123, .* of 2033; .*: 2012-01-31T23:00$"),
    ],
)
def test_dates(times, message):
    with pytest.raises(UserError, match=message):
        check(times)


@pytest.mark.parametrize(
    "times",
    [
        np.arange(19_700_000, 22_000_000),
        np.arange(1_970_000_000, 2_200_000_000, 37),
        [20120131] * 19,
        [20120131, 1.5e9, 1.6e9, 1.7e9] * 10,
        [],
    ],
)
def test_unix_seconds_that_look_like_dates_by_chance(times):
    check(times)


@pytest.mark.parametrize(
    ("text", "date"), [("201201111959", "2012-01-11T19:59"), ("20120111195930.0", "2012-01-11T19:59:30")]
)
def test_nobody_is_told_to_divide_a_date(text, date):
    _, reason, detail = check_time(text)
    assert (reason, detail) == ("bad_timestamp", f"{text!r} is a date written as a number; write {date}")


def test_the_split_is_no_date_without_hyphens():
    with pytest.raises(UserError, match=r"split\.time is 20120113, .* as 2012-01-13$"):
        parse_split_time("20120113")
    assert parse_split_time("20120113.0") == 20120113.0


def test_one_file_of_many_holds_dates(tmp_path):
    rows = shop_interactions()
    dates = [row | {"timestamp": 20120113} for row in rows[:30]]
    logs = [write_csv(tmp_path / "a.csv", rows[30:]), write_csv(tmp_path / "b.csv", dates)]
    items = write_csv(tmp_path / "items.csv", shop_items())
    with pytest.raises(UserError, match=r"30 of 30 timestamps in .*b\.csv are dates such as 20120113"):
        preprocess(PreprocessingConfig(), logs, [items], str(tmp_path / "out"))


def test_times_within_one_second_are_named_as_the_cause(tmp_path):
    log = write_csv(tmp_path / "a.csv", [row | {"timestamp": row["timestamp"] / 1e6} for row in shop_interactions()])
    items = write_csv(tmp_path / "items.csv", shop_items())
    with pytest.raises(UserError, match=r"all timestamps .* within one second, 0 in unix seconds"):
        preprocess(PreprocessingConfig(), [log], [items], str(tmp_path / "out"))
