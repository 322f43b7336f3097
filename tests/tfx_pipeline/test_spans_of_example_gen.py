"""Spans and versions mean what they mean to TFX's ExampleGen."""

import pytest

from preprocessing.config import InputConfig
from preprocessing.sources import INTERACTIONS, find_sources


@pytest.mark.parametrize(
    "pattern", ["span-{SPAN}/v-{VERSION}/*", "span{SPAN:2}v{VERSION:1}/*", "{YYYY}{MM}{DD}/v{VERSION}/*"]
)
def test_spans_and_versions_are_those_of_example_gen(tmp_path, pattern):
    from preprocessing.backend import tf  # noqa: F401 before TFX imports TensorFlow in a flavour of its own

    # isort: split
    from tfx.components.example_gen import utils
    from tfx.proto import example_gen_pb2

    for span in (8, 9, 10):
        for version in (1, 2, 3) if span < 10 else (0, 1):
            name = pattern.replace("{SPAN:2}", f"{span:02}").replace("{SPAN}", str(span)).replace("{DD}", f"{span:02}")
            name = name.replace("{YYYY}", "2026").replace("{MM}", "11").replace("{VERSION}", str(version))
            path = tmp_path / name.replace("{VERSION:1}", str(version)).replace("*", "log.csv")
            path.parent.mkdir(parents=True)
            path.touch()
    split = example_gen_pb2.Input.Split(name="log", pattern=pattern)
    _, span, version = utils.calculate_splits_fingerprint_span_and_version(str(tmp_path), [split])
    (source,) = find_sources(INTERACTIONS, [f"{tmp_path}/{pattern}"], InputConfig(spans=1))
    assert source.span is not None
    assert (source.span.number, source.span.version) == (span, version)
    assert source.path == str(tmp_path / split.pattern.replace("*", "log.csv"))
