"""Graded annotations, from hand-made tables to columns."""

import dataclasses
import itertools
import json
import pathlib
import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, strategies as st
from pyarrow import parquet

from preprocessing.annotations import AnnotationParser, AnnotationRows, empty_annotations, grade_pairs, split_by_trigger
from preprocessing.config import AnnotationsConfig, Columns, InputConfig, OutputConfig, PreprocessingConfig
from preprocessing.errors import UserError
from preprocessing.job import Job
from preprocessing.manifest import load_manifest
from preprocessing.mixing import pick
from preprocessing.pipeline import preprocess
from preprocessing.read import read_annotations, read_items
from preprocessing.rows import RawBatch
from preprocessing.schema import ANNOTATIONS, TableCounts
from preprocessing.sources import ANNOTATION_TABLE, find_sources
from preprocessing.table_steps import ValidRows
from tests.preprocessing.shop import PORTABLE, PROCESSES, THREADS, shop_interactions, shop_items, write_csv, write_jsonl

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = PreprocessingConfig(annotations=AnnotationsConfig(held_out=0.5))
IDS = sorted(row["item_id"] for row in shop_items())
GRADED = [
    {"trigger_id": "red1", "item_id": "red0", "grade": 0.25},
    {"trigger_id": "blue0", "item_id": "blue1", "grade": 1},
    {"trigger_id": "red1", "item_id": "blue0", "grade": 0},
    {"trigger_id": "red0", "item_id": "red1", "grade": 0.7},
    {"trigger_id": "red1", "item_id": "red0", "grade": 1.0},
    {"trigger_id": "red1", "item_id": "red0", "grade": 1.0},
]
AVERAGED = [("blue0", "blue1", 1.0), ("red0", "red1", 0.7), ("red1", "blue0", 0.0), ("red1", "red0", 0.75)]


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tables")
    return (
        [write_csv(directory / "interactions.csv", shop_interactions())],
        [write_csv(directory / "items.csv", shop_items())],
    )


@pytest.fixture(scope="module")
def plain(tables, tmp_path_factory):
    """What comes of the shop without annotations."""
    output = tmp_path_factory.mktemp("plain") / "out"
    preprocess(CONFIG, *tables, str(output))
    return output


def annotated(tables, output, *paths, config=CONFIG, beam_args=()):
    manifest = preprocess(config, *tables, str(output), beam_args, annotations=[str(path) for path in paths])
    return manifest, read_annotations(str(output))


def by_name(annotations):
    return [
        (IDS[trigger], IDS[item], pytest.approx(float(grade)))
        for trigger, item, grade in zip(annotations.trigger, annotations.item, annotations.grade, strict=True)
    ]


def write_parquet(path, rows):
    parquet.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


def contents(directory):
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("name", "write"), [("a.csv", write_csv), ("a.jsonl", write_jsonl), ("a.parquet", write_parquet)]
)
def test_every_format_gives_the_means_in_order(tables, tmp_path, name, write):
    rows = [row | {"grade": float(row["grade"])} for row in GRADED] if name.endswith("parquet") else GRADED
    manifest, annotations = annotated(tables, tmp_path / "out", write(tmp_path / name, rows))
    assert by_name(annotations) == AVERAGED
    assert annotations.trigger.dtype == annotations.item.dtype == np.int64
    assert (annotations.grade.dtype, annotations.held_out.dtype) == (np.float32, np.bool_)
    # Raters who disagree are all heard: their rows are used, and the pairs are fewer.
    assert manifest.annotations == TableCounts(6, 6, {}, {}, {})
    assert manifest.num_annotations == 4
    held_out = {name.encode() for name in ("blue0", "red0", "red1") if pick([name.encode()], 0.5, 0)[0]}
    assert [IDS[index].encode() in held_out for index in annotations.trigger] == annotations.held_out.tolist()
    # A block a shard: blue items are the first half of the catalogue, red ones the second.
    assert [file.records for file in manifest.files if file.path.startswith(f"{ANNOTATIONS}/")] == [1, 1]


def test_annotations_leave_all_other_files_alone(tables, plain, tmp_path):
    annotated(tables, tmp_path / "out", write_csv(tmp_path / "a.csv", GRADED))
    others = {path: data for path, data in contents(tmp_path / "out").items() if not path.startswith(ANNOTATIONS)}
    bare = contents(plain)
    assert others.keys() == bare.keys()
    assert [path for path, data in others.items() if data != bare[path]] == ["manifest.json"]


