"""An output is there whole or not at all, and nothing stays behind of runs that were killed."""

import contextlib
import os

import pytest

from preprocessing.errors import UserError
from preprocessing.publish import staged

LEFT = ".out.0123456789ab.tmp"


def fill(directory, text):
    os.makedirs(directory, exist_ok=True)
    for name in ("manifest.json", "data"):
        with open(os.path.join(directory, name), "w") as file:
            file.write(text)


def publish(output, text):
    with staged(str(output)) as staging:
        fill(staging.directory, text)
        staging.publish(["data"])


def names(directory):
    return sorted(os.listdir(directory))


def test_remains_of_killed_runs_are_swept_and_nothing_else(tmp_path):
    fill(tmp_path / LEFT, "half")
    fill(tmp_path / f"{LEFT}.old", "older")
    fill(tmp_path / ".out.ffffffffffff.tmp.old", "older")
    others = [".other.0123456789ab.tmp", ".out.tmp", "out.0123456789ab.tmp", ".out.0123456789ab"]
    for name in others:
        fill(tmp_path / name, "mine")
    fill(tmp_path / "out", "earlier")
    publish(tmp_path / "out", "new")
    assert (tmp_path / "out/data").read_text() == "new"
    assert names(tmp_path) == sorted([*others, "out"])


@pytest.mark.parametrize("end", ["", "/"])
def test_what_a_link_points_at_is_replaced_and_the_link_stays(tmp_path, end):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk/out")
    for text in ("earlier", "new"):
        publish(f"{tmp_path}/link{end}", text)
    with contextlib.suppress(UserError), staged(str(tmp_path / "link")) as staging:
        fill(os.path.join(staging.directory, "dead_letters"), "bad")
        raise UserError
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "disk/out/data").read_text() == "new"
    assert (names(tmp_path), names(tmp_path / "disk")) == (["disk", "link"], ["out", "out.rejected"])


def test_a_run_that_goes_on_is_not_swept(tmp_path):
    with staged(str(tmp_path / "out")) as first:
        publish(tmp_path / "out", "second")
        fill(first.directory, "first")
        first.publish(["data"])
    assert (tmp_path / "out/data").read_text() == "first"
    assert names(tmp_path) == ["out"]


def test_killed_between_the_two_renames_the_earlier_output_comes_back(tmp_path):
    fill(tmp_path / LEFT, "half")
    fill(tmp_path / f"{LEFT}.old", "earlier")
    with contextlib.suppress(ZeroDivisionError), staged(str(tmp_path / "out")):
        raise ZeroDivisionError
    assert (tmp_path / "out/data").read_text() == "earlier"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize(("error", "kept"), [(UserError, ["out"]), (KeyboardInterrupt, [])])
def test_dead_letters_of_a_run_that_fails_are_kept_but_not_of_an_interrupted_one(tmp_path, error, kept):
    with contextlib.suppress(error), staged(str(tmp_path / "out")) as staging:
        fill(os.path.join(staging.directory, "dead_letters"), "bad")
        raise error
    assert names(tmp_path) == kept


def test_what_is_no_output_is_never_replaced(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/dead_letters").write_text("a file")
    with pytest.raises(UserError, match="no earlier output"):
        publish(tmp_path / "out", "new")
    assert names(tmp_path / "out") == ["dead_letters"]
