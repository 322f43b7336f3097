"""What a run is compared with."""

import pytest

from preprocessing.errors import UserError
from serving.push import push, rollback, versions
from tfx_pipeline.blessed import (
    NONE,
    Lineage,
    earlier_manifest,
    earlier_statistics,
    find_baseline,
    lineage,
    record,
    warm_start_base,
)


@pytest.fixture
def store(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("w")
    (tmp_path / "manifest.json").write_text("{}")
    return tmp_path / "blessed"


def keep(store, version, data, model, digest="", served=None):
    parts = {"model": store.parent / "model", "manifest.json": store.parent / "manifest.json"}
    record(store, version, {"data": data, "model": model}, parts, served=served or Lineage(version), digest=digest)


def test_on_the_first_run_there_is_nothing_to_compare_with(store):
    found = find_baseline(store, "data", "a", Lineage())
    assert found == store / NONE
    assert list(found.iterdir()) == []
    assert earlier_statistics(found, "items") is None
    assert earlier_manifest(found) is None


def test_data_and_model_are_compared_with_the_newest_of_another_identity(store):
    keep(store, 10, "monday", "monday, lambda 0.5")
    keep(store, 20, "tuesday", "tuesday, lambda 0.5")
    keep(store, 30, "tuesday", "tuesday, lambda 0.3")
    assert find_baseline(store, "data", "tuesday", Lineage(30)).name == "10"
    assert find_baseline(store, "model", "tuesday, lambda 0.3", Lineage(30)).name == "20"
    assert find_baseline(store, "data", "wednesday", Lineage(30)).name == "30"
    assert (store / "30" / "model" / "weights").read_text() == "w"


def test_a_training_begins_with_the_newest_record_of_another_training(store):
    assert warm_start_base(find_baseline(store, "training", "tuesday", Lineage())) is None
    keep(store, 10, "monday", "monday")  # as records were before they named their training
    base = warm_start_base(find_baseline(store, "training", "tuesday", Lineage(10)))
    assert (base.directory, base.name) == (store / "10" / "model", "version 10")
    record(
        store,
        20,
        {"data": "d", "model": "m", "training": "tuesday"},
        {"model": store.parent / "model"},
        served=Lineage(20),
    )
    assert (
        find_baseline(store, "training", "tuesday", Lineage(20)).name == "10"
    )  # an unchanged run finds itself in the cache
    assert find_baseline(store, "training", "wednesday", Lineage(20)).name == "20"
    (store / "20" / "baseline.json").write_text("[]")
    with pytest.raises(UserError, match="no usable record of a push"):
        warm_start_base(store / "20")


def test_what_was_rolled_back_is_no_baseline(store):
    keep(store, 10, "monday", "monday")
    keep(store, 20, "tuesday", "tuesday")
    assert find_baseline(store, "model", "wednesday", Lineage(10)).name == "10"


@pytest.fixture
def shelf(store, tmp_path):
    """Pushes and records a model under a name, which names its data too; the version."""

    def publish(name, versions_kept=None, identity=None, protect=()):
        source = tmp_path / name
        source.mkdir(exist_ok=True)
        (source / "saved_model.pb").write_text(name)
        base = tmp_path / "serving"
        pushed = push(source, base, versions_kept, protect=protect)
        identity = identity or name
        keep(store, pushed.version, identity, identity, pushed.digest, lineage(base))
        return pushed.version

    return publish


def test_what_was_rolled_back_is_no_baseline_after_a_later_push_either(store, shelf, tmp_path):
    base = tmp_path / "serving"
    assert lineage(base) == Lineage()
    monday, tuesday, wednesday = (shelf(day) for day in ("monday", "tuesday", "wednesday"))
    rollback(base)
    assert find_baseline(store, "model", "thursday", lineage(base)).name == str(tuesday)
    thursday = shelf("thursday")
    for part in ("model", "data"):  # that of thursday's own run, so that an unchanged one is found in the cache
        assert find_baseline(store, part, "thursday", lineage(base)).name == str(tuesday)
    assert find_baseline(store, "model", "friday", lineage(base)).name == str(thursday)
    rollback(base, to=wednesday)  # brought back, it counts again, and what it takes the place of does not
    assert find_baseline(store, "model", "friday", lineage(base)).name == str(wednesday)
    rollback(base, to=monday)
    shelf("friday")
    assert find_baseline(store, "model", "friday", lineage(base)).name == str(monday)


def test_what_was_rolled_back_is_no_baseline_after_the_rollback_itself_is_removed(store, shelf, tmp_path):
    base = tmp_path / "serving"
    monday, tuesday = shelf("monday"), shelf("tuesday")
    back = rollback(base).version
    shelf("wednesday", 2)
    thursday = shelf("thursday", 2)
    assert back not in versions(base)
    keep(store, thursday, "wednesday", "thursday")  # both were made of the same data
    assert find_baseline(store, "data", "wednesday", lineage(base)).name == str(monday)
    # A record of before they named their content.
    (store / str(tuesday) / "baseline.json").write_text('{"version": 2, "identity": {"data": "tuesday"}}')
    assert find_baseline(store, "data", "wednesday", lineage(base)).name == str(tuesday)


def test_damaged_records_are_passed_over_and_old_ones_removed(store):
    for version in range(1, 9):
        keep(store, version, f"day {version}", f"day {version}")
    assert sorted(int(path.name) for path in store.iterdir()) == [4, 5, 6, 7, 8]
    (store / "8" / "baseline.json").write_text("{")
    assert find_baseline(store, "data", "today", Lineage(8)).name == "7"
    keep(store, 8, "day 8", "day 8")
    assert find_baseline(store, "data", "today", Lineage(8)).name == "8"
    assert not list(store.glob(".staging-*"))


def test_records_of_what_stands_stay_whatever_their_age(store, shelf, tmp_path):
    base = tmp_path / "serving"
    held, _ = shelf("held", 3), shelf("left", 3)
    back = rollback(base, held).version
    nights = [shelf(f"night {night}", 3, protect=(back,)) for night in range(8)]
    assert versions(base) == [back, *nights[-3:]]
    assert sorted(int(path.name) for path in store.iterdir()) == [held, *nights[-5:]]
    rollback(base, back)
    assert find_baseline(store, "model", "tomorrow", lineage(base)).name == str(held)


def test_what_a_run_was_compared_with_stays_through_refreshes(store, shelf, tmp_path):
    """So that the same run again finds its gates in the cache, and leaves what was published after it."""
    monday = shelf("monday", 2)
    shelf("tuesday", 2)
    for refresh in range(8):
        shelf(f"refresh {refresh}", 2, identity="tuesday")
    for part in ("data", "model"):
        assert find_baseline(store, part, "tuesday", lineage(tmp_path / "serving")).name == str(monday)
    assert len([path for path in store.iterdir() if path.name.isdigit()]) == 6
