"""What is started in a process of its own runs our code, whatever lies where the user stands."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from preprocessing.errors import UserError
from serving.candidate import CandidateError, running
from serving.own_process import mtmh_command
from tests.serving.server.server_process import wait_for
from tfx_pipeline import demo

ROOT = Path(__file__).parents[2]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A current directory with modules of our names and of the standard library's, none of which is to be run."""
    directory = tmp_path / "elsewhere"
    directory.mkdir()
    for name in ("serving", "trainer", "preprocessing", "tfx_pipeline", "ctypes", "signal", "json", "logging"):
        (directory / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})\n")
    monkeypatch.setattr(sys, "path", [str(Path(each).absolute()) for each in sys.path])
    monkeypatch.chdir(directory)
    yield tmp_path
    assert not (tmp_path / "ran").exists(), (tmp_path / "ran").read_text()


@pytest.mark.parametrize("together", [False, True])
def test_a_verb_is_ours(elsewhere, together):
    found = subprocess.run(mtmh_command("--help", together=together), capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("usage: mtmh")


def test_the_server_of_a_candidate_is_ours(elsewhere):
    (elsewhere / "saved_model.pb").write_bytes(b"no graph")
    with pytest.raises(CandidateError, match="ended with code 2 while it loaded"), running(elsewhere, 120.0):
        pass


def test_the_server_of_the_demo_is_ours(elsewhere, capfd):
    with pytest.raises(UserError, match="did not become ready"), demo.serving(elsewhere / "none"):
        pass
    assert "mtmh: error: " in capfd.readouterr().err


def test_it_ends_with_its_parent(tmp_path):
    """The parent is killed; what it started has a server's patience and still ends."""
    base = tmp_path / "mtmh"
    base.mkdir()
    program = (
        "import subprocess, sys; from serving.own_process import mtmh_command as command\n"
        f"words = ['serve', '--model-base-path', {str(base)!r}, '--port', '0', '--rest-port', '-1']\n"
        "child = subprocess.Popen(command(*words, together=True), stdout=subprocess.PIPE, stderr=sys.stderr)\n"
        "print(child.pid, flush=True); child.wait()"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    child = int(parent.stdout.readline())
    line = parent.stderr.readline()  # it has begun to serve: what it says comes after the promise to the system
    assert "mtmh" in line, line
    parent.kill()
    parent.wait()
    parent.stdout.close()
    parent.stderr.close()

    def ended() -> bool:
        try:
            return "zombie" in Path(f"/proc/{child}/status").read_text()
        except OSError:
            return True

    wait_for(ended, 30, "the end of the child")
