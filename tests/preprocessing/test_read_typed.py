"""JSON Lines and Parquet."""

import datetime
import decimal
import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from preprocessing.parse import parse_time
from preprocessing.read_jsonl import read_jsonl
from preprocessing.read_parquet import read_parquet
from preprocessing.rows import FileFault

COLUMNS = {role: role for role in ("user_id", "item_id", "timestamp", "session_id")}


def collect(batches):
    rows, bad, faults = [], [], []
    for batch in batches:
        if isinstance(batch, FileFault):
            faults.append(batch.reason)
            continue
        rows += [
            (line, {role: column[i] for role, column in batch.columns.items()})
            for i, line in enumerate(batch.lines.tolist())
        ]
        bad += [(row.line, row.reason) for row in batch.bad]
    return rows, bad, faults


def test_json_lines(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(
        b'{"user_id": 7, "item_id": "a", "timestamp": 10.5}\n'
        b'{"user_id": 7.0, "item_id": null, "timestamp": "2020-01-01"}\n'
        b"\n"
        b"{broken\n"
        b"[1]\n"
        b'{"user_id": true, "item_id": "a", "timestamp": 1}\n'
        b'{"user_id": [1], "item_id": "a", "timestamp": 1}\n'
        b'{"user_id": "\\ud800", "item_id": "a", "timestamp": 1}\n'
        b'{"user_id": "\xff", "item_id": "a", "timestamp": 1}\n'
        b'{"user_id": NaN, "item_id": "a", "timestamp": 1}\n' + b"[" * 100_000 + b"\n"
        b'{"user_id": "' + b"x" * 500 + b'", "item_id": "a", "timestamp": 1}\n'
    )
    rows, bad, faults = collect(read_jsonl(str(path), COLUMNS, 400))
    assert rows == [
        (1, {"user_id": "7", "item_id": "a", "timestamp": "10.5", "session_id": None}),
        (2, {"user_id": "7", "item_id": None, "timestamp": "2020-01-01", "session_id": None}),
    ]
    assert bad == [
        (4, "bad_json"),
        (5, "bad_json"),
        (6, "wrong_type"),
        (7, "wrong_type"),
        (8, "bad_encoding"),
        (9, "bad_encoding"),
        (10, "bad_json"),
        (11, "bad_json"),
        (12, "field_too_long"),
    ]
    assert faults == []


@pytest.mark.parametrize(
    "times",
    [
        pa.array([1_500_000_000, None], pa.int64()),
        pa.array([1_500_000_000.0, None], pa.float64()),
        pa.array(["2017-07-14T02:40:00Z", None]),
        pa.array([datetime.datetime(2017, 7, 14, 2, 40), None], pa.timestamp("s")),
        pa.array([1_500_000_000_000_000_001, None], pa.int64()).cast(pa.timestamp("ns")),
        pa.array([datetime.datetime(2017, 7, 14, 2, 40), None], pa.timestamp("ms", tz="UTC")),
    ],
)
@pytest.mark.parametrize("ids", [pa.array([1, 2]), pa.array(["1", "2"]), pa.array(["1", "2"]).dictionary_encode()])
def test_parquet_types(tmp_path, times, ids):
    path = tmp_path / "x.parquet"
    parquet.write_table(pa.table({"user_id": ids, "item_id": ids, "timestamp": times}), path, version="2.6")
    rows, bad, faults = collect(read_parquet(str(path), COLUMNS, 65536))
    assert (bad, faults) == ([], [])
    assert [(line, row["user_id"], row["item_id"]) for line, row in rows] == [(1, "1", "1"), (2, "2", "2")]
    assert parse_time(rows[0][1]["timestamp"]) == 1_500_000_000
    assert rows[1][1]["timestamp"] in (None, "nan")


def test_parquet_rows_that_cannot_be_read(tmp_path):
    path = tmp_path / "x.parquet"
    parquet.write_table(pa.table({"user_id": ["a", "b" * 500], "item_id": [True, False], "timestamp": [1, 2]}), path)
    (batch,) = read_parquet(str(path), COLUMNS, 400)
    assert [(row.line, row.reason) for row in batch.bad] == [(1, "wrong_type"), (2, "wrong_type")]
    assert json.loads(batch.bad[0].raw) == {"user_id": "a", "item_id": True, "timestamp": 1}


def test_raw_rows_of_json_lines_have_no_line_end(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"user_id": "u"\r\n{"user_id": "u"}\r\n\r\n')
    (batch,) = read_jsonl(str(path), COLUMNS, 400)
    assert [row.raw for row in batch.bad] == ['{"user_id": "u"']
    assert (batch.raw(0), batch.blank_lines) == ('{"user_id": "u"}', 1)


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        (pa.array([2**61, 0], pa.timestamp("us")), 2**61 / 1e6),
        (pa.array([2**40, 0], pa.timestamp("s")), 2.0**40),
        (pa.array([2**30, 0], pa.date32()), 86_400.0 * 2**30),
        (pa.array([datetime.date(2017, 7, 14), datetime.date(1970, 1, 1)], pa.date32()), 1_499_990_400.0),
        (pa.array([datetime.date(2017, 7, 14), datetime.date(1970, 1, 1)], pa.date64()), 1_499_990_400.0),
    ],
)
def test_parquet_times_beyond_those_of_python(tmp_path, times, seconds):
    path = tmp_path / "x.parquet"
    parquet.write_table(pa.table({"user_id": ["a", "b"], "item_id": ["a", "b"], "timestamp": times}), path)
    rows, bad, faults = collect(read_parquet(str(path), COLUMNS, 65536))
    assert (bad, faults) == ([], [])
    assert [float(row["timestamp"]) for _, row in rows] == [seconds, 0.0]


