"""Days go by: a log in spans, a rolling window, and each night's model begins with the last blessed one."""

import json
import subprocess
import sys

import pytest

from tests.e2e.test_pipeline_faults import QUICK, ran, versions, write_shop

pytestmark = pytest.mark.slow

SPANS = 4
OPTIONS = [*QUICK, "input.spans=3", "trainer.warm_start=true"]


@pytest.fixture
def data(tmp_path):
    """The shop's log in four spans of time, of which the last is not there yet."""
    shop = write_shop(tmp_path)
    head, *rows = (shop / "log.csv").read_text().splitlines()
    size = len(rows) // SPANS
    for span in range(SPANS):
        part = rows[span * size : (span + 1) * size]
        directory = shop / f"{'log' if span < SPANS - 1 else 'later'}/span-{span}/v-1"
        directory.mkdir(parents=True)
        (directory / "log.csv").write_text("\n".join([head, *part]) + "\n")
    return shop


def mtmh(verb, data, *words, options=OPTIONS):
    command = [sys.executable, "-m", "tfx_pipeline.cli", verb, "--workdir", str(data / "work"), *words]
    command += [word for each in options for word in ("--set", each)]
    return subprocess.run(command, capture_output=True, text=True, timeout=900)


def nightly(data):
    pattern = data / "log" / "span-{SPAN}" / "v-{VERSION}" / "*.csv"
    return mtmh("run", data, "--interactions", str(pattern), "--items", str(data / "items.csv"))


def began_with(data):
    return json.loads((data / "work/training/mtmh/model/model.json").read_text())["warm_start"]


def test_night_after_night(data):
    first = nightly(data)
    assert first.returncode == 0, first.stderr
    assert "interactions: reading spans 0 (version 1), 1 (version 1), 2 (version 1)" in first.stderr
    assert "no model was blessed yet" in first.stderr
    assert began_with(data) is None

    (data / "later" / "span-3").rename(data / "log" / "span-3")
    second = nightly(data)
    assert second.returncode == 0, second.stderr
    assert "Preprocess: runs, for interactions: span 3 is new, span 0 is no longer read" in second.stderr
    assert {"Preprocess", "DataGate", "Trainer", "Pusher"} <= ran(second)
    one, two = versions(data / "work")
    said = began_with(data)
    assert said["model"] == f"version {one}"
    assert said["items"] == 60
    record = json.loads((data / "work/blessed" / two / "model/model.json").read_text())
    assert record["warm_start"] == said

    again = nightly(data)
    assert again.returncode == 0, again.stderr
    assert ran(again) == set()

    newer = data / "log/span-3/v-2/log.csv"
    newer.parent.mkdir()
    newer.write_text((data / "log/span-3/v-1/log.csv").read_text() + "u1,i001,1604999999\n")
    third = nightly(data)
    assert third.returncode == 0, third.stderr
    assert "Preprocess: runs, for interactions: span 3 has version 2, had 1" in third.stderr
    assert began_with(data)["model"] == f"version {two}"

    alone = mtmh("train", data)
    assert alone.returncode == 0, alone.stderr
    assert began_with(data)["model"] == f"version {versions(data / 'work')[-1]}"

    (data / "log" / "span-2").rename(data / "span-2")
    gap = nightly(data)
    assert gap.returncode == 2
    assert "but not 2: bring what is missing" in gap.stderr.splitlines()[-1]
    assert len(versions(data / "work")) == 3
