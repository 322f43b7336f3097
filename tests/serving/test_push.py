"""Versions appear whole or not at all."""

import os
import threading
import time

import pytest

from serving import push
from serving.push import publish, staged, versions


def fill(directory, size=3):
    version = directory / "version"
    (version / "variables").mkdir(parents=True)
    for name in range(size):
        (version / "variables" / str(name)).write_text("x" * 1000)
    (version / "saved_model.pb").write_text("model")
    return version


def names(base):
    return sorted(path.name for path in base.iterdir())


def test_publish(tmp_path):
    base = tmp_path / "deep" / "mtmh"
    with staged(base) as directory:
        assert not versions(base)
        target = publish(fill(directory), base)
    assert names(base) == [target.name]
    assert abs(int(target.name) - time.time()) < 60
    assert (target / "variables" / "2").read_text() == "x" * 1000


def test_same_second_gives_different_versions(tmp_path, monkeypatch):
    monkeypatch.setattr(push.time, "time", lambda: 1000.0)
    found = []
    for _ in range(3):
        with staged(tmp_path) as directory:
            found.append(publish(fill(directory), tmp_path).name)
    assert found == ["1000", "1001", "1002"]


def test_versions_only_grow(tmp_path):
    (tmp_path / "99999999999").mkdir()
    with staged(tmp_path) as directory:
        assert publish(fill(directory), tmp_path).name == "100000000000"


def test_what_is_no_version(tmp_path):
    for name in ("12", "7", "1a", "-3", "²", "٣", str(2**63), "tmp"):
        (tmp_path / name).mkdir()
    (tmp_path / "5").write_text("a file")
    assert versions(tmp_path) == [7, 12]


def test_a_version_that_another_export_just_took(tmp_path, monkeypatch):
    monkeypatch.setattr(push.time, "time", lambda: 1000.0)
    (tmp_path / "1000").mkdir()
    (tmp_path / "1000" / "saved_model.pb").write_text("theirs")
    (tmp_path / "1001").write_text("a file in the way")
    monkeypatch.setattr(push, "versions", lambda base: [])
    with staged(tmp_path) as directory:
        assert publish(fill(directory), tmp_path).name == "1002"
    assert (tmp_path / "1000" / "saved_model.pb").read_text() == "theirs"


def test_concurrent_exports(tmp_path):
    def export():
        with staged(tmp_path) as directory:
            publish(fill(directory), tmp_path)

    threads = [threading.Thread(target=export) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(versions(tmp_path)) == len(names(tmp_path)) == 12
    assert all((tmp_path / str(version) / "saved_model.pb").is_file() for version in versions(tmp_path))


def test_failure_leaves_the_old_versions(tmp_path):
    (tmp_path / "3").mkdir()

    def export():
        with staged(tmp_path) as directory:
            fill(directory)
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        export()
    assert names(tmp_path) == ["3"]


def test_rename_that_cannot_work_is_an_error(tmp_path, monkeypatch):
    def rename(source, target):
        raise OSError("disk on fire")

    monkeypatch.setattr(push.os, "rename", rename)
    with pytest.raises(OSError, match="disk on fire"), staged(tmp_path) as directory:
        publish(fill(directory), tmp_path)
    assert names(tmp_path) == []


def test_remains_of_a_killed_export(tmp_path):
    """Never a version, kept while it may still be at work, removed a day later."""
    old, young = tmp_path / ".staging-old", tmp_path / ".staging-young"
    for directory in (old, young):
        directory.mkdir()
        fill(directory)
    day_ago = time.time() - 25 * 3600
    os.utime(old, (day_ago, day_ago))
    assert versions(tmp_path) == []
    with staged(tmp_path) as directory:
        target = publish(fill(directory), tmp_path)
    assert names(tmp_path) == [".staging-young", target.name]