def test_without_annotations_there_are_none(plain):
    manifest = load_manifest(str(plain))
    assert manifest.annotations == TableCounts(0, 0, {}, {}, {})
    assert manifest.num_annotations == 0
    assert not (plain / ANNOTATIONS).exists()
    annotations = read_annotations(str(plain))
    assert len(annotations) == 0
    dtypes = [getattr(annotations, field.name).dtype for field in dataclasses.fields(annotations)]
    assert dtypes == [np.int64, np.int64, np.float32, np.bool_]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b",red1,1", "missing_trigger_id"),
        (b" ,red1,1", "missing_trigger_id"),
        (b"red0,,1", "missing_item_id"),
        (b"red0,red1,", "missing_grade"),
        (b"red0,red1", "wrong_field_count"),
        (b"red0,red1,good", "bad_grade"),
        (b"red0,red1,nan", "bad_grade"),
        (b"red0,red1,1e999", "bad_grade"),
        (b"red0,red1,1.001", "grade_out_of_range"),
        (b"red0,red1,-0.5", "grade_out_of_range"),
        (b"red0,red1,4", "grade_out_of_range"),
        (b"green0,red1,1", "unknown_trigger"),
        (b"red0,green1,1", "unknown_item"),
        (b"green0,green1,7", "unknown_trigger"),
        (b"red1,red1,1", "trigger_is_item"),
        (b"red1, red1 ,0", "trigger_is_item"),
        (b"red1,red1,x", "bad_grade"),
        (b"re\0d0,red1,1", "nul_byte"),
        (b"red0,r\xe9d1,1", "bad_encoding"),
        (b"red\x070,red1,1", "control_character"),
        (b"red0," + b"x" * 600 + b",1", "field_too_long"),
        (b'"red\n0",red1,1', "unclosed_quote"),
    ],
)
def test_reasons(tmp_path, row, reason):
    """One broken row each, through reader and parser alone."""
    (tmp_path / "a.csv").write_bytes(b"trigger_id,item_id,grade\nred0,red1,1\n" + row + b"\nblue0,blue1,0.5\n")
    (source,) = find_sources(ANNOTATION_TABLE, [str(tmp_path / "a.csv")], CONFIG.input)
    parser = AnnotationParser({name: index for index, name in enumerate(IDS)})
    valid = ValidRows(Job(CONFIG, str(tmp_path), str(tmp_path), 1), source, parser.parse)
    parts = [part for chunk in valid.chunks(10) for part in chunk]
    first = json.loads((tmp_path / "dead_letters/annotations-00000.jsonl").read_text().splitlines()[0])
    assert (first["table"], first["line"], first["reason"]) == ("annotations", 3, reason)
    assert first["raw"] == row.split(b"\n")[0].decode("utf-8", "backslashreplace")
    assert first["detail"]
    assert sum(map(len, parts)) == valid.account.good == 2


def test_broken_rows_are_all_accounted_for(tables, tmp_path):
    broken = {
        ("", "red1", 1): "missing_trigger_id",
        ("red0", "", 1): "missing_item_id",
        ("red0", "red1", ""): "missing_grade",
        ("red0", "red1", "high"): "bad_grade",
        ("red0", "red1", 5): "grade_out_of_range",
        ("green0", "red1", 1): "unknown_trigger",
        ("red0", "green0", 1): "unknown_item",
        ("red0", "red0", 1): "trigger_is_item",
    }
    lines = [",".join(map(str, row)) for row in broken]
    good = [",".join(map(str, row.values())) for row in GRADED]
    text = "\n".join(["trigger_id,item_id,grade", *itertools.chain(*zip(lines, good * 2, strict=False)), "", ""])
    (tmp_path / "a.csv").write_text(text)
    (tmp_path / "b.csv").write_text("")
    config = dataclasses.replace(CONFIG, input=InputConfig(max_bad_share=0.5))
    manifest, annotations = annotated(tables, tmp_path / "out", tmp_path / "[ab].csv", config=config)
    assert manifest.annotations == TableCounts(
        17, 8, dict.fromkeys(sorted(broken.values()), 1), {"blank_line": 1}, {"empty_file": 1}
    )
    letters = (tmp_path / "out/dead_letters/annotations-00000.jsonl").read_text().splitlines()
    assert [(row["raw"], row["reason"]) for row in map(json.loads, letters)] == list(
        zip(lines, broken.values(), strict=True)
    )
    assert len(annotations) == manifest.num_annotations == 4
    with pytest.raises(UserError) as caught:
        annotated(tables, tmp_path / "other", tmp_path / "a.csv")
    message = str(caught.value)
    assert "8 of 17 rows of annotations are bad (47.1%, at most 5.0% are accepted)" in message
    assert f"bad_grade 1 (first: {tmp_path}/a.csv:8)" in message
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["dead_letters"]


