"""Contents and code are what a step depends on; times, sizes and other packages are not."""

import os

import pytest

from preprocessing.config import InputConfig
from preprocessing.errors import UserError
from preprocessing.sources_hash import code_version
from tfx_pipeline.fingerprint import content_fingerprint
from tfx_pipeline.run_reasons import FIRST, NOTHING, reasons


def test_contents_count_and_times_do_not(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("user_id,item_id,timestamp\na,b,1\n")
    tables = {"interactions": [str(tmp_path / "*.csv")], "annotations": []}
    first = content_fingerprint(InputConfig(), tables)
    os.utime(log, (1, 1))
    assert content_fingerprint(InputConfig(), tables) == first
    stamp = log.stat()
    log.write_text("user_id,item_id,timestamp\na,c,1\n")
    os.utime(log, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert content_fingerprint(InputConfig(), tables) != first
    with pytest.raises(UserError, match="no file matches"):
        content_fingerprint(InputConfig(), {"items": [str(tmp_path / "none.csv")]})


def test_the_reason_names_spans_and_versions(tmp_path):
    def span(number, version):
        path = tmp_path / f"span-{number}" / f"v-{version}" / "log.csv"
        path.parent.mkdir(parents=True)
        path.write_text(f"user_id,item_id,timestamp\na,b,{version}\n")

    def fingerprint():
        tables = {"interactions": [f"{tmp_path}/span-{{SPAN}}/v-{{VERSION}}/*.csv"]}
        return content_fingerprint(InputConfig(spans=3), tables)

    for number in (8, 9, 10):
        span(number, 1)
    before = fingerprint()
    span(9, 2)
    span(11, 1)
    assert fingerprint() != before
    assert reasons({"fingerprint": fingerprint()}, {"fingerprint": before}, {}, {}) == (
        "interactions: span 11 is new, span 8 is no longer read, span 9 has version 2, had 1"
    )
    before = fingerprint()
    (tmp_path / "span-11" / "v-1" / "log.csv").write_text("user_id,item_id,timestamp\n")
    changed = reasons({"fingerprint": fingerprint()}, {"fingerprint": before}, {}, {})
    assert changed == "the contents of the input files have changed"


def test_other_files_count_too(tmp_path):
    teacher = tmp_path / "model.onnx"
    teacher.write_bytes(b"a")
    first = content_fingerprint(InputConfig(), {}, [str(teacher)])
    teacher.write_bytes(b"b")
    assert content_fingerprint(InputConfig(), {}, [str(teacher)]) != first


def test_code_versions_name_their_packages():
    version = code_version("trainer", "serving.push")
    assert [part.partition(":")[0] for part in version.split()] == ["trainer", "serving.push"]
    assert len({part.partition(":")[2] for part in version.split()}) == 2


def test_reasons_are_in_words():
    assert reasons({"a": 1}, None, {}, {}) == FIRST
    assert reasons({"a": 1}, {"a": 1}, {"examples": [3]}, {"examples": [3]}) == NOTHING
    assert reasons({"a": 1}, {"a": 1}, {"pairs_examples": [4]}, {"pairs_examples": [3]}) == "new pairs examples"
    now = {"config": '{"loss": {"relevance": 0.3}, "seed": 0}', "fingerprint": "x", "code": "trainer:2 serving:1"}
    before = {"config": '{"loss": {"relevance": 0.5}, "seed": 0}', "fingerprint": "y", "code": "trainer:1 serving:1"}
    assert reasons(now, before, {}, {}) == (
        "code of trainer has changed; loss.relevance was 0.5, is 0.3; the contents of the input files have changed"
    )
    doubled = {"config": '{"loss": {"relevance": 0.3}}', "relevance": 0.3}
    earlier = {"config": '{"loss": {"relevance": 0.5}}', "relevance": 0.5}
    assert reasons(doubled, earlier, {}, {}) == "loss.relevance was 0.5, is 0.3"
    assert reasons({"model_identity": "b"}, {"model_identity": "a"}, {}, {}) == NOTHING
    many = {f"option{number}": number for number in range(6)}
    assert reasons(many, dict.fromkeys(many, 9), {}, {}).endswith("; and 2 more")
