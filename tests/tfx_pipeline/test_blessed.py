"""What a run is compared with."""

import pytest

from preprocessing.errors import UserError
from tfx_pipeline.blessed import NONE, earlier_manifest, earlier_statistics, find_baseline, record, warm_start_base


@pytest.fixture
def store(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("w")
    (tmp_path / "manifest.json").write_text("{}")
    return tmp_path / "blessed"


def keep(store, version, data, model):
    parts = {"model": store.parent / "model", "manifest.json": store.parent / "manifest.json"}
    return record(store, version, {"data": data, "model": model}, parts)


def test_on_the_first_run_there_is_nothing_to_compare_with(store):
    found = find_baseline(store, "data", "a", None)
    assert found == store / NONE
    assert list(found.iterdir()) == []
    assert earlier_statistics(found, "items") is None
    assert earlier_manifest(found) is None


def test_data_and_model_are_compared_with_the_newest_of_another_identity(store):
    keep(store, 10, "monday", "monday, lambda 0.5")
    keep(store, 20, "tuesday", "tuesday, lambda 0.5")
    keep(store, 30, "tuesday", "tuesday, lambda 0.3")
    assert find_baseline(store, "data", "tuesday", 30).name == "10"
    assert find_baseline(store, "model", "tuesday, lambda 0.3", 30).name == "20"
    assert find_baseline(store, "data", "wednesday", 30).name == "30"
    assert (store / "30" / "model" / "weights").read_text() == "w"


def test_a_training_begins_with_the_newest_record_of_another_training(store):
    assert warm_start_base(find_baseline(store, "training", "tuesday", None)) is None
    keep(store, 10, "monday", "monday")  # as records were before they named their training
    base = warm_start_base(find_baseline(store, "training", "tuesday", 10))
    assert (base.directory, base.name) == (store / "10" / "model", "version 10")
    record(store, 20, {"data": "d", "model": "m", "training": "tuesday"}, {"model": store.parent / "model"})
    assert find_baseline(store, "training", "tuesday", 20).name == "10"  # an unchanged run finds itself in the cache
    assert find_baseline(store, "training", "wednesday", 20).name == "20"
    (store / "20" / "baseline.json").write_text("[]")
    with pytest.raises(UserError, match="no usable record of a push"):
        warm_start_base(store / "20")


def test_what_was_rolled_back_is_no_baseline(store):
    keep(store, 10, "monday", "monday")
    keep(store, 20, "tuesday", "tuesday")
    assert find_baseline(store, "model", "wednesday", 10).name == "10"


def test_damaged_records_are_passed_over_and_old_ones_removed(store):
    for version in range(1, 9):
        keep(store, version, f"day {version}", f"day {version}")
    assert sorted(int(path.name) for path in store.iterdir()) == [4, 5, 6, 7, 8]
    (store / "8" / "baseline.json").write_text("{")
    assert find_baseline(store, "data", "today", 8).name == "7"
    keep(store, 8, "day 8", "day 8")
    assert find_baseline(store, "data", "today", 8).name == "8"
    assert not list(store.glob(".staging-*"))