def test_typed_values(tables, tmp_path):
    """Ids that are numbers, and grades that are none, in formats with types."""
    log = [row | {"item_id": IDS.index(row["item_id"]) + 10} for row in shop_interactions()]
    items = [row | {"item_id": IDS.index(row["item_id"]) + 10} for row in shop_items()]
    log, items = write_csv(tmp_path / "log.csv", log), write_csv(tmp_path / "items.csv", items)
    rows = [{"trigger_id": 10, "item_id": 11, "grade": 1}, {"trigger_id": 11.0, "item_id": "12", "grade": "0.5"}]
    bad = [
        ({"grade": True}, "wrong_type"),
        ({"grade": None}, "missing_grade"),
        ({"grade": [1]}, "wrong_type"),
        ({"trigger_id": {"a": 1}}, "wrong_type"),
        ({"trigger_id": None}, "missing_trigger_id"),
    ]
    path = write_jsonl(tmp_path / "a.jsonl", [*rows, *(rows[0] | change for change, _ in bad)])
    frame = [
        {"trigger_id": 12.0, "item_id": 13, "grade": 0.5},
        {"trigger_id": 12.0, "item_id": 14, "grade": float("nan")},
    ]
    table = write_parquet(tmp_path / "b.parquet", frame)
    config = dataclasses.replace(CONFIG, input=InputConfig(max_bad_share=0.9))
    manifest, annotations = annotated(([log], [items]), tmp_path / "out", path, table, config=config)
    assert list(zip(annotations.trigger, annotations.item, annotations.grade, strict=True)) == [
        (0, 1, 1.0), (1, 2, 0.5), (2, 3, 0.5)
    ]  # fmt: skip
    letters = (tmp_path / "out/dead_letters/annotations-00000.jsonl").read_text().splitlines()
    assert [json.loads(line)["reason"] for line in letters] == [reason for _, reason in bad]
    assert manifest.annotations.dead_letters["bad_grade"] == 1


def random_grades(number):
    rng = random.Random(0)
    pairs = [pair for pair in itertools.product(IDS, IDS) if pair[0] != pair[1]]
    return [{"trigger_id": a, "item_id": b, "grade": round(rng.random(), 3)} for a, b in rng.choices(pairs, k=number)]


@pytest.mark.parametrize(
    "beam_args",
    [THREADS, PORTABLE, pytest.param(PROCESSES, marks=pytest.mark.slow)],
    ids=["threads", "portable", "processes"],
)
def test_neither_order_nor_files_nor_runner_matter(tables, tmp_path, monkeypatch, beam_args):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    rows = random_grades(500)
    annotated(tables, tmp_path / "whole", write_csv(tmp_path / "whole.csv", rows))
    random.Random(1).shuffle(rows)
    for i in range(3):
        write_csv(tmp_path / f"part{i}.csv", rows[i::3])
    annotated(tables, tmp_path / "parts", tmp_path / "part*.csv", beam_args=beam_args)
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


@pytest.mark.parametrize("shards", [1, 5, 40])
def test_the_number_of_shards_leaves_the_columns_alone(tables, tmp_path, shards):
    rows = random_grades(300)
    config = dataclasses.replace(CONFIG, output=OutputConfig(shards=shards))
    manifest, annotations = annotated(tables, tmp_path / "out", write_csv(tmp_path / "a.csv", rows), config=config)
    assert sum(file.path.startswith(f"{ANNOTATIONS}/") for file in manifest.files) == shards
    expected = {}
    for row in rows:
        expected.setdefault((row["trigger_id"], row["item_id"]), []).append(row["grade"])
    assert by_name(annotations) == [(*pair, np.mean(grades)) for pair, grades in sorted(expected.items())]
    held_out = dict(zip(IDS, pick([name.encode() for name in IDS], 0.5, 0), strict=True))
    assert annotations.held_out.tolist() == [bool(held_out[IDS[index]]) for index in annotations.trigger]
    assert 0 < annotations.held_out.sum() < len(annotations)


@pytest.mark.parametrize(("share", "held_out"), [(0.0, 0), (1.0, 4)])
def test_all_or_none_held_out(tables, tmp_path, share, held_out):
    config = dataclasses.replace(CONFIG, annotations=AnnotationsConfig(held_out=share))
    _, annotations = annotated(tables, tmp_path / "out", write_csv(tmp_path / "a.csv", GRADED), config=config)
    assert annotations.held_out.sum() == held_out


