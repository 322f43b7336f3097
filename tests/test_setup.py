"""Packaging and set-up: ranges, lock, wheel, Makefile, and (slow) a fresh environment that is broken and heals."""

import ast
import importlib.metadata
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import setuptools
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("preprocessing", "trainer", "serving", "tfx_pipeline")


@pytest.fixture(scope="module")
def lock() -> dict[str, str]:
    """Version by canonical name."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    return {canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)", text, re.M)}


@pytest.fixture(scope="module")
def declared() -> dict[str, Any]:
    """What setup.py hands to setuptools."""
    arguments: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, "setup", lambda **given: arguments.update(given))
        patch.chdir(ROOT)
        source = (ROOT / "setup.py").read_text(encoding="utf-8")
        exec(compile(source, "setup.py", "exec"), {"__file__": str(ROOT / "setup.py"), "__name__": "__main__"})
    return arguments


def test_lock_satisfies_every_declared_range(declared: dict[str, Any], lock: dict[str, str]) -> None:
    for text in [*declared["install_requires"], *declared["extras_require"]["dev"]]:
        requirement = Requirement(text)
        assert requirement.specifier, f"{text}: no range"
        version = lock[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{text}: the lock has {version}"


def test_every_import_is_a_declared_dependency(declared: dict[str, Any]) -> None:
    allowed = {canonicalize_name(Requirement(text).name) for text in declared["install_requires"]}
    providers = importlib.metadata.packages_distributions()
    providers |= {"tensorflow": ["tensorflow"], "sklearn": ["scikit-learn"]}
    missing = set()
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [str(node.module)]
            for name in names:
                top = "protobuf" if name.startswith("google.protobuf") else name.partition(".")[0]
                if top in sys.stdlib_module_names or top in PACKAGES:
                    continue
                if not allowed & {canonicalize_name(provider) for provider in [*providers.get(top, []), top]}:
                    missing.add(f"{path.relative_to(ROOT)}: {name}")
    assert not missing


def test_lock_is_hashed_and_names_no_machine() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    for block in re.split(r"\n(?=\S)", text.rstrip())[2:]:
        assert "--hash=sha256:" in block, block
    assert "make lock" in text.splitlines()[1]
    assert not re.search(r"https?:|file:|(?<=[\s=])/|\.\./", text)


def test_wheel_holds_all_packages(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in (*PACKAGES, "setup.py", "pyproject.toml", "LICENSE", "tests", "README.md"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, tree / name)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        ".",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
    ]
    subprocess.run(command, cwd=tree, check=True, timeout=120)
    (wheel,) = tmp_path.glob("mtmh-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.endswith(".py")}
        (points,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "mtmh = tfx_pipeline.cli:main" in archive.read(points).decode()
        assert any(name.endswith("LICENSE") for name in archive.namelist())
        assert "tfx_pipeline/templates/report.html.j2" in archive.namelist()
        assert {f"{package}/py.typed" for package in PACKAGES} <= set(archive.namelist())
    assert held == {str(path.relative_to(tree)) for package in PACKAGES for path in (tree / package).rglob("*.py")}


def test_make_without_a_target_explains_every_target() -> None:
    # As from a shell: under another make it would print the directories that it enters and leaves.
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
    shown = subprocess.run(["make"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    assert {"setup", "demo", "test", "test-all", "lint", "bench", "clean", "lock", "help"} <= targets
    assert {line.split()[1] for line in shown.splitlines()} == targets


def test_ci_runs_the_suite() -> None:
    run = ROOT / ".ci" / "run"
    assert os.access(run, os.X_OK)
    assert run.read_text(encoding="utf-8").endswith("make test\n")


def copy_of_the_tree(folder: Path) -> Path:
    """What set-up needs, in a path with a space."""
    tree = folder / "a tree"
    tree.mkdir()
    for name in PACKAGES:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "scripts", tree / "scripts")
    for name in ("Makefile", "setup.py", "pyproject.toml", "requirements.lock", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    return tree


def tools(folder: Path, *names: str) -> str:
    """A PATH with these programs alone."""
    folder.mkdir()
    for name in (*names, "bash", "cat", "dirname", "uname", "sha256sum", "comm", "head", "tail", "grep", "awk"):
        (folder / name).symlink_to(str(shutil.which(name)))
    return str(folder)


@pytest.mark.parametrize(("environment", "installs"), [({}, True), ({"MTMH_NO_BROWSER": "1"}, False)])
def test_no_browser_is_installed_where_none_is_wanted(
    tmp_path: Path, environment: dict[str, str], installs: bool
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root installs anything")
    path = tools(tmp_path / "bin", "id", "timeout")
    apt = tmp_path / "bin" / "apt-get"
    apt.write_text(f'#!{path}/bash\necho "$@" >>"$0.asked"\n')
    apt.chmod(0o755)
    command = [f"{path}/bash", str(ROOT / "scripts" / "browser.sh")]
    done = subprocess.run(
        command, env={"PATH": path, **environment}, capture_output=True, text=True, timeout=60, check=True
    )
    assert (tmp_path / "bin" / "apt-get.asked").exists() is installs
    assert ("MTMH_NO_BROWSER" in done.stdout) is not installs


def test_without_python_310_set_up_says_how_to_get_it(tmp_path: Path) -> None:
    tree = copy_of_the_tree(tmp_path)
    environment = {"PATH": tools(tmp_path / "bin"), "HOME": str(tmp_path)}
    command = ["bash", "scripts/setup.sh"]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "no complete Python 3.10" in done.stderr
    assert "make setup PYTHON=" in done.stderr
    assert not (tree / ".venv").exists()


def make_setup(tree: Path, **environment: str) -> str:
    everything = {**os.environ, **environment}
    done = subprocess.run(
        ["make", "setup"], cwd=tree, env=everything, capture_output=True, text=True, timeout=1500, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_fresh_environment_killed_broken_and_healed(tmp_path: Path) -> None:
    tree = copy_of_the_tree(tmp_path)
    venv = tree / ".venv"
    site = venv / "lib/python3.10/site-packages"

    # Killed in the middle of the installation, with all its children.
    process = subprocess.Popen(["make", "setup"], cwd=tree, stdout=subprocess.DEVNULL, start_new_session=True)
    while not list(site.glob("tensorflow*")) and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (venv / "setup.stamp").exists()

    # Two at once: one works, the other waits and finds nothing to do.
    second = subprocess.Popen(["make", "setup"], cwd=tree, stdout=subprocess.PIPE, text=True)
    said = make_setup(tree)
    waiting = second.communicate()[0]
    assert second.returncode == 0
    assert sorted("locked packages" in text for text in (said, waiting)) == [False, True]

    started = time.monotonic()
    assert "nothing to do" in make_setup(tree)
    assert time.monotonic() - started < 2, "a second run must not even start to install"

    python = str(venv / "bin/python")
    code = "import pip, tfx, tfx_pipeline.config as c; print(c.__file__)"
    found = subprocess.run([python, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert str(tree) in found
    subprocess.run([python, "-m", "pip", "check"], check=True, stdout=subprocess.DEVNULL)

    # pip finds every dependency there, by the names that the packages ask for.
    plain = ["install", "--no-index", "--no-build-isolation", "."]
    subprocess.run([python, "-m", "pip", *plain], cwd=tree, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(tree / "build")

    # The project alone is installed anew when it is not the editable one, or when its packaging changed.
    inode = (venv / "bin").stat().st_ino
    with (tree / "setup.py").open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert "locked packages" in make_setup(tree)
    assert (venv / "bin").stat().st_ino == inode

    # A deleted package, in a shell that has the environment activated; a Python that is gone.
    shutil.rmtree(site / "rich")
    assert "locked packages" in make_setup(tree, PATH=f"{venv}/bin:{os.environ['PATH']}", VIRTUAL_ENV=str(venv))
    assert (site / "rich").is_dir()
    (venv / "bin/python").unlink()
    assert "locked packages" in make_setup(tree)
    assert "nothing to do" in make_setup(tree)
