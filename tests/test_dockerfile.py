"""The image, as far as it can be checked without building it: from the lock, not root, all parts there and pinned."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
LINES = [line.strip() for line in DOCKERFILE.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]


def locked(package: str) -> str:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    return re.search(rf"^{package}==(\S+)", lock, re.MULTILINE).group(1)


def test_everything_that_is_copied_is_there_and_not_ignored():
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert ignored[0] == "*"
    sources = [
        name for line in LINES if line.startswith("COPY") and "--from" not in line for name in line.split()[1:-1]
    ]
    assert {"requirements.lock", "preprocessing", "trainer", "serving", "tfx_pipeline"} <= set(sources)
    for name in sources:
        assert (ROOT / name).exists(), name
        assert f"!{name}" in ignored


def test_the_last_stage_runs_as_a_user_with_a_number():
    last = LINES[[place for place, line in enumerate(LINES) if line.startswith("FROM")][-1] :]
    users = [line.split()[1] for line in last if line.startswith("USER")]
    assert users
    assert all(user.isdigit() and int(user) > 0 for user in users)
    assert not any(line.startswith(("RUN", "COPY")) for line in last[last.index(f"USER {users[-1]}") :])


def test_versions_are_those_of_the_lock():
    assert f"apache/beam_python3.10_sdk:{locked('apache-beam')} " in DOCKERFILE
    assert f'"tensorflow[and-cuda]=={locked("tensorflow")}"' in DOCKERFILE
    assert "--require-hashes" in DOCKERFILE
    assert all(":" in line.split()[1] for line in LINES if line.startswith("FROM"))
    for engine in ("flink", "spark"):
        assert f"job_server:{locked('apache-beam')}" in (ROOT / "configs" / "beam" / f"{engine}.yaml").read_text()


def test_the_entry_point_is_the_command_of_the_steps():
    from tfx_pipeline.kubeflow_executor import COMMAND

    assert f"ENTRYPOINT {list(COMMAND)}".replace("'", '"') in DOCKERFILE