def test_columns_can_have_other_names(tables, tmp_path):
    names = {"trigger_id": "query", "item_id": "item_id", "grade": "label"}
    rows = [{names[name]: value for name, value in row.items()} for row in GRADED]
    path = write_csv(tmp_path / "a.csv", rows)
    with pytest.raises(UserError, match=r"a\.csv has no column 'trigger_id'.*--set '?input\.columns\.trigger_id="):
        annotated(tables, tmp_path / "out", path)
    columns = Columns(trigger_id="query", grade="label")
    config = dataclasses.replace(CONFIG, input=InputConfig(columns=columns))
    _, annotations = annotated(tables, tmp_path / "out", path, config=config)
    assert by_name(annotations) == AVERAGED
    same = dataclasses.replace(CONFIG, input=InputConfig(columns=Columns(trigger_id="item_id")))
    with pytest.raises(UserError, match="both name the column 'item_id'"):
        annotated(tables, tmp_path / "out", path, config=same)


def test_mistakes(tables, tmp_path):
    with pytest.raises(UserError, match="annotations: no file matches"):
        annotated(tables, tmp_path / "out", tmp_path / "none*.csv")
    (tmp_path / "header.csv").write_text("trigger_id,item_id,grade\n")
    with pytest.raises(UserError, match="the annotations have no rows"):
        annotated(tables, tmp_path / "out", tmp_path / "header.csv")
    config = dataclasses.replace(CONFIG, annotations=AnnotationsConfig(held_out=1.5))
    with pytest.raises(UserError, match=r"annotations\.held_out is 1\.5"):
        annotated(tables, tmp_path / "out", write_csv(tmp_path / "a.csv", GRADED), config=config)


def test_a_mistake_in_the_items_is_told_first(tables, tmp_path):
    items = write_csv(tmp_path / "items.csv", [{"item_id": "", "title": "x"}])
    with pytest.raises(UserError, match="rows of items are bad"):
        annotated((tables[0], [items]), tmp_path / "out", write_csv(tmp_path / "a.csv", GRADED))


PAIRS = st.tuples(st.integers(0, 5), st.integers(0, 5), st.sampled_from([0.0, 0.1, 0.5, 1.0]))


@given(st.lists(PAIRS.filter(lambda row: row[0] != row[1])), st.randoms(use_true_random=False))
def test_means_do_not_depend_on_the_order(rows, rng):
    def grade(listed):
        columns = list(zip(*listed, strict=True)) or [(), (), ()]
        table = AnnotationRows(*(np.array(c, t) for c, t in zip(columns, (np.int32, np.int32, float), strict=True)))
        return grade_pairs(table, IDS, 0.5, 1)

    one = grade(rows)
    other = grade(rng.sample(rows, len(rows)))
    for field in dataclasses.fields(one):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))
    assert list(zip(one.trigger, one.item, strict=True)) == sorted({row[:2] for row in rows})
    assert ((one.grade >= 0) & (one.grade <= 1)).all()


def test_shards_of_triggers_follow_the_bounds():
    triggers = np.array([3, 0, 9, 5, 4], np.int32)
    rows = AnnotationRows(triggers, triggers + 1, np.arange(5) / 4)
    parts = split_by_trigger(rows, Job(CONFIG, "", "", 3).item_bounds(10))
    assert [(shard, part.trigger.tolist(), part.grade.tolist()) for shard, part in parts] == [
        (0, [0], [0.25]),
        (1, [3, 5, 4], [0.0, 0.75, 1.0]),
        (2, [9], [0.5]),
    ]
    # More shards than items: some are empty, none is named for an item that is not in it.
    for number in range(1, 8):
        bounds = Job(CONFIG, "", "", 5).item_bounds(number)
        every = np.arange(number, dtype=np.int32)
        for shard, part in split_by_trigger(AnnotationRows(every, every, every * 0.0), bounds):
            assert all(bounds[shard] <= index < bounds[shard + 1] for index in part.trigger)
    assert split_by_trigger(empty_annotations(), [0, 1]) == []


def test_an_empty_batch():
    batch = RawBatch(np.zeros(0, np.int64), {}, lambda i: "", [], 2)
    valid = AnnotationParser({}).parse(batch, 0)
    assert (len(valid.rows), valid.bad, valid.dropped, valid.rows_in) == (0, [], {"blank_line": 2}, 2)


def test_a_long_table_comes_in_blocks(tables, tmp_path, monkeypatch):
    monkeypatch.setattr("preprocessing.write.BLOCK_PAIRS", 10)
    config = dataclasses.replace(CONFIG, output=OutputConfig(shards=1))
    rows = [{"trigger_id": a, "item_id": b, "grade": 1} for a in IDS[:5] for b in IDS if a != b]
    manifest, annotations = annotated(tables, tmp_path / "out", write_csv(tmp_path / "a.csv", rows), config=config)
    assert [file.records for file in manifest.files if file.path.startswith(ANNOTATIONS)] == [6]
    assert len(annotations) == manifest.num_annotations == 55
    assert read_items(str(tmp_path / "out")).ids == IDS
