"""Data that break the schema, or are not like the last blessed ones, train nothing."""

import dataclasses
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from preprocessing.backend import tf  # noqa: F401 before TFDV imports TensorFlow in a flavour of its own
from preprocessing.config import DataGateConfig
from preprocessing.errors import UserError
from preprocessing.manifest import save_manifest
from preprocessing.schema import LAYOUT_VERSION, Manifest, TableCounts
from tfx_pipeline.data_gate import Branch, Span, check_data
from tfx_pipeline.schema import parse_schema, schema_text

CONFIG = DataGateConfig()
NOTHING = TableCounts(0, 0, {}, {}, {})


def statistics(frame):
    import tensorflow_data_validation as tfdv

    return tfdv.generate_statistics_from_dataframe(frame, n_jobs=1)


def items_frame(number=200, scale=20.0):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "item_index": np.arange(number),
            "item_id": [f"i{row}" for row in range(number)],
            "title": [f"thing {row}" for row in range(number)],
            "description": ["words"] * number,
            "categories": [["red" if row % 2 else "blue"] for row in range(number)],
            "content_vector": [[0.6, 0.8]] * number,
            "interaction_count": rng.exponential(scale, number).astype(int),
            "target_count": rng.exponential(scale, number).astype(int),
            "recent_count": list(rng.integers(0, 9, (number, 3))),
        }
    )


def pairs_frame(number=500):
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "trigger_id": [f"i{row}" for row in rng.integers(0, 200, number)],
            "target_id": [f"i{row}" for row in rng.integers(0, 200, number)],
            "weight": 0.9 ** rng.integers(0, 5, number),
            "content_cosine": rng.uniform(-0.2, 1.0, number),
            "shared_categories": rng.integers(0, 2, number),
        }
    )


def branch(name, frame):
    import tensorflow_data_validation as tfdv

    found, schema = statistics(frame), parse_schema(schema_text(name, CONFIG), name)
    return Branch(name, found, schema, tfdv.validate_statistics(found, schema))


def manifest(rows=1000, split_time=1.6e9, dead=0):
    counts = TableCounts(rows + dead, rows, {"bad_timestamp": dead} if dead else {}, {}, {})
    return Manifest(
        layout_version=LAYOUT_VERSION, interactions=counts, items=NOTHING, annotations=NOTHING, num_items=200,
        num_pairs=500, num_validation_triggers=1, num_triggers=1, num_users=10, num_annotations=0, content_dimension=2,
        validation_time=split_time, split_time=split_time, files=(), config={},
    )  # fmt: skip


@pytest.fixture(scope="module")
def good():
    return Span((branch("items", items_frame()), branch("pairs", pairs_frame())), manifest())


@pytest.fixture(scope="module")
def baseline(good, tmp_path_factory):
    directory = tmp_path_factory.mktemp("baseline")
    for each in good.branches:
        place = directory / "statistics" / each.name / "Split-train"
        place.mkdir(parents=True)
        (place / "FeatureStats.pb").write_bytes(each.statistics.SerializeToString())
    save_manifest(good.manifest, str(directory))
    return directory


def refused(span, baseline=Path("/nonexistent"), config=CONFIG):
    verdict = check_data(span, baseline, config)
    assert not verdict.passed
    with pytest.raises(UserError, match="DataGate refuses the data: ") as caught:
        verdict.require()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_good_data_pass_alone_and_beside_their_like(good, baseline, tmp_path):
    assert check_data(good, tmp_path, CONFIG).passed
    found = check_data(good, baseline, CONFIG)
    assert found.passed
    assert found.figures["compared_with_an_earlier_span"]
    found.save(tmp_path)
    assert '"passed": true' in (tmp_path / "verdict.json").read_text()


def test_what_breaks_the_schema_is_named(good):
    frame = pairs_frame().rename(columns={"weight": "wait"})
    frame["content_cosine"] = 7.0
    line = refused(dataclasses.replace(good, branches=(good.branches[0], branch("pairs", frame))))
    for words in ("pairs, feature weight", "pairs, feature wait", "pairs, feature content_cosine"):
        assert words in line


def test_drift_from_the_last_blessed_data_is_named(good, baseline):
    frame = items_frame(scale=2000.0)
    drifted = dataclasses.replace(good, branches=(branch("items", frame), good.branches[1]))
    assert check_data(drifted, Path("/nonexistent"), CONFIG).passed
    assert "items, feature interaction_count" in refused(drifted, baseline)
    few = dataclasses.replace(good, branches=(branch("items", items_frame(number=40)), good.branches[1]))
    assert "items: " in refused(few, baseline)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rows": 400}, "400 rows are used, the last blessed data had 1,000"),
        ({"rows": 9000}, "9,000 rows are used"),
        ({"dead": 200}, "200 of 1,200 rows are dead letters, most of them bad_timestamp"),
        ({"split_time": time.time() + 30 * 86400}, "30 days ahead of the clock"),
    ],
)
def test_the_account_of_rows_counts_too(good, baseline, changes, words):
    assert words in refused(dataclasses.replace(good, manifest=manifest(**changes)), baseline)


def test_a_schema_of_ones_own(tmp_path):
    own = tmp_path / "items.pbtxt"
    own.write_text('feature { name: "only" type: INT }')
    text = schema_text("items", DataGateConfig(schema_items=str(own)))
    assert parse_schema(text, "own").feature[0].name == "only"
    with pytest.raises(UserError, match="own is no Schema"):
        parse_schema("feature {", "own")
    with pytest.raises(UserError, match=r"data_gate\.schema_items"):
        schema_text("items", DataGateConfig(schema_items=str(tmp_path / "none")))
