"""Files of items: what is read of them, and what is kept."""

import gzip
import json
import pickle
import random
import tracemalloc

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from preprocessing.catalogue import Item
from preprocessing.config import InputConfig, PreprocessingConfig, TeacherConfig
from preprocessing.item_files import gather_items, read_item_file
from preprocessing.sources import find_sources

DIMENSION = 768
ROWS = 300


def read(path, kind="lsa"):
    config = PreprocessingConfig(input=InputConfig(max_bad_share=1), teacher=TeacherConfig(kind=kind))
    (source,) = find_sources("items", [str(path)], config.input)
    return read_item_file(source, config), config


def write_vectors(path, vectors):
    ids = [str(i) for i in range(len(vectors))]
    parquet.write_table(pa.table({"item_id": ids, "title": ids, "embedding": vectors}), path)


@pytest.fixture
def numbers():
    return np.random.default_rng(0).normal(size=(ROWS, DIMENSION)).astype(np.float32)


@pytest.mark.parametrize(("kind", "copies"), [("lsa", 0.5), ("column", 3)])
def test_memory_is_a_few_times_that_of_the_vectors_and_little_where_nobody_wants_them(tmp_path, numbers, kind, copies):
    write_vectors(tmp_path / "items.parquet", pa.array(list(numbers)))
    read(tmp_path / "items.parquet", kind)
    tracemalloc.start()
    try:
        file, _ = read(tmp_path / "items.parquet", kind)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(file.rows) == ROWS
    assert peak < copies * numbers.nbytes


@pytest.mark.parametrize(
    "array",
    [
        lambda numbers: pa.array(list(numbers)),
        lambda numbers: pa.array(list(numbers.astype(np.float64))),
        lambda numbers: pa.array(list(numbers), pa.large_list(pa.float32())),
        lambda numbers: pa.array(list(numbers), pa.list_(pa.float32(), DIMENSION)),
        lambda numbers: pa.array([" ".join(map(repr, row.tolist())) for row in numbers]),
    ],
)
def test_vectors_of_every_type_are_the_numbers_that_the_file_holds(tmp_path, numbers, array):
    write_vectors(tmp_path / "items.parquet", array(numbers[:9]))
    file, _ = read(tmp_path / "items.parquet", "column")
    found = np.stack([row.item.embedding for row in file.rows])
    assert found.dtype == np.float32
    assert np.array_equal(found, numbers[:9])


def test_vectors_of_which_something_is_missing_or_no_number(tmp_path):
    rows = [[1.0, 2.0], None, [1.0, None], [1.0, float("inf")], [], [3.0, 4.0]]
    write_vectors(tmp_path / "items.parquet", pa.array(rows, pa.list_(pa.float32())))
    file, _ = read(tmp_path / "items.parquet", "column")
    assert [row.item.embedding is not None for row in file.rows] == [True, False, True]
    assert [(row.line, row.reason) for row in file.bad] == [(line, "bad_embedding") for line in (3, 4, 5)]
    assert [json.loads(row.raw)["embedding"] for row in file.bad][2] == []
    write_vectors(tmp_path / "items.parquet", pa.array([[True], [False]]))
    file, _ = read(tmp_path / "items.parquet", "column")
    assert [row.reason for row in file.bad] == ["bad_embedding"] * 2


def test_a_row_that_has_to_give_way_is_shown_as_it_stands_in_the_file(tmp_path):
    lines = ["item_id,title", "a,first", "b,other", 'a,"second, too"']
    (tmp_path / "items.csv").write_text("\n".join(lines))
    file, config = read(tmp_path / "items.csv")
    items, account = gather_items([file], config, str(tmp_path / "out"), str(tmp_path / "out"))
    assert [item.title for item in items] == ["first", "other"]
    (letter,) = map(json.loads, (tmp_path / "out" / account.files[0].path).read_text().splitlines())
    assert (letter["line"], letter["reason"], letter["raw"]) == (4, "duplicate_item", lines[3])


def test_items_on_their_way_to_the_catalogue_are_packed(tmp_path):
    """One worker holds all of them: as objects they took 1,200 bytes each."""
    rows = [f"i{i},word{i % 977} and word{i % 89},area{i % 7}|topic{i % 50}" for i in range(5_000)]
    (tmp_path / "items.csv").write_text("\n".join(["item_id,title,categories", *rows]))
    file, config = read(tmp_path / "items.csv")
    sent = pickle.dumps(file)
    tracemalloc.start()
    try:
        items, _ = gather_items([pickle.loads(sent)], config, str(tmp_path / "out"), str(tmp_path / "out"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 600 * len(rows)
    assert items.ids == sorted(f"i{i}" for i in range(5_000))
    assert items[1] == Item("i1", "word1 and word1", "", ("area1", "topic1"), None)
    assert items[1:2] == [items[1]]


def test_numbers_as_categories_are_the_same_in_every_format(tmp_path):
    (tmp_path / "a.csv").write_text("item_id,categories\n1,5\n2,\n")
    (tmp_path / "b.jsonl").write_text('{"item_id": 1, "categories": 5}\n{"item_id": 2}\n')
    parquet.write_table(pa.table({"item_id": [1, 2], "categories": [5.0, float("nan")]}), tmp_path / "c.parquet")
    for path in sorted(tmp_path.iterdir()):
        file, _ = read(path)
        assert [row.item.categories for row in file.rows] == [("5",), ()]


def test_a_file_that_breaks_off_is_told_in_the_log(tmp_path, caplog):
    rng = random.Random(0)
    rows = [f"i{i},{rng.getrandbits(60):x}" for i in range(5000)]
    packed = gzip.compress("\n".join(["item_id,title", *rows]).encode())
    (tmp_path / "items.csv.gz").write_bytes(packed[: len(packed) // 2])
    file, config = read(tmp_path / "items.csv.gz")
    gather_items([file], config, str(tmp_path / "out"), str(tmp_path / "out"))
    assert 0 < len(file.rows) < 5000
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert f"{tmp_path}/items.csv.gz: truncated_gzip" in record.getMessage()
