"""What the programs say to those who call them."""

import subprocess
import sys

import pytest


def run(*arguments):
    return subprocess.run([sys.executable, "-m", *map(str, arguments)], capture_output=True, text=True, check=False)


def test_a_replay_says_what_it_takes():
    done = run("benchmarks.replay", "--help")
    assert done.returncode == 0
    assert "directory questions" in done.stdout


@pytest.mark.parametrize("missing", ["interactions", "items"])
def test_tables_that_are_not_there_are_refused_at_once(tmp_path, missing):
    tables = {name: tmp_path / f"{name}.csv" for name in ("interactions", "items")}
    for name, path in tables.items():
        if name != missing:
            path.write_text("")
    options = [part for name, path in tables.items() for part in (f"--{name}", path)]
    done = run("benchmarks", "--only", "preprocessing", *options, "--output", tmp_path / "bench")
    assert done.returncode == 2
    assert done.stderr.endswith(f"error: there is no file {tables[missing]}\n")
    assert not (tmp_path / "bench").exists()
