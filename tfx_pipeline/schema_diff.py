"""``mtmh schema``: what the data of a work directory look like, and where the curated schemas say otherwise."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from preprocessing.errors import UserError
from tfx_pipeline.config import RunConfig
from tfx_pipeline.data_gate import STATISTICS, anomaly_lines, read_statistics
from tfx_pipeline.schema import BRANCHES, parse_schema, schema_text
from tfx_pipeline.workdir import Workdir, write_whole


@dataclasses.dataclass(frozen=True)
class Inferred:
    """A branch's schema as its data suggest it.

    Attributes:
      branch: ``items`` or ``pairs``.
      text: the schema, in text format.
      differences: from the curated one, a line each.
    """

    branch: str
    text: str
    differences: tuple[str, ...]


def infer_schemas(workdir: Workdir, config: RunConfig, output: Path | None) -> list[Inferred]:
    """Infers both schemas from the newest statistics, compares them with the curated ones, and may write them.

    Raises:
      UserError: there are no statistics, or a curated schema cannot be read.
    """
    found = [_infer(workdir, branch, schema_text(branch, config.data_gate)) for branch in BRANCHES]
    for inferred in found if output else ():
        write_whole(Path(output or "") / f"{inferred.branch}.pbtxt", inferred.text)
    return found


def _infer(workdir: Workdir, branch: str, curated_text: str) -> Inferred:
    import tensorflow_data_validation as tfdv
    from google.protobuf import text_format

    from preprocessing.backend import tf  # noqa: F401 before TFDV imports TensorFlow in a flavour of its own

    statistics = read_statistics(_newest(workdir, branch))
    inferred = tfdv.infer_schema(statistics)
    curated = parse_schema(curated_text, f"the curated schema of {branch}")
    lines = list(_compare(inferred, curated))
    lines += anomaly_lines(branch, tfdv.validate_statistics(statistics, curated))
    return Inferred(branch, text_format.MessageToString(inferred), tuple(dict.fromkeys(lines)))


def _newest(workdir: Workdir, branch: str) -> Path:
    """The newest statistics of a branch."""
    node = workdir.pipeline / f"{branch.capitalize()}StatisticsGen" / "statistics"
    found = [path for path in node.glob("*") if list(path.glob(f"Split-*/{STATISTICS}"))]
    if not found:
        raise UserError(f"{workdir.root} holds no statistics; `mtmh run --workdir {workdir.root}` makes them")
    return max(found, key=lambda path: int(path.name) if path.name.isdigit() else -1)


def _compare(inferred: Any, curated: Any) -> Iterator[str]:
    """What one schema says and the other does not: names, types, and whether a feature is always there."""
    from tensorflow_metadata.proto.v0 import schema_pb2

    data = {feature.name: feature for feature in inferred.feature}
    wanted = {feature.name: feature for feature in curated.feature}
    for name in sorted({*data, *wanted}):
        here, there = data.get(name), wanted.get(name)
        if there is None:
            kind = schema_pb2.FeatureType.Name(here.type) if here is not None else ""
            yield f"feature {name} ({kind}) is in the data, but not in the curated schema"
        elif here is None:
            yield f"feature {name} is in the curated schema, but not in the data"
        elif here.type != there.type:
            names = (schema_pb2.FeatureType.Name(each.type) for each in (here, there))
            yield "feature {} is {} in the data, {} in the curated schema".format(name, *names)
        elif there.presence.min_fraction > here.presence.min_fraction:
            yield f"feature {name} is missing from some rows, the curated schema has it in all"
