"""A directory takes another's place whole or not at all, whatever happens on the way."""

import os

import pytest

from preprocessing.exchange import exchanging, sweep

LEFT = ".out.0123456789ab.tmp"


def fill(directory, text):
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "data").write_text(text)


def replace(output, text, then=lambda: None):
    with exchanging(output) as staging:
        fill(staging, text)
        then()


def names(directory):
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize("earlier", [False, True])
def test_it_replaces_and_leaves_nothing_behind(tmp_path, earlier):
    output, seen = tmp_path / "below" / "out", []
    if earlier:
        fill(output, "earlier")
    replace(output, "new", then=lambda: seen.append(output.exists()))
    assert seen == [earlier]
    assert (output / "data").read_text() == "new"
    assert names(output.parent) == ["out"]


@pytest.mark.parametrize("earlier", [False, True])
def test_what_a_link_points_at_is_replaced_and_the_link_stays(tmp_path, earlier):
    (tmp_path / "disk").mkdir()
    if earlier:
        fill(tmp_path / "disk" / "out", "earlier")
    (tmp_path / "link").symlink_to("disk/out")
    replace(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "disk" / "out" / "data").read_text() == "new"
    assert (names(tmp_path), names(tmp_path / "disk")) == (["disk", "link"], ["out"])


def test_a_block_that_fails_changes_nothing(tmp_path):
    fill(tmp_path / "out", "earlier")
    with pytest.raises(ZeroDivisionError):
        replace(tmp_path / "out", "half", then=lambda: 1 / 0)
    assert (tmp_path / "out" / "data").read_text() == "earlier"
    assert names(tmp_path) == ["out"]


def test_what_cannot_be_put_in_place_leaves_the_earlier_there(tmp_path, monkeypatch):
    fill(tmp_path / "out", "earlier")
    rename = os.rename

    def refusing(source, target):
        if str(source).endswith(".tmp"):
            raise OSError("no")
        rename(source, target)

    with pytest.raises(OSError, match="no"):
        replace(tmp_path / "out", "new", then=lambda: monkeypatch.setattr(os, "rename", refusing))
    assert (tmp_path / "out" / "data").read_text() == "earlier"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("linked", [False, True])
def test_killed_between_the_two_renames_the_earlier_comes_back(tmp_path, linked):
    disk = tmp_path / "disk"
    fill(disk / LEFT, "new")
    fill(disk / f"{LEFT}.old", "earlier")
    (tmp_path / "link").symlink_to("disk/out")
    sweep(str(tmp_path / "link" if linked else disk / "out"))
    assert (disk / "out" / "data").read_text() == "earlier"
    assert names(disk) == ["out"]


def test_what_is_being_written_is_left_alone(tmp_path):
    replace(tmp_path / "out", "new", then=lambda: sweep(str(tmp_path / "out")))
    assert (tmp_path / "out" / "data").read_text() == "new"
