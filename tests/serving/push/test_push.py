"""Versions appear whole or not at all, once for one content, and can be gone back from: on a disk and in buckets."""

import json
import shutil
import threading
import time
from pathlib import Path

import pytest

from preprocessing.errors import UserError
from serving import shelf as shelves
from serving.push import history, origin, push, rollback, versions
from serving.version_manifest import MANIFEST, MODEL_CARD, VersionManifest, describe
from tests.serving.push.places import Place, model
from tfx_pipeline import cli


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


def built(directory, files, content):
    """Files that say what they were built of: others each time, of the same model."""
    built = model(directory, files)
    (built / MODEL_CARD).write_text(json.dumps({"content": content}))
    return built


def test_what_is_built_again_of_the_same_is_the_same_content(place, tmp_path, caplog):
    first = push(built(tmp_path / "first", "first build", "monday"), place.base)
    again = push(built(tmp_path / "again", "second build", "monday"), place.base)
    assert (again.version, again.new, again.digest) == (first.version, False, "monday")
    tuesday = push(built(tmp_path / "tuesday", "first build", "tuesday"), place.base)
    assert tuesday.new
    assert rollback(place.base).rollback_of == first.version
    # On neither way does what was withdrawn come back by a build of its own.
    with pytest.raises(UserError, match=f"withdrawn.*--to {tuesday.version}"):
        push(built(tmp_path / "rebuilt", "other bytes", "tuesday"), place.base)
    assert [state.status for state in history(place.base, verify=True)] == ["kept", "withdrawn", "served"]
    back = rollback(place.base, tuesday.version)
    place.write(f"{back.version}/variables/part-1", b"damaged")
    mended = push(built(tmp_path / "mended", "yet other bytes", "tuesday"), place.base)
    assert mended.new
    assert place.content(mended.version) == "yet other bytes"
    assert f"{back.path} is damaged (variables/part-1" in caplog.text


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


def test_a_work_directory_goes_back_in_both_flavours(tmp_path, capsys, caplog, monkeypatch):
    """Their numbers are their own."""
    bases = {"stock": tmp_path / "serving" / "mtmh-stock", "main": tmp_path / "serving" / "mtmh"}
    seconds = iter(range(1000, 2000))
    monkeypatch.setattr(shelves.time, "time", lambda: next(seconds))
    monkeypatch.chdir(tmp_path)

    def go_back(*more):
        status = cli.main(["rollback", "--workdir", str(tmp_path), *more])
        return status, capsys.readouterr()

    def served():
        return [(base / str(versions(base)[-1]) / "saved_model.pb").read_text() for base in bases.values()]

    pushed = {}
    for name in ("one", "two", "three"):
        for flavour, base in bases.items():
            pushed[name, flavour] = push(model(tmp_path / name / flavour, f"{name}-{flavour}", made_of=name), base)
    status, said = go_back("--to", "7")
    assert (status, served()) == (2, ["three-stock", "three-main"])
    assert "no version 7" in said.err
    status, said = go_back()
    assert (status, served()) == (0, ["two-stock", "two-main"])
    for flavour, base in bases.items():
        line = f"published {base / str(versions(base)[-1])}: the content of version {pushed['two', flavour].version}"
        assert line in said.out
    # Killed between the two, it goes on where it was.
    rollback(bases["stock"], pushed["one", "stock"].version)
    status, said = go_back("--to", str(pushed["one", "main"].version))
    assert (status, served()) == (0, ["one-stock", "one-main"])
    assert f"nothing to do: {bases['stock']}" in said.out
    # What stood beside an older version is gone.
    push(model(tmp_path / "four", "four-stock"), bases["stock"], keep=1)
    status, said = go_back("--to", str(pushed["two", "main"].version))
    assert (status, served()) == (0, ["four-stock", "two-main"])
    assert "it stays at version" in caplog.text


def test_the_flavours_of_a_model_go_back_together_also_where_one_was_pushed_later(tmp_path):
    main, stock = tmp_path / "serving" / "mtmh", tmp_path / "serving" / "mtmh-stock"
    push(model(tmp_path / "main", "one-main", made_of="one"), main)
    push(model(tmp_path / "stock", "one-stock", made_of="one"), stock)
    assert not push(model(tmp_path / "again", "one-main, built again", made_of="one"), main).new
    for base in (stock, main):
        push(model(tmp_path / f"two-{base.name}", "two", made_of="two"), base)
    assert cli.main(["rollback", "--workdir", str(tmp_path)]) == 0
    served = [(base / str(versions(base)[-1]) / "saved_model.pb").read_text() for base in (main, stock)]
    assert served == ["one-main", "one-stock"]


def test_a_rollback_mends_a_damaged_version_of_the_same_content(place, tmp_path):
    first = push(model(tmp_path / "a", "a", made_of="a"), place.base)
    push(model(tmp_path / "b", "b", made_of="b"), place.base)
    rollback(place.base)
    damaged = versions(place.base)[-1]
    place.write(f"{damaged}/variables/part-1", b"x")
    mended = rollback(place.base, first.version)
    assert mended.new
    assert [state.status for state in history(place.base, verify=True)][-2:] == ["damaged", "served"]
    assert rollback(place.base, first.version).new is False
    with pytest.raises(UserError, match="withdrawn"):
        push(model(tmp_path / "b, built again", "b'", made_of="b"), place.base)


def test_a_damaged_stock_version_does_not_keep_the_main_one_from_going_back(tmp_path, capsys, caplog):
    main, stock = tmp_path / "serving" / "mtmh", tmp_path / "serving" / "mtmh-stock"
    for name in ("one", "two"):
        beside = push(model(tmp_path / name / "stock", f"{name}-stock", made_of=name), stock)
        push(model(tmp_path / name / "main", f"{name}-main", made_of=name), main)
    damaged = versions(stock)[0]
    (stock / str(damaged) / "variables" / "part-1").write_bytes(b"x")
    assert cli.main(["rollback", "--workdir", str(tmp_path)]) == 0
    assert (main / str(versions(main)[-1]) / "saved_model.pb").read_text() == "one-main"
    assert versions(stock) == [damaged, beside.version]
    assert f"published {main / str(versions(main)[-1])}" in capsys.readouterr().out
    assert f"{stock} stays at version {beside.version}: {stock / str(damaged)} is damaged" in caplog.text
    assert f"mtmh rollback --model-base-path {stock} --to VERSION" in caplog.text


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
