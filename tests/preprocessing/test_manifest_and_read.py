import dataclasses
import json
import shutil

import pytest

from preprocessing.config import PreprocessingConfig
from preprocessing.errors import UserError
from preprocessing.manifest import from_json, load_manifest, save_manifest, to_json
from preprocessing.pipeline import preprocess
from preprocessing.read import read_annotations, read_items, read_pairs, read_triggers
from preprocessing.schema import FILE_STEMS, VALIDATION, Manifest, OutputFile, TableCounts
from tests.preprocessing.shop import shop_interactions, shop_items, write_csv

COUNTS = TableCounts(3, 1, {"nul_byte": 1}, {"repeat": 1}, {})
MANIFEST = Manifest(
    4,
    COUNTS,
    COUNTS,
    COUNTS,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    7.5,
    8.5,
    (OutputFile("items/a", 1, "00", 1),),
    {"seed": 0, "pairs": {"window": 5}},
)


def test_round_trip(tmp_path):
    save_manifest(MANIFEST, str(tmp_path))
    assert load_manifest(str(tmp_path)) == MANIFEST
    assert from_json(to_json(MANIFEST)) == MANIFEST


@pytest.mark.parametrize(
    "change",
    [
        {"layout_version": 3},
        {"num_items": -1},
        {"num_items": True},
        {"num_items": "1"},
        {"items": {}},
        {"annotations": {}},
        {"annotations": None},
        {"num_annotations": -1},
        {"files": {}},
        {"files": [{"path": "a"}]},
        {"split_time": None},
        {"validation_time": "0"},
        {"num_validation_triggers": 1.0},
        {"config": []},
        {"more": 1},
    ],
)
def test_what_is_no_manifest(tmp_path, change):
    fields = json.loads(to_json(MANIFEST)) | change
    (tmp_path / "manifest.json").write_text(json.dumps(fields))
    with pytest.raises(UserError, match=r"manifest\.json is not a usable manifest"):
        load_manifest(str(tmp_path))


@pytest.mark.parametrize("text", ["", "[]", "{", "\xff"])
def test_damaged_manifest(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=r"manifest\.json is not a usable manifest"):
        load_manifest(str(tmp_path))


def test_missing_manifest(tmp_path):
    with pytest.raises(UserError, match="holds no finished preprocessing"):
        load_manifest(str(tmp_path))


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    directory = tmp_path_factory.mktemp("read")
    log = write_csv(directory / "interactions.csv", shop_interactions())
    items = write_csv(directory / "items.csv", shop_items())
    rows = [{"trigger_id": a, "item_id": b, "grade": 1} for a, b in (("red0", "red1"), ("blue0", "blue1"))]
    grades = write_csv(directory / "annotations.csv", rows)
    preprocess(PreprocessingConfig(), [log], [items], str(directory / "out"), annotations=[grades])
    return directory / "out"


@pytest.mark.parametrize(
    ("kind", "read"),
    [
        ("items", read_items),
        ("pairs", lambda directory: list(read_pairs(directory))),
        ("validation", lambda directory: read_triggers(directory, VALIDATION)),
        ("eval", read_triggers),
        ("annotations", read_annotations),
    ],
)
@pytest.mark.parametrize("damage", ["cut", "lost", "swapped"])
def test_damage_is_named(tmp_path, output, kind, read, damage):
    copy = tmp_path / "copy"
    shutil.copytree(output, copy)
    first, second = sorted((copy / kind).iterdir())
    if damage == "cut":
        second.write_bytes(second.read_bytes()[:-9])
    elif damage == "lost":
        second.unlink()
    else:
        other = copy / ("pairs" if kind == "items" else "items")
        second.write_bytes(sorted(other.iterdir())[0].read_bytes())
    with pytest.raises(UserError, match=rf"{second.name}|{first.name}"):
        read(str(copy))


@pytest.mark.parametrize(
    ("kind", "read", "count"),
    [
        ("items", read_items, "num_items"),
        ("pairs", lambda directory: list(read_pairs(directory)), "num_pairs"),
        ("validation", lambda directory: read_triggers(directory, VALIDATION), "num_validation_triggers"),
        ("eval", read_triggers, "num_triggers"),
        ("annotations", read_annotations, "num_annotations"),
    ],
)
def test_a_list_of_files_that_is_not_whole_is_noticed(tmp_path, output, kind, read, count):
    copy = str(shutil.copytree(output, tmp_path / "copy"))
    manifest = load_manifest(copy)
    fewer = tuple(file for file in manifest.files if not file.path.startswith(f"{kind}/{FILE_STEMS[kind]}-00001"))
    assert len(fewer) == len(manifest.files) - 1
    for change in ({"files": fewer}, {count: 10**13}):
        save_manifest(dataclasses.replace(manifest, **change), copy)
        with pytest.raises(UserError, match="its manifest says"):
            read(copy)


def test_fields_of_the_manifest_are_all_checked():
    assert {field.name for field in dataclasses.fields(Manifest)} == set(json.loads(to_json(MANIFEST)))
