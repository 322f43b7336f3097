"""The whole preprocessing on a small shop."""

import collections
import dataclasses
import gzip
import hashlib
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from preprocessing.config import (
    Columns,
    InputConfig,
    OutputConfig,
    PairsConfig,
    PreprocessingConfig,
    SplitConfig,
    TeacherConfig,
)
from preprocessing.errors import UserError
from preprocessing.manifest import load_manifest
from preprocessing.mixing import pick
from preprocessing.pipeline import preprocess
from preprocessing.read import read_items, read_pairs, read_triggers
from preprocessing.schema import EVAL, VALIDATION, Manifest
from tests.preprocessing.shop import (
    AISLES,
    PORTABLE,
    PROCESSES,
    THREADS,
    shop_interactions,
    shop_items,
    write_csv,
    write_jsonl,
)

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = PreprocessingConfig()


@dataclasses.dataclass(frozen=True)
class Shop:
    """The shop's input, and what came of it by default."""

    interactions: str
    items: str
    output: pathlib.Path
    manifest: Manifest


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    directory = tmp_path_factory.mktemp("shop")
    interactions = write_csv(directory / "interactions.csv", shop_interactions())
    items = write_csv(directory / "items.csv", shop_items())
    manifest = preprocess(CONFIG, [interactions], [items], str(directory / "out"))
    return Shop(interactions, items, directory / "out", manifest)


