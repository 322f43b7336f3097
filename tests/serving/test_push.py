"""Versions appear whole or not at all, once for one content, and can be gone back from: on a disk and in buckets."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from preprocessing.errors import UserError
from serving import local_shelf, shelf as shelves
from serving.bucket_shelf import BucketShelf
from serving.local_shelf import LocalShelf, staged
from serving.mirror import keep_in_step, mirror
from serving.push import history, origin, push, rollback, versions
from serving.server.directories import find_versions, read_manifest, what_is_wrong
from serving.stores.objects import open_store, read
from serving.version_manifest import MANIFEST, VersionManifest, describe
from tfx_pipeline import cli


def model(directory: Path, content: str, parts: int = 3) -> Path:
    """Something that stands for a SavedModel."""
    (directory / "variables").mkdir(parents=True)
    (directory / "assets.extra").mkdir()
    for part in range(parts):
        (directory / "variables" / f"part-{part}").write_text(f"{content}-{part}" * 500)
    (directory / "assets.extra" / "mtmh.json").write_text("{}")
    (directory / "saved_model.pb").write_text(content)
    return directory


class Place:
    """A base path for versions, on a disk or in a bucket, and how a loader would look at it."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.bucket = "://" in base
        self._opened = open_store(base) if self.bucket else None

    def files(self) -> list[str]:
        """Names below the base, as a reader lists them."""
        if self._opened:
            store, prefix = self._opened
            return [name.removeprefix(f"{prefix}/") for name in store.sizes(f"{prefix}/")]
        walked = os.walk(self.base)
        return [os.path.relpath(os.path.join(parent, name), self.base) for parent, _, names in walked for name in names]

    def read(self, name: str) -> bytes:
        if self._opened:
            store, prefix = self._opened
            return read(store, f"{prefix}/{name}")
        return (Path(self.base) / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        if self._opened:
            store, prefix = self._opened
            store.write(f"{prefix}/{name}", data)
        else:
            path = Path(self.base) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def loadable(self) -> dict[int, set[str]]:
        """Files of each number with the file that a loader opens first."""
        found: dict[int, set[str]] = {}
        for name in self.files():
            number, _, rest = name.partition("/")
            if number.isdigit():
                found.setdefault(int(number), set()).add(rest)
        return {number: names for number, names in found.items() if "saved_model.pb" in names}

    def content(self, version: int) -> str:
        return self.read(f"{version}/saved_model.pb").decode()


@pytest.fixture(params=["disk", "s3", pytest.param("gcs", marks=pytest.mark.slow)])
def place(request, tmp_path) -> Place:
    if request.param == "disk":
        return Place(str(tmp_path / "serving" / "mtmh"))
    return Place(f"{request.getfixturevalue(request.param)}/{tmp_path.name}/mtmh")


@pytest.fixture
def one(tmp_path) -> Path:
    return model(tmp_path / "one", "one")


@pytest.fixture
def two(tmp_path) -> Path:
    return model(tmp_path / "two", "two")


def test_a_push_is_whole_and_checked(place, one):
    pushed = push(one, place.base)
    assert pushed.new
    assert abs(pushed.version - time.time()) < 60
    assert pushed.path == f"{place.base}/{pushed.version}"
    manifest = VersionManifest.from_json(place.read(f"{pushed.version}/{MANIFEST}"))
    assert manifest.digest == pushed.digest == describe(one).digest
    assert place.loadable() == {pushed.version: {*(file.path for file in manifest.files), MANIFEST}}
    assert set(place.files()) == {f"{pushed.version}/{name}" for name in place.loadable()[pushed.version]}
    assert (one / "saved_model.pb").exists()
    (state,) = history(place.base, verify=True)
    assert (state.status, state.faults) == ("served", ())


def test_google_cloud_storage_in_short(gcs, one, two, tmp_path):
    place = Place(f"{gcs}/{tmp_path.name}")
    first = push(one, place.base)
    assert push(one, place.base).version == first.version
    push(two, place.base)
    assert place.content(rollback(place.base).version) == "one"
    assert push(model(tmp_path / "three", "three"), place.base, keep=2).version == max(place.loadable())
    assert {state.faults for state in history(place.base, verify=True)} == {()}
    assert len(place.loadable()) == 2


def test_the_same_content_is_the_same_version(place, one, two):
    first = push(one, place.base)
    again = push(shutil.copytree(one, one.with_name("copy")), place.base)
    assert (again.version, again.new) == (first.version, False)
    second = push(two, place.base)
    assert second.version > first.version
    assert push(two, place.base).version == second.version
    assert versions(place.base) == [first.version, second.version]


def test_no_model_is_no_push(place, tmp_path):
    with pytest.raises(UserError, match=r"saved_model.pb is missing; `mtmh export`"):
        push(tmp_path, place.base)
    assert place.bucket or not Path(place.base).exists()


def test_versions_only_grow_and_n_of_them_stay(place, tmp_path, monkeypatch):
    monkeypatch.setattr(shelves.time, "time", lambda: 1000.0)
    place.write("99999999999/unfinished", b"")
    for number in range(4):
        push(model(tmp_path / str(number), str(number)), place.base, keep=2, protect=[100000000000])
    assert versions(place.base) == [100000000000, 100000000002, 100000000003]
    assert sorted(place.loadable()) == versions(place.base)


def test_rollback_and_forward(place, one, two, tmp_path):
    first, second = push(one, place.base), push(two, place.base)
    assert origin(place.base) == second.version
    back = rollback(place.base)
    assert (back.new, back.rollback_of) == (True, first.version)
    assert origin(place.base) == first.version
    assert back.version > second.version
    assert place.content(back.version) == "one"
    assert [state.status for state in history(place.base, verify=True)] == ["kept", "withdrawn", "served"]
    # A retry of the push that was rolled back does not bring it back, a new model is welcome, and so is a decision.
    with pytest.raises(UserError, match=f"withdrawn.*--to {second.version}"):
        push(two, place.base)
    with pytest.raises(UserError, match="no other model"):
        rollback(place.base)
    third = push(model(tmp_path / "three", "three"), place.base)
    with pytest.raises(UserError, match="withdrawn"):
        push(two, place.base)
    forward = rollback(place.base, second.version)
    assert place.content(forward.version) == "two"
    assert rollback(place.base, second.version).new is False
    assert [state.status for state in history(place.base)][-2:] == ["withdrawn", "served"]
    assert third.version < forward.version


def test_rollback_that_cannot_be(place, one, two):
    with pytest.raises(UserError, match="no version to go back from"):
        rollback(place.base)
    assert origin(place.base) is None
    first, second = push(one, place.base), push(two, place.base)
    with pytest.raises(UserError, match=f"no version 7; there are {first.version}, {second.version}"):
        rollback(place.base, 7)
    place.write(f"{first.version}/variables/part-1", b"x" * 2500)
    with pytest.raises(UserError, match="part-1"):
        rollback(place.base)
    assert [state.status for state in history(place.base)] == ["kept", "served"]
    damaged = history(place.base, verify=True)[0]
    assert (damaged.status, len(damaged.faults)) == ("damaged", 1)
    assert versions(place.base) == [first.version, second.version]


def test_a_version_without_a_manifest_counts_too(place, one, two):
    place.write("5/saved_model.pb", b"old")
    assert push(two, place.base).version > 5
    back = rollback(place.base, 5)
    assert place.content(back.version) == "old"


def test_a_poller_sees_whole_versions_only(place, tmp_path):
    """Pushes, retention and a rollback, while a reader lists all the time."""
    done, partial, seen = threading.Event(), [], set()

    def poll():
        while not done.is_set():
            for version, names in place.loadable().items():
                seen.add(version)
                # A listing is no snapshot: what it lacks of an old version may have been removed after the model file.
                if not {"variables/part-0", MANIFEST} <= names and version == max(versions(place.base), default=0):
                    partial.append((version, names))

    reader = threading.Thread(target=poll)
    reader.start()
    try:
        for number in range(3):
            push(model(tmp_path / f"m{number}", f"m{number}"), place.base, keep=2)
        rollback(place.base)
    finally:
        done.set()
        reader.join()
    assert not partial
    assert seen


def test_the_command_line(place, one, two, capsys, tmp_path):
    first, second = push(one, place.base), push(two, place.base)

    def mtmh(*arguments):
        status = cli.main([*arguments, "--model-base-path", place.base])
        return status, capsys.readouterr()

    status, said = mtmh("versions", "--json")
    assert status == 0
    assert [(each["version"], each["status"]) for each in json.loads(said.out)] == [
        (first.version, "kept"),
        (second.version, "served"),
    ]
    status, said = mtmh("rollback")
    assert status == 0
    assert f"content of version {first.version}" in said.out
    status, said = mtmh("rollback", "--to", str(first.version))
    assert "nothing to do" in said.out
    status, said = mtmh("rollback", "--to", "3")
    assert (status, "no version 3" in said.err) == (2, True)
    place.write(f"{second.version}/saved_model.pb", b"xxx")
    status, said = mtmh("versions", "--verify")
    assert status == 1
    assert "withdrawn" not in said.out
    assert "damaged" in said.out
    assert f"rollback to version {first.version}" in said.out
    assert cli.main(["versions", "--workdir", str(tmp_path / "nowhere")]) == 2
    assert "`mtmh run`" in capsys.readouterr().err


# --- kill -9 ------------------------------------------------------------------------------------------------------

_KILLED = """
import os, signal, sys
from pathlib import Path
from serving import bucket_shelf, local_shelf, push
from serving.stores import s3

left = int(sys.argv[3])

def counted(function):
    def step(*args, **named):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **named)
    return step

for module, names in ((os, ("rename", "fsync", "rmdir", "unlink")), (local_shelf.shutil, ("copytree", "rmtree"))):
    for name in names:
        setattr(module, name, counted(getattr(module, name)))
for name in ("upload", "copy", "write", "create", "delete", "sizes"):
    setattr(s3.S3Store, name, counted(getattr(s3.S3Store, name)))
push.push(Path(sys.argv[1]), sys.argv[2], keep=2)
print("pushed", flush=True)
"""


def killed_after(steps: int, source: Path, base: str) -> bool:
    """Pushes in a process that is killed after so many steps on the store; whether it was killed before its end."""
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(source), base, str(steps)], capture_output=True, text=True
    )
    if done.returncode not in (0, -signal.SIGKILL):
        raise AssertionError(done.stderr)
    return done.returncode != 0


