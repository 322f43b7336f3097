"""Swaps, rollbacks, labels that move, and a killed server, at the size and with the bars of production."""

import json
import subprocess
import sys

import pytest

from benchmarks.swaps import verdicts


@pytest.mark.slow
def test_callers_hardly_notice(tmp_path):
    """No failed request; p99 meanwhile at most twice that at rest; back after a kill as soon as after a start."""
    command = [sys.executable, "-m", "benchmarks.swaps", "--items", "20000", "--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    missed = [each for each in verdicts(json.loads((tmp_path / "swaps.json").read_text())) if not each.holds]
    assert not missed, "\n".join(map(str, missed))
