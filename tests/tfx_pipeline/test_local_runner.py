"""The runner on this machine: what it leaves on the disk, and what it says of metadata that it can't use."""

import os
import shutil
from pathlib import Path

import pytest
from ml_metadata import errors

from preprocessing.backend import tf  # noqa: F401 before TFX imports TensorFlow in a flavour of its own

# isort: split
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline

from preprocessing.errors import UserError
from tfx_pipeline.components.curated_schema import CuratedSchema
from tfx_pipeline.local_runner import LocalRunner
from tfx_pipeline.metadata_faults import explained


def run(root, text, next_text="feature {"):
    """Two steps of which the second fails, unless its text is a schema."""
    first = CuratedSchema(text).with_id("First")
    second = CuratedSchema(next_text).with_id("Second")
    second.add_upstream_node(first)
    runner = LocalRunner(lambda step: None)
    pipeline = Pipeline(
        pipeline_name="toy",
        pipeline_root=str(root),
        components=[first, second],
        enable_cache=True,
        metadata_connection_config=sqlite_metadata_connection_config(str(root / "metadata.sqlite")),
    )
    runner.run(pipeline)
    return {step.node: step.ran for step in runner.steps}


def schema(name):
    return f'feature {{ name: "{name}" type: INT }}'


def test_runs_that_fail_night_after_night_do_not_fill_the_disk(tmp_path):
    for night in range(6):
        with pytest.raises(UserError, match="no Schema message"):
            run(tmp_path, schema(f"night{night}"))
    assert len(list((tmp_path / "First" / "schema").glob("[0-9]*"))) == 3
    assert run(tmp_path, schema("night5"), schema("mended")) == {"First": False, "Second": True}


@pytest.mark.parametrize("damage", ["no database", "cut off", "overwritten"])
def test_metadata_that_are_damaged_are_named_with_the_remedy(tmp_path, damage):
    run(tmp_path, schema("a"), schema("b"))
    database = tmp_path / "metadata.sqlite"
    content = database.read_bytes()
    if damage == "no database":
        database.write_bytes(os.urandom(3000))
    elif damage == "cut off":
        database.write_bytes(content[:20_000])
    else:
        database.write_bytes(content[:4096] + b"\xff" * 80_000 + content[84_096:])
    with pytest.raises(UserError, match=f"remove {tmp_path} and run again") as caught:
        run(tmp_path, schema("a"), schema("b"))
    assert "Failed to establish" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("Error when executing query: database or disk is full query: COMMIT;", "free some space; the same command"),
        ("Error when executing query: disk I/O error query: COMMIT;", "check the disk and the permissions"),
        ("Error: attempt to write a readonly database", "check the disk and the permissions"),
    ],
)
def test_a_disk_that_takes_no_more_is_no_fault_of_ours(tmp_path, said, remedy):
    with pytest.raises(UserError, match=remedy), explained(tmp_path):
        raise errors.InternalError(said)


def test_other_faults_stay_what_they_are(tmp_path):
    for fault in (RuntimeError("the disk is full of holes"), errors.NotFoundError("no such context")):
        with pytest.raises(type(fault)), explained(tmp_path):
            raise fault


def test_outputs_whose_removal_is_cut_off_are_no_results_any_more(tmp_path, monkeypatch):
    """As a kill after the first file: what is left is not taken for the whole."""
    nights = [schema(f"night{night}") for night in range(4)]

    def cut_off(directory, **_):
        next(Path(directory).iterdir()).unlink()
        raise KeyboardInterrupt

    for night in nights[:3]:
        run(tmp_path, night, schema("b"))
    with monkeypatch.context() as killed:
        killed.setattr(shutil, "rmtree", cut_off)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, nights[3], schema("b"))
    assert run(tmp_path, nights[0], schema("b"))["First"]


def test_a_copied_directory_does_not_work_on_the_originals_outputs(tmp_path):
    original, copy, moved = (tmp_path / name for name in ("original", "copy", "moved"))
    original.mkdir()
    run(original, schema("a"), schema("b"))
    shutil.copytree(original, copy)
    with pytest.raises(UserError, match=f"{copy} is a copy of {original}.*remove {copy}"):
        run(copy, schema("a"), schema("b"))
    assert run(original, schema("a"), schema("b")) == {"First": False, "Second": False}
    original.rename(moved)  # what the metadata name is not there any more
    assert run(moved, schema("a"), schema("b")) == {"First": True, "Second": True}
    assert run(moved, schema("a"), schema("b")) == {"First": False, "Second": False}