@pytest.mark.parametrize("kind", ["disk", "s3"])
@pytest.mark.parametrize(
    "moments", [[0, 4, 13], pytest.param(list(range(60)), marks=pytest.mark.slow)], ids=["some", "all"]
)
def test_killed_at_any_moment(kind, moments, tmp_path, request, monkeypatch):
    """Nothing partial is seen, what was there stays, and the next push ends well and leaves nothing of the remains."""
    monkeypatch.setattr("serving.bucket_shelf.ABANDONED_SECONDS", 0.0)
    kills = 0
    for moment in moments:
        root = str(tmp_path) if kind == "disk" else f"{request.getfixturevalue('s3')}/{tmp_path.name}"
        place = Place(f"{root}/{moment}/mtmh")
        old = [push(model(tmp_path / f"{moment}-{name}", name), place.base).version for name in ("a", "b")]
        new = model(tmp_path / f"{moment}-new", "new")
        if not killed_after(moment, new, place.base):
            break
        kills += 1
        whole = {file.path for file in describe(new).files} | {MANIFEST}
        seen = place.loadable()
        assert old[-1] in seen
        assert all(names == whole for version, names in seen.items() if version != old[0])
        after = push(new, place.base, keep=2)
        assert history(place.base, verify=True)[-1].status == "served"
        assert place.content(after.version) == "new"
        assert {name.split("/")[0] for name in place.files()} == {str(version) for version in versions(place.base)}
        assert len(versions(place.base)) in (2, 3)
    assert kills >= min(3, len(moments))


