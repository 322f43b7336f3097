"""A push that is killed at any moment."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from serving.push import history, push, versions
from serving.version_manifest import MANIFEST, describe
from tests.serving.push.places import Place, model

_KILLED = """
import os, signal, sys
from pathlib import Path
from serving import bucket_shelf, local_shelf, push
from serving.stores import s3

left = int(sys.argv[3])

def counted(function):
    def step(*args, **named):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **named)
    return step

for module, names in ((os, ("rename", "fsync", "rmdir", "unlink")), (local_shelf.shutil, ("copytree", "rmtree"))):
    for name in names:
        setattr(module, name, counted(getattr(module, name)))
for name in ("upload", "copy", "write", "create", "delete", "sizes"):
    setattr(s3.S3Store, name, counted(getattr(s3.S3Store, name)))
push.push(Path(sys.argv[1]), sys.argv[2], keep=2)
print("pushed", flush=True)
"""


def killed_after(steps: int, source: Path, base: str) -> bool:
    """Pushes in a process that is killed after so many steps on the store; whether it was killed before its end."""
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(source), base, str(steps)], capture_output=True, text=True
    )
    if done.returncode not in (0, -signal.SIGKILL):
        raise AssertionError(done.stderr)
    return done.returncode != 0


@pytest.mark.parametrize("kind", ["disk", "s3"])
@pytest.mark.parametrize(
    "moments", [[0, 4, 13], pytest.param(list(range(60)), marks=pytest.mark.slow)], ids=["some", "all"]
)
def test_killed_at_any_moment(kind, moments, tmp_path, request, monkeypatch):
    """Nothing partial is seen, what was there stays, and the next push ends well and leaves nothing of the remains."""
    monkeypatch.setattr("serving.bucket_shelf.ABANDONED_SECONDS", 0.0)
    kills = 0
    for moment in moments:
        root = str(tmp_path) if kind == "disk" else f"{request.getfixturevalue('s3')}/{tmp_path.name}"
        place = Place(f"{root}/{moment}/mtmh")
        old = [push(model(tmp_path / f"{moment}-{name}", name), place.base).version for name in ("a", "b")]
        new = model(tmp_path / f"{moment}-new", "new")
        if not killed_after(moment, new, place.base):
            break
        kills += 1
        whole = {file.path for file in describe(new).files} | {MANIFEST}
        seen = place.loadable()
        assert old[-1] in seen
        assert all(names == whole for version, names in seen.items() if version != old[0])
        after = push(new, place.base, keep=2)
        assert history(place.base, verify=True)[-1].status == "served"
        assert place.content(after.version) == "new"
        assert {name.split("/")[0] for name in place.files()} == {str(version) for version in versions(place.base)}
        assert len(versions(place.base)) in (2, 3)
    assert kills >= min(3, len(moments))
