"""What pushes to a directory meet: each other, numbers that something else has, failures, remains."""

import errno
import os
import threading
from pathlib import Path

import pytest

from preprocessing.errors import UserError
from serving import local_shelf, shelf as shelves
from serving.local_shelf import LocalShelf, staged
from serving.push import history, push, versions
from serving.server.directories import find_versions, read_manifest, what_is_wrong
from serving.version_manifest import MANIFEST, VersionManifest
from tests.serving.push.places import model
from tfx_pipeline import cli


def test_concurrent_pushes(tmp_path, monkeypatch):
    monkeypatch.setattr(shelves.time, "time", lambda: 1000.0)
    sources = [model(tmp_path / f"source-{number}", str(number % 6)) for number in range(12)]
    base = tmp_path / "mtmh"
    threads = [threading.Thread(target=push, args=(source, base)) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = versions(base)
    assert 6 <= len(found) <= 12
    assert sorted(path.name for path in base.iterdir()) == [str(version) for version in found]
    assert {state.faults for state in history(base, verify=True)} == {()}


def test_what_is_no_version(tmp_path):
    for name in ("12", "7", "1a", "-3", "²", "٣", str(2**63), "tmp"):
        model(tmp_path / name, name)
    (tmp_path / "5").write_text("a file")
    (tmp_path / "13").mkdir()
    assert versions(tmp_path) == [7, 12]
    assert list(find_versions(tmp_path)) == [12, 7]


def test_a_number_that_something_else_has(tmp_path, one, monkeypatch):
    """Never onto what stands there, not even an empty directory."""
    monkeypatch.setattr(shelves.time, "time", lambda: 1000.0)
    base = tmp_path / "mtmh"
    model(base / "1000", "theirs")
    (base / "1001").write_text("a file in the way")
    (base / "1002").mkdir()
    monkeypatch.setattr(LocalShelf, "_numbers", lambda self: [])
    assert push(one, base).version == 1003
    assert (base / "1000" / "saved_model.pb").read_text() == "theirs"


def test_failures_leave_the_old_versions(tmp_path, one, monkeypatch):
    base = tmp_path / "mtmh"
    (base / "3").mkdir(parents=True)

    def rename(source, target):
        raise OSError("disk on fire")

    with monkeypatch.context() as patch:
        patch.setattr(local_shelf.os, "rename", rename)
        with pytest.raises(OSError, match="disk on fire"):
            push(one, base)
    with monkeypatch.context() as patch:
        patch.setattr(local_shelf, "describe", lambda directory: VersionManifest(()))
        with pytest.raises(UserError, match="damaged while it was pushed"):
            push(one, base)
    with pytest.raises(RuntimeError, match="in the middle"), staged(base):
        raise RuntimeError("in the middle")
    assert {path.name for path in base.iterdir()} - {"3"} <= {
        path.name for path in base.iterdir() if path.name.startswith(".unclaimed-")
    }


@pytest.mark.parametrize(
    ("number", "where", "what"),
    [
        (errno.ENOSPC, "mtmh: ", "No space left on device for a version of 0.0 MB; free some space"),
        (errno.EIO, "mtmh/", "Input/output error"),
    ],
)
def test_a_copy_that_fails_is_told_in_a_line(tmp_path, one, two, monkeypatch, capsys, number, where, what):
    base = tmp_path / "mtmh"
    push(one, base)
    push(two, base)

    def copy(source, target, **_):
        raise OSError(number, os.strerror(number), source)

    monkeypatch.setattr(local_shelf.shutil, "copyfile", copy)
    assert cli.main(["rollback", "--model-base-path", str(base)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"mtmh: error: {tmp_path}/{where}")
    assert what in error
    assert error.count("\n") == 1
    assert len(versions(base)) == 2
    assert not list(base.glob(".*"))


def test_remains_of_the_killed(tmp_path, one):
    """Removed by the next, unless their process lives."""
    base = tmp_path / "mtmh"
    (base / ".staging-dead" / "version").mkdir(parents=True)
    (base / ".trash-5-dead").mkdir()
    (base / ".unclaimed-young").mkdir()
    (base / ".unclaimed-old").mkdir()
    os.utime(base / ".unclaimed-old", (0, 0))
    with staged(base) as mine:
        pushed = push(one, base)
        assert sorted(path.name for path in base.iterdir()) == sorted(
            [mine.name, ".unclaimed-young", str(pushed.version)]
        )


def test_the_embedded_server_waits_for_what_the_manifest_lists(tmp_path, one):
    version = Path(push(one, tmp_path / "mtmh").path)
    manifest = read_manifest(version)
    assert what_is_wrong(version, manifest) == ""
    whole = (version / "variables" / "part-2").read_bytes()
    (version / "variables" / "part-2").write_bytes(whole[::-1])
    assert "part-2 has another SHA-256" in what_is_wrong(version, manifest)
    (version / "variables" / "part-2").write_text("half")
    assert "part-2 has 4 bytes of 2,500" in what_is_wrong(version, manifest)
    (version / "variables" / "part-1").unlink()
    assert what_is_wrong(version, manifest) == "variables/part-1 is missing"
    (version / MANIFEST).write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        read_manifest(version)
    (version / MANIFEST).unlink()
    assert read_manifest(version) is None