# --- only on a disk -----------------------------------------------------------------------------------------------


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


# --- only in a bucket ---------------------------------------------------------------------------------------------


def test_a_number_is_claimed_once(s3, one, two, tmp_path, monkeypatch):
    """Two pushes that choose the same number do not mix; one that is at work is not swept away."""
    monkeypatch.setattr(shelves.time, "time", lambda: 1000.0)
    store, prefix = open_store(f"{s3}/{tmp_path.name}")
    shelf = BucketShelf(store, prefix, s3)
    store.write(f"{prefix}/.claims/1000", b"theirs")
    store.write(f"{prefix}/1000/variables/part-0", b"theirs")
    monkeypatch.setattr(shelf, "_claimed", list)
    monkeypatch.setattr(shelf, "_numbers", dict)
    assert shelf.put(one, describe(one).stamped()) == 1001
    assert shelf.put(two, describe(two).stamped()) == 1002
    monkeypatch.undo()
    shelf.sweep()
    assert (shelf.versions(), shelf.incomplete()) == ([1001, 1002], [1000])
    BucketShelf(store, prefix, s3, abandoned_seconds=0.0).sweep()
    assert shelf.incomplete() == []
    assert {name.split("/")[1] for name in store.sizes(prefix)} == {"1001", "1002"}


