"""Spans and versions: which files a pattern with specs stands for, and what is said where it stands for none."""

import logging

import pytest

from preprocessing.config import InputConfig
from preprocessing.errors import UserError
from preprocessing.sources import ANNOTATION_TABLE, INTERACTIONS, ITEM_TABLE, find_sources, spans_of
from preprocessing.spans import Span, describe

PATTERN = "span-{SPAN}/v-{VERSION}/*.csv"


def write(directory, *names):
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("user_id,item_id,timestamp\n")


def read(directory, pattern, table=INTERACTIONS, **options):
    sources = find_sources(table, [f"{directory}/{pattern}"], InputConfig(**options))
    assert [source.index for source in sources] == list(range(len(sources)))
    return [source.path.removeprefix(f"{directory}/") for source in sources]


@pytest.fixture
def log(tmp_path):
    write(
        tmp_path,
        "span-8/v-1/a.csv",
        "span-9/v-1/a.csv",
        "span-9/v-2/a.csv",
        "span-9/v-2/b.csv",
        "span-10/v-9/a.csv",
        "span-10/v-10/a.csv",
    )
    return tmp_path


def test_the_newest_version_of_each_span_by_number_not_by_name(log):
    found = ["span-8/v-1/a.csv", "span-9/v-2/a.csv", "span-9/v-2/b.csv", "span-10/v-10/a.csv"]
    assert read(log, PATTERN) == found
    sources = find_sources(INTERACTIONS, [f"{log}/{PATTERN}"], InputConfig())
    assert spans_of(sources) == (Span(8, 1), Span(9, 2), Span(10, 10))
    assert describe(spans_of(sources)) == "spans 8 (version 1), 9 (version 2), 10 (version 10)"


def test_files_may_be_named_by_their_url(log):
    plain, named = (
        find_sources(INTERACTIONS, [f"{scheme}{log}/{PATTERN}"], InputConfig()) for scheme in ("", "file://")
    )
    assert named == plain
    (one,) = find_sources(INTERACTIONS, [f"file://{plain[0].path}"], InputConfig())
    assert one.path == plain[0].path


def test_a_window_reads_the_last_spans(log):
    assert read(log, PATTERN, spans=2) == ["span-9/v-2/a.csv", "span-9/v-2/b.csv", "span-10/v-10/a.csv"]
    assert read(log, PATTERN, spans=1) == ["span-10/v-10/a.csv"]
    assert read(log, PATTERN, spans=30) == read(log, PATTERN)  # the log is younger than the window


def test_of_a_catalogue_the_newest_span_is_read_and_of_annotations_all(log):
    assert read(log, PATTERN, ITEM_TABLE, spans=3) == ["span-10/v-10/a.csv"]
    assert len(read(log, PATTERN, ANNOTATION_TABLE, spans=1)) == 4


def test_dates_are_spans(tmp_path):
    write(tmp_path, *(f"log-{day}.csv" for day in ("2024-02-28", "2024-02-29", "2024-03-01")))
    assert read(tmp_path, "log-{YYYY}-{MM}-{DD}.csv", spans=2) == ["log-2024-02-29.csv", "log-2024-03-01.csv"]
    (tmp_path / "log-2024-02-29.csv").unlink()
    with pytest.raises(UserError, match=r"up to 2024-03-01, but not 2024-02-29: bring .* input\.span_gaps=true"):
        read(tmp_path, "log-{YYYY}-{MM}-{DD}.csv")


def test_a_gap_is_a_mistake_unless_it_may_be(log):
    write(log, "span-13/v-1/a.csv")
    with pytest.raises(UserError, match=r"interactions: .*spans up to 13, but not 11, 12: bring"):
        read(log, PATTERN)
    with pytest.raises(UserError, match="but not 11, 12:"):
        read(log, PATTERN, spans=3)
    assert read(log, PATTERN, spans=1) == ["span-13/v-1/a.csv"]
    assert read(log, PATTERN, spans=4, span_gaps=True) == ["span-10/v-10/a.csv", "span-13/v-1/a.csv"]
    write(log, "span-1700000000/v-1/a.csv")
    with pytest.raises(UserError, match="and 1699999978 more"):
        read(log, PATTERN)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("day-{SPAN}/*.csv", "no file matches '.*day-"),
        ("span-{SPAN}-{SPAN}/*.csv", "names a part twice"),
        ("v-{VERSION}/*.csv", "of no span"),
        ("{YYYY}-{MM}/*.csv", "all of {YYYY}, {MM} and {DD}"),
        ("{SPAN}/{YYYY}-{MM}-{DD}/*.csv", "either {SPAN} or all of"),
        ("span-{SPAN:x}/*.csv", "no usable width"),
        ("span-{SPAN:0}/*.csv", "no usable width"),
        ("span-{SPAN:3}/v-{VERSION}/*.csv", "is no number or date in .*/span-10/v-10/a.csv"),
    ],
)
def test_patterns_that_are_none(log, pattern, words):
    with pytest.raises(UserError, match=f"interactions: .*{words}"):
        read(log, pattern)


def test_a_window_without_spans_is_a_mistake(log):
    with pytest.raises(UserError, match=r"input\.spans is 2, but no path of the interactions has spans"):
        read(log, "span-*/*/*.csv", spans=2)


def test_one_version_written_twice_is_a_mistake(log):
    write(log, "span-10/v-010/a.csv")
    with pytest.raises(UserError, match=r"span-10/v-010/a\.csv and .*span-10/v-10/a\.csv are both span 10"):
        read(log, PATTERN)


def test_what_is_no_number_is_left_out_with_a_word(log, caplog):
    write(log, "span-11.part/v-1/a.csv", "span-10/v-new/a.csv")
    with caplog.at_level(logging.WARNING):
        assert read(log, PATTERN)[-1] == "span-10/v-10/a.csv"
    assert "2 files are ignored" in caplog.text
    assert "span-10/v-new/a.csv" in caplog.text


def test_globs_around_the_specs(tmp_path):
    write(tmp_path, "eu/x/span-1/[a].csv", "us/span-1/b.csv", "us/span-1/deep/c.csv", "us/span-2/b1.csv")
    assert read(tmp_path, "**/span-{SPAN}/*.csv") == ["eu/x/span-1/[a].csv", "us/span-1/b.csv", "us/span-2/b1.csv"]
    assert read(tmp_path, "us/span-{SPAN}/?.csv") == ["us/span-1/b.csv"]
    assert read(tmp_path, "us/span-{SPAN}/b[0-9].csv") == ["us/span-2/b1.csv"]


def test_spans_in_a_bucket(s3, tmp_path):
    from serving.stores.objects import open_store

    root = f"{s3}/{tmp_path.name}"
    store, key = open_store(root)
    for name in ("2026-11-24/v-1/a.csv", "2026-11-25/v-1/a.csv", "2026-11-25/v-2/a.csv", "2026-11-25/v-2/deep/a.csv"):
        store.write(f"{key}/{name}", b"user_id,item_id,timestamp\n")
    assert read(root, "{YYYY}-{MM}-{DD}/v-{VERSION}/*.csv") == ["2026-11-24/v-1/a.csv", "2026-11-25/v-2/a.csv"]
    assert read(root, "{YYYY}-{MM}-{DD}/v-{VERSION}/*.csv", spans=1) == ["2026-11-25/v-2/a.csv"]
    with pytest.raises(UserError, match="no file matches 's3://"):
        read(root, "log-{SPAN}/*.csv")
