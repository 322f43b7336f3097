"""Whether preprocessed data are fit to train on: schema, drift from the last blessed span, and the account of rows.

ExampleValidator finds what breaks the schema, but knows no earlier span and stops nothing. Here its anomalies count,
`tfdv.validate_statistics` looks again with the statistics of the data that the last blessed model was trained on, and
the manifest says what statistics of items and of a sample of pairs cannot: how many rows there were, and of when.
"""

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from preprocessing.config import DataGateConfig
from preprocessing.manifest import load_manifest
from preprocessing.schema import Manifest, TableCounts
from tfx_pipeline.schema import BRANCHES, parse_schema
from tfx_pipeline.verdict import Verdict

STATISTICS: Final = "FeatureStats.pb"
_DAY: Final = 86_400.0


@dataclasses.dataclass(frozen=True)
class Branch:
    """One branch of the data.

    Attributes:
      name: ``items`` or ``pairs``.
      statistics: DatasetFeatureStatisticsList.
      schema: Schema.
      anomalies: what ExampleValidator has found: Anomalies.
    """

    name: str
    statistics: Any
    schema: Any
    anomalies: Any


@dataclasses.dataclass(frozen=True)
class Span:
    """All that is known of one run's data."""

    branches: tuple[Branch, ...]
    manifest: Manifest


def read_branch(directories: Mapping[str, Path], name: str) -> Branch:
    """Reads a branch from the directories of its artifacts, ``<name>_statistics``, ``_schema`` and ``_anomalies``."""
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    (schema,) = directories[f"{name}_schema"].iterdir()
    (found,) = directories[f"{name}_anomalies"].glob("Split-*/*")
    return Branch(
        name,
        read_statistics(directories[f"{name}_statistics"]),
        parse_schema(schema.read_text(encoding="utf-8"), str(schema)),
        anomalies_pb2.Anomalies.FromString(found.read_bytes()),
    )


def read_statistics(directory: Path) -> Any:
    """The statistics of an artifact's one split."""
    from tensorflow_metadata.proto.v0 import statistics_pb2

    (found,) = directory.glob(f"Split-*/{STATISTICS}")
    return statistics_pb2.DatasetFeatureStatisticsList.FromString(found.read_bytes())


def read_span(items: Branch, pairs: Branch, manifest: Path) -> Span:
    """Both branches and the manifest in a directory."""
    return Span((items, pairs), load_manifest(str(manifest)))


def check_data(span: Span, baseline: Path, config: DataGateConfig) -> Verdict:
    """Judges a span's data.

    Args:
      span: of this run.
      baseline: directory of the last blessed data, see `tfx_pipeline.blessed`; empty on the first run.
      config: bounds.
    """
    from tfx_pipeline.blessed import earlier_manifest, earlier_statistics

    reasons: list[str] = []
    for branch in span.branches:
        reasons += anomaly_lines(branch.name, branch.anomalies)
        earlier = earlier_statistics(baseline, branch.name)
        if earlier is not None:
            reasons += _drift(branch, earlier)
    manifest = span.manifest
    for name, table in _tables(manifest):
        reasons += _dead_letters(name, table, config)
    reasons += _times(manifest, config)
    before = earlier_manifest(baseline)
    if before is not None:
        reasons += _rows(manifest, before, config)
    figures = {
        "interactions": dataclasses.asdict(manifest.interactions),
        "split_time": manifest.split_time,
        "compared_with_an_earlier_span": before is not None,
        "branches": list(BRANCHES),
    }
    return Verdict("DataGate", "the data", tuple(dict.fromkeys(reasons)), figures)


def anomaly_lines(branch: str, anomalies: Any) -> list[str]:
    """Anomalies of a branch as lines, those of the whole data set first."""
    found = []
    if anomalies.HasField("dataset_anomaly_info"):
        found.append(f"{branch}: {anomalies.dataset_anomaly_info.description}")
    for feature, info in sorted(anomalies.anomaly_info.items()):
        found.append(f"{branch}, feature {feature}: {info.description}")
    return found


def _drift(branch: Branch, earlier: Any) -> list[str]:
    import tensorflow_data_validation as tfdv

    found = tfdv.validate_statistics(branch.statistics, branch.schema, previous_statistics=earlier)
    return anomaly_lines(branch.name, found)


def _tables(manifest: Manifest) -> tuple[tuple[str, TableCounts], ...]:
    return (
        ("interactions", manifest.interactions),
        ("items", manifest.items),
        ("annotations", manifest.annotations),
    )


def _dead_letters(name: str, table: TableCounts, config: DataGateConfig) -> list[str]:
    dead = sum(table.dead_letters.values())
    if not table.rows_in or dead <= config.max_dead_share * table.rows_in:
        return []
    worst = max(table.dead_letters, key=lambda reason: table.dead_letters[reason])
    return [
        f"{name}: {dead:,} of {table.rows_in:,} rows are dead letters, most of them {worst}; "
        f"data_gate.max_dead_share is {config.max_dead_share:g}"
    ]


def _times(manifest: Manifest, config: DataGateConfig) -> list[str]:
    ahead = (manifest.split_time - time.time()) / _DAY
    if ahead <= config.future_days:
        return []
    return [
        f"interactions: the split lies {ahead:,.0f} days ahead of the clock, so timestamps are not unix seconds "
        "(milliseconds have 13 digits); data_gate.future_days says how far it may"
    ]


def _rows(manifest: Manifest, before: Manifest, config: DataGateConfig) -> list[str]:
    now, then = manifest.interactions.rows_used, before.interactions.rows_used
    if config.least_rows * then <= now <= config.most_rows * then:
        return []
    return [
        f"interactions: {now:,} rows are used, the last blessed data had {then:,}; data_gate.least_rows and most_rows "
        f"admit {config.least_rows:g} to {config.most_rows:g} times as many"
    ]
