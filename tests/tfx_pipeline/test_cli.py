"""Every mistake on the command line is one clear line, and quick verbs stay quick."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from preprocessing.errors import UserError
from preprocessing.manifest import load_manifest
from preprocessing.read import read_annotations
from tests.preprocessing.shop import shop_interactions, shop_items, write_csv, write_jsonl
from tfx_pipeline import cli
from tfx_pipeline.alone import alone
from tfx_pipeline.config import RunConfig
from tfx_pipeline.steps import Inputs, preprocess_step
from tfx_pipeline.verbs import VERBS
from tfx_pipeline.workdir import Workdir


def failure(capsys, *arguments):
    status = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert status == 2
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("mtmh: error: ")
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["qury"], ["qury", "mtmh query"]),
        (["frobnicate"], ["frobnicate", "verbs are run"]),
        (["query", "--itm", "1"], ["--itm", "did you mean --item?"]),
        (["query", "--k", "0", "--item", "1"], ["--k", "at least 1"]),
        (["query", "--k", "many", "--item", "1"], ["--k", "many"]),
        (["query", "--relevance-weight", "2", "--item", "1"], ["between 0 and 1"]),
        (["query"], ["--item", "--title"]),
        (["query", "--item", "1", "--address", "127.0.0.1:1"], ["127.0.0.1:1", "mtmh serve"]),
        (["query", "--item", "1", "--", "--runner=X"], ["no Beam pipeline"]),
        (["run"], ["--interactions", "mtmh run --help"]),
        (["run", "--interactions", "a.csv", "--items", "b.csv"], ["--workdir"]),
        (["serve"], ["--model-base-path"]),
        (["serve", "--model-base-path", "nowhere/at/all"], ["nowhere/at/all"]),
        (["serve", "--model-base-path", "s3://bucket/mtmh"], ["mtmh mirror --source s3://bucket/mtmh"]),
        (["versions"], ["--workdir", "--model-base-path"]),
        (["rollback", "--model-base-path", "nowhere/at/all"], ["nowhere/at/all", "mtmh run"]),
        (["refresh-index", "--workdir", "."], ["--items"]),
        (["mirror", "--source", "here", "--model-base-path", "there"], ["is no bucket"]),
        (["mirror", "--source", "s3://b/m", "--model-base-path", "there", "--every", "inf"], ["--every", "inf"]),
        (["mirror", "--source", "s3://b/m", "--model-base-path", "there", "--every", "nan"], ["--every", "nan"]),
        (["mirror", "--source", "s3://b/m", "--model-base-path", "there", "--keep", "0"], ["--keep", "at least 1"]),
        (["serve", "--model-base-path", ".", "--port", "eighty"], ["--port", "eighty"]),
        (["serve", "--model-base-path", ".", "--port", "99999"], ["port", "99999"]),
        (["train", "--workdir", "nowhere/at/all"], ["nowhere/at/all", "mtmh preprocess"]),
        (["evaluate", "--workdir", "."], ["mtmh preprocess"]),
        (["export", "--workdir", "."], ["mtmh preprocess"]),
        (["demo", "--items", "x.csv"], ["--interactions"]),
        (["demo", "--annotations", "x.csv"], ["--annotations", "--interactions"]),
        (["train", "--annotations", "x.csv", "--workdir", "."], ["--annotations"]),
        (["--frobnicate"], ["--frobnicate"]),
    ],
)
def test_mistakes_are_one_clear_line(capsys, monkeypatch, tmp_path, arguments, named):
    monkeypatch.chdir(tmp_path)
    line = failure(capsys, *arguments)
    for words in named:
        assert words in line


@pytest.mark.parametrize("verb", ["run", "demo"])
def test_several_workers_share_a_training_only(capsys, monkeypatch, verb):
    cluster = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    needed = {"run": ["--interactions", "a.csv", "--items", "b.csv", "--workdir", "w"], "demo": []}[verb]
    assert f"only `mtmh train` is shared by several; run `mtmh {verb}` without it" in failure(capsys, verb, *needed)


def test_mistakes_in_inputs_and_options(capsys, tmp_path):
    log, items = tmp_path / "log.csv", tmp_path / "items.csv"
    log.write_text("user_id,item,timestamp\nu,i,1\n")
    items.write_text("item_id,title\ni,a\n")
    common = ["run", "--items", items, "--workdir", tmp_path / "work"]
    assert "no file matches" in failure(capsys, *common, "--interactions", tmp_path / "none.csv")
    line = failure(capsys, *common, "--interactions", log)
    for words in (str(log), "item_id", "input.columns.item_id=item"):
        assert words in line
    assert "trainer.epochs" in failure(capsys, *common, "--interactions", log, "--set", "trainer.epoch=3")
    assert "trainer.epochs" in failure(capsys, *common, "--interactions", log, "--set", "trainer.epochs=many")
    assert "--set" in failure(capsys, *common, "--interactions", log, "--set")
    assert "none.yaml" in failure(capsys, *common, "--interactions", log, "--config", tmp_path / "none.yaml")


def test_each_table_may_name_the_item_in_its_own_way(capsys, tmp_path):
    """The remedies lead there: each is followed as it is printed, and asked for once."""
    log = [{"sku": row.pop("item_id")} | row for row in shop_interactions()]
    items = [{"id": row.pop("item_id")} | row for row in shop_items()]
    grades = [{"trigger_id": "red0", "article": "red1", "grade": 1}]
    tables = {"interactions": log, "items": items, "annotations": grades}
    command = ["preprocess", "--quiet", "--workdir", str(tmp_path / "work")]
    for table, rows in tables.items():
        command += [f"--{table}", write_csv(tmp_path / f"{table}.csv", rows)]
    asked = []
    for _ in tables:
        asked += failure(capsys, *command, *asked).split("say which one it is: ")[1].split()
    assert asked[1::2] == [
        "input.columns.item_id=sku",
        "input.columns.catalogue_item_id=id",
        "input.columns.annotation_item_id=article",
    ]
    assert cli.main([*command, *asked]) == 0
    manifest = load_manifest(capsys.readouterr().out.strip())
    assert manifest.num_items == len(items)
    assert (manifest.interactions.rows_used, manifest.annotations.rows_used) == (len(log), 1)
    same = ["--set", "input.columns.annotation_item_id=trigger_id"]
    assert "trigger_id and input.columns.annotation_item_id both name" in failure(capsys, *command, *asked, *same)


def test_a_work_directory_that_is_a_file(capsys, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    log, items = tmp_path / "log.csv", tmp_path / "items.csv"
    log.write_text("user_id,item_id,timestamp\nu,i,1\n")
    items.write_text("item_id\ni\n")
    assert str(file) in failure(capsys, "run", "--interactions", log, "--items", items, "--workdir", file)


@pytest.mark.parametrize("mark", ["[", "*", "?", "\\"])
def test_a_work_directory_whose_path_is_a_pattern_is_refused_before_anything_is_made(capsys, tmp_path, mark):
    workdir = tmp_path / f"shop {mark}1]" / "work"
    line = failure(capsys, "run", "--interactions", "a.csv", "--items", "b.csv", "--workdir", workdir)
    assert f"{workdir} has {mark} in its path" in line
    assert "--workdir" in line
    assert list(tmp_path.iterdir()) == []


def test_internal_faults_are_one_line_too(capsys, monkeypatch):
    def broken(arguments):
        raise ZeroDivisionError("division\nby zero")

    verb = VERBS["query"]
    monkeypatch.setitem(VERBS, "query", dataclasses.replace(verb, run=broken))
    monkeypatch.delenv("MTMH_TRACEBACK", raising=False)
    assert cli.main(["query", "--item", "1"]) == 70
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "ZeroDivisionError: division by zero" in error
    monkeypatch.setenv("MTMH_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        cli.main(["query", "--item", "1"])


@pytest.mark.parametrize(
    "arguments", [["--help"], ["query", "--help"], ["run", "--help"], ["serve", "--help"], ["--version"]]
)
def test_help_imports_nothing_heavy(arguments):
    program = (
        "import sys\n"
        "from tfx_pipeline.cli import main\n"
        "try:\n"
        f"    main({arguments!r})\n"
        "except SystemExit as stop:\n"
        "    assert stop.code in (0, None)\n"
        "heavy = {'tensorflow', 'apache_beam', 'scann', 'pandas', 'sklearn', 'tfx'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "mtmh" in result.stdout


def test_no_verb_shows_the_verbs(capsys):
    assert cli.main([]) == 2
    printed = capsys.readouterr().out
    for verb in VERBS:
        assert verb in printed


def test_annotations_come_from_files_and_globs(capsys, tmp_path):
    log, items = write_csv(tmp_path / "log.csv", shop_interactions()), write_csv(tmp_path / "items.csv", shop_items())
    write_csv(tmp_path / "a1.csv", [{"query": "red0", "item_id": "red1", "label": 1}])
    write_csv(tmp_path / "a2.csv", [{"query": "red0", "item_id": "blue1", "label": 0}])
    other = write_jsonl(tmp_path / "b.jsonl", [{"query": "blue0", "item_id": "blue1", "label": 0.5}])
    common = ["preprocess", "--interactions", log, "--items", items, "--workdir", str(tmp_path / "work"), "--quiet"]
    common += ["--annotations", str(tmp_path / "a?.csv"), "--annotations", other]
    line = failure(capsys, *common)
    for words in ("a1.csv has no column 'trigger_id'", "input.columns.trigger_id="):
        assert words in line
    names = ["--set", "input.columns.trigger_id=query", "--set", "input.columns.grade=label"]
    assert cli.main([*common, *names, "--set", "annotations.held_out=1"]) == 0
    examples = capsys.readouterr().out.strip()
    assert load_manifest(examples).annotations.rows_used == 3
    annotations = read_annotations(examples)
    assert annotations.grade.tolist() == [0.5, 0.0, 1.0]
    assert annotations.held_out.all()


def test_one_preprocessing_at_a_time_in_a_work_directory(tmp_path):
    log, items = write_csv(tmp_path / "log.csv", shop_interactions()), write_csv(tmp_path / "items.csv", shop_items())
    workdir = Workdir(tmp_path / "work")
    with (
        alone(workdir.root, "preprocessing", workdir.preprocessing_lock),
        pytest.raises(UserError, match=r"another preprocessing is at work in .*work; wait"),
    ):
        preprocess_step(workdir, RunConfig(), Inputs((log,), (items,)))
    # The other's configuration stays what it was.
    assert not workdir.config.exists()


def test_a_work_directory_may_be_the_current_one_and_nothing_is_written_beside_it(tmp_path, monkeypatch):
    log, items = write_csv(tmp_path / "log.csv", shop_interactions()), write_csv(tmp_path / "items.csv", shop_items())
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    beside = set(tmp_path.iterdir())
    assert cli.main(["preprocess", "--interactions", log, "--items", items, "--workdir", "."]) == 0
    assert Path("examples/manifest.json").is_file()
    assert set(tmp_path.iterdir()) == beside


def test_other_annotations_make_other_examples(tmp_path):
    log, items = write_csv(tmp_path / "log.csv", shop_interactions()), write_csv(tmp_path / "items.csv", shop_items())
    path = tmp_path / "grades.csv"
    workdir = Workdir(tmp_path / "work")

    def made(annotations):
        stamp = workdir.inputs.stat().st_mtime_ns if workdir.inputs.exists() else 0
        preprocess_step(workdir, RunConfig(), Inputs((log,), (items,), annotations), resume=True)
        assert "fingerprint" in json.loads(workdir.inputs.read_text())
        return workdir.inputs.stat().st_mtime_ns != stamp

    assert made(())
    assert not made(())
    write_csv(path, [{"trigger_id": "red0", "item_id": "red1", "grade": 1}])
    assert made((str(path),))
    assert not made((str(path),))
    write_csv(path, [{"trigger_id": "red0", "item_id": "red1", "grade": 0.25}])
    assert made((str(path),))
    assert read_annotations(str(workdir.examples)).grade.tolist() == [0.25]
    assert made(())
    assert len(read_annotations(str(workdir.examples))) == 0