def test_a_mirror_of_a_bucket(s3, one, two, tmp_path, capsys):
    """What the bucket serves, under its number, checked; a rollback is followed like a push."""
    source, base = f"{s3}/{tmp_path.name}/mtmh", tmp_path / "local"
    assert mirror(source, base) is None
    first, second = push(one, source), push(two, source)
    assert mirror(source, base) == second.version
    assert mirror(source, base) == second.version
    (state,) = history(base, verify=True)
    assert (state.version, state.status, state.faults) == (second.version, "served", ())
    back = rollback(source)
    assert cli.main(["mirror", "--source", source, "--model-base-path", str(base), "--keep", "2"]) == 0
    assert capsys.readouterr().out.strip() == str(base / str(back.version))
    assert versions(base) == [second.version, back.version]
    assert (base / str(back.version) / "saved_model.pb").read_text() == "one"
    third = push(model(tmp_path / "three", "three"), source)
    Place(source).write(f"{third.version}/variables/part-0", b"damaged")
    with pytest.raises(UserError, match=r"did not arrive whole.*part-0"):
        mirror(source, base)
    assert versions(base) == [second.version, back.version]
    assert first.version not in versions(base)
    stop = threading.Event()
    looking = threading.Thread(target=keep_in_step, args=(source, base, 2, 0.1, stop))
    looking.start()
    fourth = push(model(tmp_path / "four", "four"), source)
    for _ in range(200):
        if versions(base)[-1] == fourth.version:
            break
        time.sleep(0.05)
    stop.set()
    looking.join()
    assert versions(base) == [back.version, fourth.version]
    with pytest.raises(UserError, match="is no bucket"):
        mirror(str(base), base)


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ("ftp://somewhere/mtmh", "expected s3://, gs://"),
        ("s3:///mtmh", "names no bucket"),
        ("s3://no-such-bucket-at-all/mtmh", "no-such-bucket-at-all"),
    ],
)
def test_buckets_that_are_none(s3, one, base, words):
    with pytest.raises(UserError, match=words):
        push(one, base)