def test_parquet_text_that_is_not_utf8_takes_no_other_row_with_it(tmp_path):
    def mangled(values):
        text = pa.array(values, pa.binary())
        return pa.StringArray.from_buffers(len(text), text.buffers()[1], text.buffers()[2])

    path = tmp_path / "x.parquet"
    lists = pa.ListArray.from_arrays([0, 1, 3, 3], mangled([b"one", b"two", b"\xff"]))
    table = pa.table({"item_id": mangled([b"a", b"b", b"\xfe"]), "categories": lists})
    parquet.write_table(table, path)
    (batch,) = read_parquet(str(path), {"item_id": "item_id", "categories": "categories"}, 400)
    assert (batch.columns["item_id"], batch.columns["categories"]) == (["a"], [["one"]])
    assert [(row.line, row.reason) for row in batch.bad] == [(2, "bad_encoding"), (3, "bad_encoding")]
    assert json.loads(batch.bad[0].raw) == {"item_id": "b", "categories": "two|\\xff"}


def test_a_damaged_row_group_loses_no_other_and_its_rows_are_counted(tmp_path):
    path = tmp_path / "x.parquet"
    ids = [f"u{i:06}" for i in range(900)]
    table = pa.table({"user_id": ids, "item_id": ids, "timestamp": list(range(900))})
    parquet.write_table(table, path, row_group_size=300, compression="gzip", use_dictionary=False)
    data = bytearray(path.read_bytes())
    begin = parquet.ParquetFile(path).metadata.row_group(1).column(1).data_page_offset
    data[begin + 40 : begin + 400] = bytes(360)
    path.write_bytes(data)
    rows, bad, faults = collect(read_parquet(str(path), COLUMNS, 400))
    assert [line for line, _ in rows] == [*range(1, 301), *range(601, 901)]
    assert bad == [(line, "corrupt_parquet") for line in range(301, 601)]
    assert faults == ["corrupt_parquet"]


@pytest.mark.parametrize(("data", "fault"), [(b"", "empty_file"), (b"PAR1 nonsense", "corrupt_parquet")])
def test_parquet_files_that_are_none(tmp_path, data, fault):
    path = tmp_path / "x.parquet"
    path.write_bytes(data)
    assert collect(read_parquet(str(path), COLUMNS, 400)) == ([], [], [fault])


def test_parquet_ids_that_are_decimals(tmp_path):
    path = tmp_path / "x.parquet"
    numbers = pa.array([decimal.Decimal(13), decimal.Decimal("1.5"), None], pa.decimal128(38, 10))
    parquet.write_table(pa.table({"item_id": numbers, "timestamp": numbers}), path)
    rows, bad, _ = collect(read_parquet(str(path), COLUMNS, 400))
    assert [row["item_id"] for _, row in rows] == ["13", "1.5000000000", None]
    assert parse_time(rows[0][1]["timestamp"]) == 13
    assert bad == []


def test_parquet_lists_of_a_fixed_size_with_missing_rows(tmp_path):
    path = tmp_path / "x.parquet"
    vectors = pa.array([None, [1.0, 2.0]], pa.list_(pa.float32(), 2))
    parquet.write_table(pa.table({"item_id": ["a", "b"], "embedding": vectors}), path)
    batch, fault = read_parquet(str(path), {"item_id": "item_id", "embedding": "embedding"}, 400)
    assert [(row.line, row.reason) for row in batch.bad] == [(1, "unreadable_lists"), (2, "unreadable_lists")]
    assert fault.reason == "unreadable_lists"
    assert "write it as a list" in fault.detail
