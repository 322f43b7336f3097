import csv
import io
import time

import numpy as np
import pytest
from hypothesis import given, strategies as st

from preprocessing import lines
from preprocessing.errors import UserError
from preprocessing.read_csv import csv_delimiter, find_delimiter, read_csv
from preprocessing.rows import FileFault

COLUMNS = {"item_id": "item_id", "title": "title", "description": "text"}


def read(path, columns=COLUMNS, delimiter=",", limit=65536):
    """Rows as (line, values), bad rows as (line, reason), blank lines, faults; each row's raw form is asked for."""
    rows, bad, blank, faults = [], [], 0, []
    for batch in read_csv(str(path), columns, delimiter, limit):
        if isinstance(batch, FileFault):
            faults.append(batch.reason)
            continue
        for i, line in enumerate(batch.lines.tolist()):
            assert batch.raw(i)
            rows.append((line, {role: column[i] for role, column in batch.columns.items()}))
        bad += [(row.line, row.reason) for row in batch.bad]
        blank += batch.blank_lines
        assert batch.lines.dtype == np.int64
    return rows, bad, blank, faults


def write(tmp_path, text):
    path = tmp_path / "x.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_plain_rows_and_columns_in_any_order(tmp_path):
    path = write(tmp_path, 'other,text,item_id,title\r\n1,d,i1,t\r\n2,,i2,5" nail\r\n')
    assert read(path)[0] == [
        (2, {"item_id": "i1", "title": "t", "description": "d"}),
        (3, {"item_id": "i2", "title": '5" nail', "description": ""}),
    ]


def lines_of(text, number):
    return (text + "\n") * number


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n", exclude_categories=["Cs"]), max_size=8)
several_lines = st.lists(texts | st.sampled_from(['"', ",", '","']), max_size=3).map("\n".join)


@given(st.lists(st.tuples(texts.filter(str.strip), several_lines, several_lines), max_size=12), st.integers(1, 64))
def test_reads_what_the_csv_module_writes(tmp_path_factory, rows, block_bytes):
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(["item_id", "title", "text"])
    writer.writerows(rows)
    path = write(tmp_path_factory.mktemp("csv"), buffer.getvalue())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "BLOCK_BYTES", block_bytes)
        found, bad, _, _ = read(path)
    assert [tuple(values.values()) for _, values in found] == rows
    assert not bad


def test_each_broken_row_has_its_reason_and_takes_no_other_with_it(tmp_path):
    path = write(
        tmp_path,
        b"item_id,title,text\n"
        b"i1,a,b\n"  # 2
        b'i2,"never closed,b\n'  # 3
        b"i3,a,b\n"  # 4
        b"i4,a\n"  # 5: too few
        b"i5,a,b,c\n"  # 6: too many
        b"i6,a\0,b\n"  # 7
        b"i7,\xff,b\n"  # 8
        b'i8,"a"x,b\n'  # 9
        b"\n"  # 10
        b'i9,"two\nlines",b\n'  # 11, 12
        b"i10," + b"x" * 200 + b",b\n"  # 13
        b'"i1\n1,1",a,b\n'  # 14, 15: a newline in an id
        b"i12,a,b",  # 16
    )
    rows, bad, blank, faults = read(path, limit=100)
    assert [line for line, _ in rows] == [2, 4, 11, 16]
    assert rows[2][1]["title"] == "two\nlines"
    assert bad == [
        (3, "unclosed_quote"),
        (5, "wrong_field_count"),
        (6, "wrong_field_count"),
        (7, "nul_byte"),
        (8, "bad_encoding"),
        (9, "bad_quoting"),
        (13, "field_too_long"),
        (14, "unclosed_quote"),
        (15, "wrong_field_count"),
    ]
    assert blank == 1
    assert faults == []


@pytest.mark.parametrize("block_bytes", [16, 1 << 20])
def test_an_unclosed_quote_at_every_third_row_loses_no_good_row(tmp_path, monkeypatch, block_bytes):
    monkeypatch.setattr(lines, "BLOCK_BYTES", block_bytes)
    body = [f'i{i},"a,b' if i % 3 == 0 else f"i{i},a,b" for i in range(300)]
    rows, bad, _, _ = read(write(tmp_path, "\n".join(["item_id,title,text", *body])))
    assert [values["item_id"] for _, values in rows] == [f"i{i}" for i in range(300) if i % 3]
    assert [line for line, _ in bad] == [i + 2 for i in range(300) if i % 3 == 0]


def test_a_record_may_not_grow_without_bound(tmp_path):
    long = lines_of("x" * 1023, 1024)
    rows, bad, _, _ = read(write(tmp_path, f'item_id,title,text\ni1,"a\n{long}",b\ni2,a,b\n'), limit=1 << 21)
    assert [values["item_id"] for _, values in rows] == ["i2"]
    assert bad[0] == (2, "unclosed_quote")
    assert len(bad) == 1026


@pytest.mark.parametrize(("begins", "ends"), [("First, second, ", ""), ("First\n", "i2,19")])
def test_between_quotes_that_may_be_meant_or_not_nothing_is_a_row_nor_lost_without_a_trace(tmp_path, begins, ends):
    text = lines_of("Step 1, then wait", 80)
    body = f'i1,"{begins}{text}{ends}"\n'
    rows, bad, _, _ = read(write(tmp_path, f"item_id,text\n{body}i3,b\n"))
    assert [values["item_id"] for _, values in rows] == ["i3"]
    assert bad == [(line, "unclosed_quote") for line in range(2, 2 + body.count("\n"))]