def contents(directory):
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def dead_letters(directory):
    return [
        json.loads(line)
        for path in sorted(directory.glob("dead_letters/*-*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]


def balanced(table):
    return table.rows_in == table.rows_used + sum(table.dead_letters.values()) + sum(table.dropped.values())


def test_the_shop(shop):
    output, manifest = shop.output, shop.manifest
    assert manifest == load_manifest(str(output))
    assert balanced(manifest.interactions)
    assert (manifest.interactions.rows_in, manifest.interactions.rows_used) == (200, 200)
    assert (manifest.num_items, manifest.num_users, manifest.split_time) == (12, 40, 4020.0)
    assert {str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()} == {
        file.path for file in manifest.files
    } | {"manifest.json"}
    for file in manifest.files:
        data = (output / file.path).read_bytes()
        assert (file.bytes, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())

    items = read_items(str(output))
    assert items.ids == sorted(row["item_id"] for row in shop_items())
    assert items.categories[0] == ("blue", "things")
    norms = np.linalg.norm(items.content_vectors, axis=1)
    assert norms == pytest.approx(np.ones(12), abs=1e-5)
    blue, red = items.content_vectors[:6], items.content_vectors[6:]
    assert (blue @ blue.T).mean() > (blue @ red.T).mean() + 0.2

    # Rows before the split: four of each user, five of the twenty that are early in the last step. From the third of
    # those on, a fifth row is held out for validation, and the four before it lose a pair each.
    held_out = 18
    assert manifest.validation_time == 4002.0
    assert manifest.num_validation_triggers == held_out
    pairs = collections.Counter()
    targets = np.zeros(12, np.int64)
    for block in read_pairs(str(output)):
        np.add.at(targets, block.target, 1)
        trigger = np.repeat(block.trigger, block.targets_of_trigger)
        pairs.update(zip(trigger.tolist(), block.target.tolist(), strict=True))
        place = np.concatenate([np.arange(number) for number in block.targets_of_trigger])
        assert block.weight == pytest.approx(0.9**place)
    assert sum(pairs.values()) == manifest.num_pairs == 20 * 6 + 20 * 10 - 4 * held_out
    assert all(items.ids[a][:-1] == items.ids[b][:-1] for a, b in pairs)
    assert (items.target_count == targets).all()
    assert items.interaction_count.sum() == 180
    # Of 162 rows the place of a tenth's begin is 145, of 180 it is 162, of 200 it is 180; a time is one row.
    assert items.recent_count.sum(axis=0).tolist() == [17, 18, 20]
    assert (items.recent_count <= np.stack([items.interaction_count] * 3, axis=1)).sum() > 30

    for part, number in ((VALIDATION, held_out), (EVAL, 20)):
        triggers = read_triggers(str(output), part)
        assert len(triggers) == number
        assert (np.diff(triggers.row_splits) == 1).all()
        for trigger, target in zip(triggers.trigger, triggers.target, strict=True):
            one, two = items.ids[trigger], items.ids[target]
            assert one[:-1] == two[:-1]
            assert (int(one[-1]) + 1) % 6 == int(two[-1])
    assert manifest.num_triggers == 20
    assert set(AISLES) == {items.ids[trigger][:-1] for trigger in triggers.trigger}


@pytest.mark.parametrize("shards", [1, 3])
def test_a_user_has_one_number_in_the_whole_output(tmp_path, shop, shards):
    """Every user has an item of their own, so that the triggers tell whose number it is."""
    private = [{"user_id": f"u{user}", "item_id": f"mine{user}", "timestamp": 1 + user} for user in range(40)]
    log = write_csv(tmp_path / "log.csv", [*private, *shop_interactions()])
    items = write_csv(
        tmp_path / "items.csv",
        [*shop_items(), *({**shop_items()[0], "item_id": row["item_id"]} for row in private)],
    )
    config = dataclasses.replace(
        CONFIG, output=OutputConfig(shards=shards), split=SplitConfig(validation_users=0.5, validation_quantile=0.75)
    )
    output = str(tmp_path / "out")
    manifest = preprocess(config, [log], [items], output)
    ids = read_items(output).ids
    owner = {}
    aisles = collections.defaultdict(set)
    for block in read_pairs(output):
        for item, user in zip(block.trigger, block.user, strict=True):
            if ids[item].startswith("mine"):
                owner[int(user)] = int(ids[item][4:])
            else:
                aisles[int(user)].add(ids[item][:-1])
    assert sorted(owner.values()) == list(range(40)), "two users share a number"
    assert max(owner) < manifest.num_users * shards
    validation, evaluation = read_triggers(output, VALIDATION), read_triggers(output)
    assert set(owner) >= set(evaluation.user)
    chosen = {int(user) for user in validation.user}
    names = [f"u{owner[user]}".encode() for user in chosen]
    assert pick(names, 0.5, 0).all()
    assert 8 < len(chosen) < 32
    for triggers in (validation, evaluation):
        for item, user in zip(triggers.trigger, triggers.user, strict=True):
            assert ids[item] in (f"mine{owner[user]}", *(f"{AISLES[owner[user] % 2]}{i}" for i in range(6)))
    assert all(found == {AISLES[owner[user] % 2]} for user, found in aisles.items())


def test_without_validation_users_all_rows_before_the_split_train(tmp_path, shop):
    config = dataclasses.replace(CONFIG, split=SplitConfig(validation_users=0))
    manifest = preprocess(config, [shop.interactions], [shop.items], str(tmp_path / "out"))
    assert (manifest.num_validation_triggers, manifest.num_pairs) == (0, 20 * 6 + 20 * 10)
    assert len(read_triggers(str(tmp_path / "out"), VALIDATION)) == 0
    assert manifest.num_triggers == shop.manifest.num_triggers


def test_another_seed_holds_out_other_users_and_leaves_the_evaluation_alone(tmp_path, shop):
    half = dataclasses.replace(CONFIG, split=SplitConfig(validation_users=0.5))
    one, other = (
        preprocess(dataclasses.replace(half, seed=seed), [shop.interactions], [shop.items], str(tmp_path / f"{seed}"))
        for seed in (0, 3)
    )
    assert 0 < one.num_validation_triggers < shop.manifest.num_validation_triggers

    def hashes(of, kind):
        return [file.sha256 for file in of.files if file.path.startswith(f"{kind}/")]

    assert hashes(one, VALIDATION) != hashes(other, VALIDATION)
    assert hashes(one, EVAL) == hashes(other, EVAL)


@pytest.mark.parametrize(
    "beam_args",
    [THREADS, PORTABLE, pytest.param(PROCESSES, marks=pytest.mark.slow)],
    ids=["threads", "portable", "processes"],
)
def test_every_runner_gives_the_same_bytes_and_replaces_an_earlier_output(tmp_path, shop, monkeypatch, beam_args):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    shutil.copytree(shop.output, tmp_path / "out")
    (tmp_path / "out/pairs/left-over").touch()
    preprocess(CONFIG, [shop.interactions], [shop.items], str(tmp_path / "out"), beam_args)
    assert contents(tmp_path / "out") == contents(shop.output)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_parts_of_a_second_do_not_move_the_split(tmp_path, shop):
    rows = [{**row, "timestamp": f"{row['timestamp']}.{i % 7}25"} for i, row in enumerate(shop_interactions())]
    log = write_csv(tmp_path / "log.csv", rows)
    manifest = preprocess(CONFIG, [log], [shop.items], str(tmp_path / "out"))
    assert (manifest.validation_time, manifest.split_time) == (4002.0, 4020.0)
    assert manifest.num_pairs == shop.manifest.num_pairs
    ours, theirs = (read_items(str(output)) for output in (tmp_path / "out", shop.output))
    assert np.array_equal(ours.recent_count, theirs.recent_count)


def test_the_order_of_rows_and_files_does_not_matter(tmp_path, shop):
    """Times are distinct, so that nothing but the position in the input is left to depend on it."""
    rows = shop_interactions()
    random.Random(0).shuffle(rows)
    for i in range(3):
        write_csv(tmp_path / f"part{i}.csv", rows[i::3])
    manifest = preprocess(CONFIG, [str(tmp_path / "part*.csv")], [shop.items], str(tmp_path / "out"))
    assert manifest.files == shop.manifest.files


@pytest.mark.parametrize(("log_format", "item_format"), [("jsonl", "parquet"), ("parquet", "jsonl")])
def test_formats_give_the_same(tmp_path, shop, log_format, item_format):
    rows = [{**row, "categories": row["categories"].split("|")} for row in shop_items()]
    for name, kind, table in (("log", log_format, shop_interactions()), ("items", item_format, rows)):
        path = tmp_path / f"{name}.{kind}"
        if kind == "jsonl":
            write_jsonl(path, table)
        else:
            parquet.write_table(pa.Table.from_pylist(table), path)
    manifest = preprocess(CONFIG, [f"{tmp_path}/log.*"], [f"{tmp_path}/items.*"], str(tmp_path / "out"))
    assert manifest.files == shop.manifest.files


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_columns_that_no_rule_reads_may_hold_anything(tmp_path, shop, kind):
    rows = [{**row, "event": {"type": "click"}, "value": True} for row in shop_interactions()]
    path = tmp_path / f"log.{kind}"
    if kind == "jsonl":
        write_jsonl(path, rows)
    else:
        parquet.write_table(pa.Table.from_pylist(rows), path)
    manifest = preprocess(CONFIG, [str(path)], [shop.items], str(tmp_path / "out"))
    assert manifest.files == shop.manifest.files
    config = dataclasses.replace(CONFIG, input=InputConfig(events=("click",)))
    with pytest.raises(UserError, match=r"wrong_type 200 \(first: .*\): event is an object"):
        preprocess(config, [str(path)], [shop.items], str(tmp_path / "out"))


def test_keys_of_json_lines_may_come_late(tmp_path, shop, caplog):
    """All but the required ones: a row leaves out what it has no value for."""
    rows = [row | ({"event": "buy", "visit": "v"} if i >= 105 else {}) for i, row in enumerate(shop_interactions())]
    log = write_jsonl(tmp_path / "log.jsonl", rows)
    renamed = InputConfig(events=("buy",), columns=Columns(session_id="visit"))
    config = dataclasses.replace(CONFIG, input=renamed)
    manifest = preprocess(config, [log], [shop.items], str(tmp_path / "out"))
    assert manifest.interactions.dropped["event_filter"] == 105
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 2
    assert "log.jsonl has no column 'event' in its first 100 lines" in warnings[0]
    assert "input.columns.session_id is 'visit', but no interactions file has that column in its first" in warnings[1]
    log = write_jsonl(tmp_path / "other.jsonl", [{"user_id": "u", "event": "buy", "item_id": "red1"}] * 200)
    with pytest.raises(UserError, match="no column 'timestamp' in its first 100 lines"):
        preprocess(config, [log], [shop.items], str(tmp_path / "out"))


def test_broken_rows_of_ten_kinds_are_all_accounted_for(tmp_path):
    good = [",".join(map(str, row.values())) for row in shop_interactions()]
    broken = [
        (b",red1,100", "missing_user_id"),
        (b"u1,,100", "missing_item_id"),
        (b"u1,red1,", "missing_timestamp"),
        (b"u1,red1", "wrong_field_count"),
        (b"u1,red1,yesterday", "bad_timestamp"),
        (b"u1,red1,-5", "negative_timestamp"),
        (b"u1,red1,1500000000000", "timestamp_in_milliseconds"),
        (b"u1,re\0d1,100", "nul_byte"),
        (b"u1,r\xe9d1,100", "bad_encoding"),
        (b"u1,green1,100", "unknown_item"),
        (b"u1," + b"x" * 70_000 + b",100", "field_too_long"),
        (b"u1," + b"x" * 600 + b",100", "field_too_long"),
        (b"u1," + b"x" * 2_000_000 + b",100", "line_too_long"),
        (b'u1,"red1,100', "unclosed_quote"),
        (b'u1,"red1"x,100', "bad_quoting"),
        (b"u\x071,red1,100", "control_character"),
    ]
    lines = [b"user_id,item_id,timestamp"]
    expected = []
    for i, row in enumerate(good):
        lines.append(row.encode())
        if i % 12 == 0 and i // 12 < len(broken):
            lines.append(broken[i // 12][0])
            expected.append((len(lines), broken[i // 12][1]))
    assert len(expected) == len(broken)
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + b"\r\n".join([*lines, b"", b"  "]))
    packed = gzip.compress(
        "\n".join(["user_id,item_id,timestamp", *(f"u{i},red{i % 6},{i // 10}" for i in range(9999))]).encode()
    )
    (tmp_path / "b.csv.gz").write_bytes(packed[: len(packed) * 3 // 4])
    (tmp_path / "c.csv").write_bytes(b"")
    items = write_csv(tmp_path / "items.csv", [*shop_items(), {**shop_items()[0], "title": "again"}])

    output = tmp_path / "out"
    config = dataclasses.replace(CONFIG, input=InputConfig(max_bad_share=0.1))
    manifest = preprocess(config, [f"{tmp_path}/[abc].csv*"], [items], str(output))
    assert balanced(manifest.interactions)
    assert balanced(manifest.items)
    letters = [row for row in dead_letters(output) if row["table"] == "interactions"]
    in_first = [row for row in letters if row["file"].endswith("a.csv")]
    assert [(row["line"], row["reason"]) for row in in_first] == expected
    for row, (raw, reason) in zip(in_first, broken, strict=True):
        if reason == "line_too_long":
            assert row["raw"].startswith("u1,xxx")
            assert len(row["raw"]) < 5000
        else:
            assert row["raw"] == raw.decode("utf-8", "backslashreplace")
    (cut,) = [row for row in letters if row["file"].endswith("b.csv.gz")]
    assert cut["reason"] == "truncated_gzip"
    assert manifest.interactions.dropped["blank_line"] == 2
    assert manifest.interactions.bad_files == {"truncated_gzip": 1, "empty_file": 1}
    assert manifest.items.dead_letters == {"duplicate_item": 1}
    faults = [json.loads(line) for line in (output / "dead_letters/files.jsonl").read_text().splitlines()]
    assert [(row["reason"], pathlib.Path(row["file"]).name) for row in faults] == [
        ("truncated_gzip", "b.csv.gz"),
        ("empty_file", "c.csv"),
    ]
    assert "again" not in read_items(str(output)).titles


def test_too_many_bad_rows_fail_the_run_and_leave_the_dead_letters(tmp_path, shop):
    rows = [row | ({"timestamp": "?"} if i % 3 == 0 else {}) for i, row in enumerate(shop_interactions())]
    bad = write_csv(tmp_path / "bad.csv", rows)
    output = tmp_path / "out"
    with pytest.raises(UserError) as caught:
        preprocess(CONFIG, [bad], [shop.items], str(output))
    message = str(caught.value)
    assert "67 of 200 rows of interactions are bad (33.5%, at most 5.0% are accepted)" in message
    assert f"bad_timestamp 67 (first: {bad}:2): '?' is neither unix seconds nor ISO 8601" in message
    assert f"{output}/dead_letters" in message
    assert [path.name for path in output.iterdir()] == ["dead_letters"]
    assert len(dead_letters(output)) == 67
    # A failed run leaves an earlier output alone, and a good one takes the place of what a failed one left.
    shutil.copytree(shop.output, tmp_path / "good")
    with pytest.raises(UserError, match=r"good\.rejected/dead_letters"):
        preprocess(CONFIG, [bad], [shop.items], str(tmp_path / "good"))
    assert contents(tmp_path / "good") == contents(shop.output)
    assert len(dead_letters(tmp_path / "good.rejected")) == 67
    preprocess(CONFIG, [shop.interactions], [shop.items], str(output))
    assert contents(output) == contents(shop.output)


def test_mistakes_are_user_errors_that_name_the_remedy(tmp_path, shop):
    def check(match, *, config=CONFIG, interactions=shop.interactions, items=shop.items, output="out", args=()):
        with pytest.raises(UserError, match=match):
            preprocess(config, [interactions], [items], str(tmp_path / output), args)

    other = write_csv(tmp_path / "other.csv", [{"userid": "u", "item": "i", "timestamp": 1}])
    check(r"other\.csv has no column 'user_id'.*'userid'.*--set '?input\.columns\.user_id=userid", interactions=other)
    renamed = write_csv(tmp_path / "renamed.csv", [{"user_id": "u", "product": "i", "timestamp": 1, "value": 2}])
    check(r"no column 'item_id'.*--set input\.columns\.item_id=product", interactions=renamed)
    dates = write_csv(tmp_path / "dates.csv", [row | {"timestamp": 20240229} for row in shop_interactions()])
    check("dates such as 20240229.* 2024-02-29", interactions=dates)
    check("no file matches", interactions=str(tmp_path / "none*.csv"))
    check("cannot tell the format of", interactions=write_csv(tmp_path / "a.txt", shop_interactions()))
    (tmp_path / "empty.csv").write_bytes(b"")
    check(r"no interactions file can be read.*empty_file", interactions=str(tmp_path / "empty.csv"))
    (tmp_path / "spark").mkdir()
    for name in ("_SUCCESS", "part-0.snappy.parquet"):
        (tmp_path / "spark" / name).touch()
    check(r"spark is a directory; name the files in it: .*spark/\*\.parquet", interactions=str(tmp_path / "spark"))
    check(r"cannot tell the format of .*_SUCCESS .* leave the file out", interactions=f"{tmp_path}/spark/*")
    semicolons = tmp_path / "semicolons.csv"
    semicolons.write_text("user_id;item_id;timestamp\nu;i;1\n")
    commas = dataclasses.replace(CONFIG, input=InputConfig(delimiter=","))
    check(r"separated by another character .* input\.delimiter=auto", config=commas, interactions=str(semicolons))
    (tmp_path / "array.json").write_text(json.dumps(shop_interactions()))
    check("one object a line and no list", interactions=str(tmp_path / "array.json"))
    twice = write_csv(tmp_path / "twice.csv", [{"item_id": "a", "title": 1, "title ": 2}])
    check("2 columns named 'title'", items=twice)
    same = InputConfig(columns=Columns(user_id="item_id"))
    check("both name the column 'item_id'", config=dataclasses.replace(CONFIG, input=same))
    (tmp_path / "header.csv").write_text("user_id,item_id,timestamp\n")
    check("the interactions have no rows", interactions=str(tmp_path / "header.csv"))
    check(
        r"pairs\.window is 1001; .* at most 1,000", config=dataclasses.replace(CONFIG, pairs=PairsConfig(window=1001))
    )
    check(r"teacher\.kind is bert", config=dataclasses.replace(CONFIG, teacher=TeacherConfig(kind="bert")))
    check(r"split\.quantile is nan", config=dataclasses.replace(CONFIG, split=SplitConfig(quantile=float("nan"))))
    check(r"pairs\.window is 0", config=dataclasses.replace(CONFIG, pairs=PairsConfig(window=0)))
    check(r"split\.time", config=dataclasses.replace(CONFIG, split=SplitConfig(time="soon")))
    check("no column 'event'", config=dataclasses.replace(CONFIG, input=InputConfig(events=("buy",))))
    renamed = InputConfig(columns=Columns(session_id="visit"))
    check(r"input\.columns\.session_id is 'visit'", config=dataclasses.replace(CONFIG, input=renamed))
    check(r"teacher\.path", config=dataclasses.replace(CONFIG, teacher=TeacherConfig(kind="onnx")))
    check("unknown Beam option 'direct_runing_mode'; did you mean", args=["--direct_runing_mode=x"])
    check("invalid choice", args=["--direct_running_mode=x"])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("precious")
    check("is no earlier output", output="mine")
    assert (tmp_path / "mine/thesis.txt").exists()
    (tmp_path / "utf16.csv").write_text("user_id,item_id,timestamp\n", encoding="utf-16")
    check("not UTF-8", interactions=str(tmp_path / "utf16.csv"))
    (tmp_path / "utf16.jsonl").write_text('{"user_id": "u"}\n', encoding="utf-16")
    check("not UTF-8", interactions=str(tmp_path / "utf16.jsonl"))
    kinds = write_csv(tmp_path / "kinds.csv", [row | {"event": "view"} for row in shop_interactions()])
    events = dataclasses.replace(CONFIG, input=InputConfig(events=("views",)))
    check("event_filter 200; check .* input.events .*; the events are view$", config=events, interactions=kinds)
    assert not list(tmp_path.glob(".out*"))


@pytest.mark.parametrize("beam_args", [[], PORTABLE], ids=["memory", "portable"])
def test_mistakes_met_in_workers_show_no_traceback(tmp_path, shop, capfd, beam_args):
    items = write_csv(tmp_path / "items.csv", [{"item_id": row["item_id"]} for row in shop_items()])
    with pytest.raises(UserError, match="no item has a title or a description"):
        preprocess(CONFIG, [shop.interactions], [items], str(tmp_path / "out"), beam_args)
    assert "Traceback" not in "".join(capfd.readouterr())
    assert [path.name for path in tmp_path.iterdir()] == ["items.csv"]


def test_vectors_that_the_catalogue_brings(tmp_path, shop):
    rows = [row | {"embedding": "3 4" if i else ""} for i, row in enumerate(shop_items())]
    items = write_csv(tmp_path / "vectors.csv", rows)
    config = dataclasses.replace(CONFIG, teacher=TeacherConfig(kind="column"))
    manifest = preprocess(config, [shop.interactions], [items], str(tmp_path / "out"))
    assert manifest.content_dimension == 2
    vectors = read_items(str(tmp_path / "out")).content_vectors
    assert vectors[:6] == pytest.approx(np.tile([0.6, 0.8], (6, 1)))
    assert not vectors[6].any()


def test_each_csv_has_its_own_separator(tmp_path, shop):
    def separated(path, rows, mark):
        lines = [mark.join(f'"{value}"' for value in row) for row in (rows[0], *(row.values() for row in rows))]
        path.write_text("\n".join(lines) + "\n")
        return str(path)

    log = shop_interactions()
    logs = [separated(tmp_path / "a.csv", log[:90], ";"), separated(tmp_path / "b.tsv", log[90:], "\t")]
    items = separated(tmp_path / "items.csv", shop_items(), "|")
    preprocess(CONFIG, logs, [items], str(tmp_path / "out"))
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").rglob("*.gz")} == {
        path.name: path.read_bytes() for path in shop.output.rglob("*.gz")
    }


def test_what_became_of_rows_and_columns_is_told(tmp_path, shop, caplog):
    rows = [row | {"event": "view" if i % 4 else "buy", "price": 1} for i, row in enumerate(shop_interactions())]
    rows[1]["timestamp"] = "?"
    log = write_csv(tmp_path / "log.csv", rows)
    config = dataclasses.replace(CONFIG, input=InputConfig(events=("view",)))
    with caplog.at_level("INFO", "mtmh.preprocessing"):
        preprocess(config, [log], [shop.items], str(tmp_path / "out"))
    assert "used 149 of 200 interactions (event_filter 50, bad 1); 12 items" in caplog.text
    assert "interactions: not read, as no option below input.columns names them: 'price'\n" in caplog.text
    assert "items: not read" not in caplog.text


def test_a_long_first_line_of_json_lines_is_one_bad_row(tmp_path, shop):
    log = tmp_path / "log.jsonl"
    log.write_text(
        json.dumps({"x": "a" * (1 << 21)}) + "\n" + "".join(f"{json.dumps(r)}\n" for r in shop_interactions())
    )
    manifest = preprocess(CONFIG, [str(log)], [shop.items], str(tmp_path / "out"))
    assert manifest.interactions.dead_letters == {"line_too_long": 1}


def test_more_shards_than_items_and_users(tmp_path, shop):
    config = dataclasses.replace(CONFIG, output=OutputConfig(shards=50))
    manifest = preprocess(config, [shop.interactions], [shop.items], str(tmp_path / "out"))
    assert len(manifest.files) == 200
    assert (manifest.num_pairs, manifest.num_triggers, manifest.num_users) == (
        shop.manifest.num_pairs,
        shop.manifest.num_triggers,
        shop.manifest.num_users,
    )
    assert read_items(str(tmp_path / "out")).ids == read_items(str(shop.output)).ids


def test_sessions_and_names_of_columns(tmp_path, shop):
    rows = [
        {"who": row["user_id"], "what": row["item_id"], "when": row["timestamp"], "visit": f"s{i % 2}"}
        for i, row in enumerate(shop_interactions(users=41))
    ]
    log = write_csv(tmp_path / "log.csv", rows)
    columns = Columns(user_id="who", item_id="what", timestamp="when", session_id="visit")
    items = write_csv(tmp_path / "i.csv", [{"what": row["item_id"], "title": row["title"]} for row in shop_items()])
    config = dataclasses.replace(CONFIG, input=InputConfig(columns=columns))
    manifest = preprocess(config, [log], [items], str(tmp_path / "out"))
    # Visits alternate from step to step, so only items two or four steps apart share one.
    distances = {
        (int(b[-1]) - int(a[-1])) % 6
        for block in read_pairs(str(tmp_path / "out"))
        for a, b in [
            (load[x], load[y])
            for load in [read_items(str(tmp_path / "out")).ids]
            for x, y in zip(np.repeat(block.trigger, block.targets_of_trigger), block.target, strict=True)
        ]
    }
    assert distances == {2, 4}
    assert manifest.num_users == 41


@pytest.mark.slow
def test_hash_seeds_do_not_matter(tmp_path, shop):
    """Two fresh interpreters, each with a salt of its own for Python's hash."""
    program = (
        "import sys; from preprocessing.pipeline import preprocess; from preprocessing.config import *;"
        "preprocess(PreprocessingConfig(), [sys.argv[1]], [sys.argv[2]], sys.argv[3])"
    )
    manifests = []
    for salt in ("1", "2"):
        output = tmp_path / salt
        subprocess.run(
            [sys.executable, "-c", program, shop.interactions, shop.items, str(output)],
            check=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": salt},
        )
        manifests.append((output / "manifest.json").read_bytes())
    assert manifests[0] == manifests[1]
