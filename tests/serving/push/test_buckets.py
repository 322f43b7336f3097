"""What pushes to a bucket meet, and the mirror of one."""

import threading
import time

import pytest

from preprocessing.errors import UserError
from serving import shelf as shelves
from serving.bucket_shelf import BucketShelf
from serving.mirror import keep_in_step, mirror
from serving.push import history, push, rollback, versions
from serving.stores.objects import open_store
from serving.version_manifest import MANIFEST, describe
from tests.serving.push.places import Place, model
from tfx_pipeline import cli


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


def test_directories_of_others_stay(s3, one, two, tmp_path, monkeypatch):
    """A year's logs look like a version that is incomplete, but no push has claimed their number."""
    monkeypatch.setattr("serving.bucket_shelf.ABANDONED_SECONDS", 0.0)
    place = Place(f"{s3}/{tmp_path.name}")
    logs = ["2024/01/clicks.csv", "2025/clicks.csv", "readme.txt"]
    for name in logs:
        place.write(name, b"clicks")
    with pytest.raises(UserError, match="no version to go back from"):
        rollback(place.base)
    assert place.files() == logs
    push(one, place.base)
    push(two, place.base)
    rollback(place.base)
    assert {*logs} < {*place.files()}
    # The remains of a push have a claim, those of a removal a manifest; a claim alone is old, too.
    for name in ("7/variables/part-0", ".claims/7", f"8/{MANIFEST}", "8/variables/part-0", ".claims/9"):
        place.write(name, b"ours")
    push(model(tmp_path / "three", "three"), place.base)
    assert {name.split("/")[0] for name in place.files()} == {
        "2024", "2025", "readme.txt", *(str(version) for version in versions(place.base))
    }  # fmt: skip


def test_a_removal_says_to_its_end_whose_the_files_are(s3, one, tmp_path, monkeypatch):
    """Killed in the middle, it leaves what the next push knows as ours."""
    store, prefix = open_store(f"{s3}/{tmp_path.name}")
    shelf = BucketShelf(store, prefix, s3)
    version = shelf.put(one, describe(one).stamped())
    gone: list[str] = []
    monkeypatch.setattr(store, "delete", lambda names: gone.extend(name.split("/", 2)[2] for name in names))
    shelf.remove(version)
    assert (gone[0], gone[-1]) == ("saved_model.pb", MANIFEST)
    assert len(gone) == len(describe(one).files) + 1


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
    Place(source).write(f"{fourth.version + 1}/saved_model.pb", b"five")
    Place(source).write(f"{fourth.version + 1}/{MANIFEST}", b'{"format_version"')
    with pytest.raises(UserError, match=rf"the manifest of \S+/{fourth.version + 1} is damaged"):
        mirror(source, base)
    with pytest.raises(UserError, match="is no bucket"):
        mirror(str(base), base)


def test_a_mirror_keeps_what_the_server_holds_by_number(s3, tmp_path, capsys):
    source, base = f"{s3}/{tmp_path.name}/mtmh", tmp_path / "local"
    pushed = [push(model(tmp_path / str(number), str(number)), source).version for number in range(3)]
    arguments = ["mirror", "--source", source, "--model-base-path", str(base), "--keep", "1"]
    pins = ["--version", str(pushed[0])]
    assert cli.main([*arguments, *pins]) == 0
    assert versions(base) == [pushed[0], pushed[2]]
    latest = push(model(tmp_path / "latest", "latest"), source, keep=1).version
    assert versions(source) == [latest]
    assert cli.main([*arguments, *pins]) == 0  # gone from the bucket, but here
    assert versions(base) == [pushed[0], latest]
    assert {state.faults for state in history(base, verify=True)} == {()}
    assert cli.main([*arguments, *pins, "--version", "7"]) == 2
    assert f"no version 7; there are {latest}" in capsys.readouterr().err
    assert cli.main(arguments) == 0
    assert versions(base) == [latest]


def test_a_refused_upload_is_told(s3, one):
    """The client wraps what the store answers in an error of another kind than it does elsewhere."""
    store, _ = open_store("s3://no-such-bucket-at-all/mtmh")
    with pytest.raises(UserError, match=r"s3://no-such-bucket-at-all/mtmh/x: .*NoSuchBucket"):
        store.upload(one / "saved_model.pb", "mtmh/x")


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