@pytest.mark.parametrize("block_bytes", [64, 1 << 20])
def test_rows_go_with_no_quote_that_lost_its_fellow(tmp_path, monkeypatch, block_bytes):
    monkeypatch.setattr(lines, "BLOCK_BYTES", block_bytes)
    body = ['i0,"Foo, bar,d,c', *(f"i{i},a,b,c" for i in range(1, 300)), 'i300,TV 42",d,c', "i301,a,b,c"]
    rows, bad, _, _ = read(write(tmp_path, "\n".join(["item_id,title,text,kind", *body])))
    assert [values["item_id"] for _, values in rows] == [f"i{i}" for i in range(1, 302)]
    assert bad == [(2, "unclosed_quote")]


def test_the_look_for_closing_quotes_grows_with_the_lines(tmp_path):
    def seconds(count):
        path = write(tmp_path, "item_id,title,text,kind\n" + lines_of('i,tv 42",great,"unbelievable', count))
        started = time.process_time()
        _, bad, _, _ = read(path)
        assert len(bad) == count
        return time.process_time() - started

    seconds(100)
    assert seconds(16_000) < 8 * seconds(4_000)


def test_rows_that_show_what_they_are_go_with_no_quote_that_nobody_meant(tmp_path):
    columns = {role: role for role in ("item_id", "timestamp")}
    path = write(tmp_path, f'item_id,timestamp,note\ni1,1,"a\n{lines_of("x,1,z", 60)}i2,2,a"\n')
    rows, bad, _, _ = read(path, columns)
    assert [line for line, _ in rows] == list(range(3, 64))
    assert bad == [(2, "unclosed_quote")]


@pytest.mark.parametrize(("number", "block_bytes"), [(61, 64), (61, 1 << 20), (5000, 4096)])
def test_a_record_may_have_many_lines(tmp_path, monkeypatch, block_bytes, number):
    monkeypatch.setattr(lines, "BLOCK_BYTES", block_bytes)
    title = lines_of("Fresh", number) + lines_of("ripe,red,sweet", number // 3) + 'it\'s ""good""'
    rows, bad, _, _ = read(write(tmp_path, f'item_id,title,text\r\ni1,"{title}",b\r\ni2,a,b\r\n'))
    assert bad == []
    assert [values["item_id"] for _, values in rows] == ["i1", "i2"]
    assert rows[0][1]["title"] == title.replace('""', '"')


def test_a_long_record_that_is_bad_is_one_row_shown_whole(tmp_path):
    record = f'i1,"{lines_of("Fresh", 60)}",b'
    path = write(tmp_path, f"item_id,title,text\n{record}\ni2,a,b\n")
    rows, bad, _, _ = read(path, limit=300)
    assert [values["item_id"] for _, values in rows] == ["i2"]
    assert bad == [(2, "field_too_long")]
    assert next(read_csv(str(path), COLUMNS, ",", 300)).bad[0].raw == record


def test_only_texts_that_are_read_are_measured(tmp_path):
    long = "x" * 101
    path = write(tmp_path, f"item_id,html,title,categories,embedding\ni1,{long},t,{long},{long}\ni2,,{long},,\n")
    columns = {role: role for role in ("item_id", "title", "description", "categories", "embedding")}
    (batch,) = (batch for batch in read_csv(str(path), columns, ",", 100) if batch.rows_in)
    assert batch.columns["item_id"] == ["i1"]
    (row,) = batch.bad
    assert (row.line, row.reason) == (3, "field_too_long")
    assert row.detail == "title has 101 bytes, input.max_field_bytes admits 100"


def test_a_single_column(tmp_path):
    rows, bad, blank, _ = read(write(tmp_path, "item_id\na\n\n  \nb\n"))
    assert [values["item_id"] for _, values in rows] == ["a", "b"]
    assert (bad, blank) == ([], 2)


def test_a_file_with_a_header_alone_has_no_rows(tmp_path):
    assert read(write(tmp_path, "item_id,title,text\n")) == ([], [], 0, [])


def test_lines_that_end_in_a_lone_carriage_return(tmp_path):
    (fault,) = read_csv(str(write(tmp_path, "item_id,title\ra,b\r")), {"item_id": "item_id"}, ",", 100)
    assert fault.reason == "bad_header"
    assert "carriage return" in fault.detail


def test_delimiters(tmp_path):
    rows, *_ = read(write(tmp_path, "item_id\ttitle\na\tb, c\n"), delimiter=csv_delimiter("\\t"))
    assert rows == [(2, {"item_id": "a", "title": "b, c"})]
    # A line of separators alone is a row of empty fields, whatever the separator looks like.
    rows, _, blank, _ = read(write(tmp_path, 'item_id\ttitle\n\t\n"a"\tb\n'), delimiter="\t")
    assert [values["item_id"] for _, values in rows] == ["", "a"]
    assert blank == 0
    assert csv_delimiter("auto") == ""
    for wrong in ("", ",,", '"', "\n"):
        with pytest.raises(UserError, match=r"input\.delimiter"):
            csv_delimiter(wrong)


@pytest.mark.parametrize(
    ("header", "delimiter"),
    [
        ("item_id,title", ","),
        ("item_id;title;a,b,c,d", ";"),
        ('"item_id"|"title"', "|"),
        ("item_id\ttitle\r", "\t"),
        ("item_id", ","),
        ("item_id;a,b,c", ";"),
        # Where no name is found, most fields: their names are shown.
        ("sku;name;price,net", ";"),
        ('item_id,"title', ","),
    ],
)
def test_a_header_tells_its_separator(header, delimiter):
    assert find_delimiter(header.encode(), ["item_id", "title"]) == delimiter
