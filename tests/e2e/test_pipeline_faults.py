"""Runs that are killed, poisoned or repeated: what is served stays whole, and a later run ends well."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from preprocessing.manifest import load_manifest
from tfx_pipeline.blessed import Lineage, find_baseline

pytestmark = pytest.mark.slow

KILLS = 20
ROOT = Path(__file__).parents[2]
TOPICS, PER_TOPIC = 6, 10
QUICK = ["trainer.epochs=4", "evaluate.k=5", "retrieval.k=5", "index.kind=exact", "evaluate.bootstrap_resamples=200"]


def write_shop(directory, seed=0, permuted=False):
    """A log in which people walk along the shelf of a topic, and the catalogue; half the items may swap their names."""
    rng = random.Random(seed)
    ids = [f"i{item:03d}" for item in range(TOPICS * PER_TOPIC)]
    name = dict(zip(ids, ids, strict=True))
    if permuted:
        chosen = rng.sample(ids, len(ids) // 2)
        name |= dict(zip(chosen, chosen[1:] + chosen[:1], strict=True))
    lines = ["item_id,title,description,categories"]
    lines += [
        f"{item},shelf{row % TOPICS} thing {row},a thing of shelf{row % TOPICS},shelf{row % TOPICS}|things"
        for row, item in enumerate(ids)
    ]
    (directory / "items.csv").write_text("\n".join(lines) + "\n")
    rows = []
    for user in range(400):
        topic, place, start = rng.randrange(TOPICS), rng.randrange(PER_TOPIC), rng.randrange(5_000_000)
        for step in range(10):
            place = (place + rng.choice([1, 1, 1, 2])) % PER_TOPIC
            rows.append((1_600_000_000 + start + 60 * step, f"u{user}", name[ids[place * TOPICS + topic]]))
    text = "\n".join(f"{user},{item},{when}" for when, user, item in sorted(rows))
    (directory / "log.csv").write_text(f"user_id,item_id,timestamp\n{text}\n")
    return directory


def command(data, workdir, *settings):
    words = [sys.executable, "-m", "tfx_pipeline.cli", "run", "--workdir", str(workdir)]
    words += ["--interactions", str(data / "log.csv"), "--items", str(data / "items.csv")]
    return words + [word for each in (*QUICK, *settings) for word in ("--set", each)]


def run(data, workdir, *settings, code=None):
    return subprocess.run(command(data, workdir, *settings), capture_output=True, text=True, timeout=900, cwd=code)


def mtmh(*words):
    return subprocess.run(
        [sys.executable, "-m", "tfx_pipeline.cli", *words], capture_output=True, text=True, timeout=300
    )


def versions(workdir):
    base = workdir / "serving" / "mtmh"
    return sorted(path.name for path in base.iterdir() if path.name.isdigit()) if base.is_dir() else []


def ran(result):
    return {line.split("mtmh.run: ")[1].split(":")[0] for line in result.stderr.splitlines() if ": runs, for " in line}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return write_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def finished(shop, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("finished")
    result = run(shop, workdir)
    assert result.returncode == 0, result.stderr
    return workdir


def test_what_changes_runs_again_and_nothing_else(shop, finished, tmp_path):
    again = run(shop, finished)
    assert again.returncode == 0, again.stderr
    assert ran(again) == set()
    assert len(versions(finished)) == 1
    changed = run(shop, finished, "loss.relevance=0.4")
    assert changed.returncode == 0, changed.stderr
    assert ran(changed) == {"Trainer", "IndexBuilder", "RetrievalEvaluator", "ServingValidator", "Pusher"}
    assert "Trainer: runs, for" in changed.stderr
    assert "relevance was 0.5, is 0.4" in changed.stderr
    grown = write_shop(tmp_path)
    with (grown / "log.csv").open("a") as file:
        file.write("u1,i001,1602000000\n")
    appended = run(grown, finished, "loss.relevance=0.4")
    assert appended.returncode == 0, appended.stderr
    assert {"Preprocess", "ItemsStatisticsGen", "PairsStatisticsGen", "DataGate", "Transform", "Trainer"} <= ran(
        appended
    )
    assert len(versions(finished)) == 3


def test_a_changed_line_of_the_losses_trains_again_and_nothing_before(shop, finished, tmp_path):
    assert run(shop, finished).returncode == 0
    for package in ("preprocessing", "trainer", "serving", "tfx_pipeline"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "trainer" / "losses.py").open("a") as file:
        file.write("# another line\n")
    changed = run(shop, finished, code=tmp_path)
    assert changed.returncode == 0, changed.stderr
    assert ran(changed) == {"Trainer", "IndexBuilder", "RetrievalEvaluator", "ServingValidator", "Pusher"}
    assert "Trainer: runs, for code of trainer has changed" in changed.stderr


def test_the_stock_flavour_goes_through_the_same_gates_and_push(shop, tmp_path):
    result = run(shop, tmp_path, "export.stock=true")
    assert result.returncode == 0, result.stderr
    assert len(versions(tmp_path)) == 1
    (stock,) = (path for path in (tmp_path / "serving" / "mtmh-stock").iterdir() if path.name.isdigit())
    card = json.loads((stock / "assets.extra" / "mtmh.json").read_text())
    assert card["index"]["flavour"] == "stock"
    (blessing,) = (tmp_path / "pipeline" / "ServingValidator" / "blessing").iterdir()
    figures = json.loads((blessing / "verdict.json").read_text())["figures"]
    assert figures["stock"]["requests"] == figures["requests"] > 0


@pytest.mark.parametrize(
    ("poison", "words"),
    [
        (lambda text: text.replace("item_id", "item", 1), ["no column", "item_id"]),
        (
            lambda text: text.replace("\n", "000\n").replace("timestamp000", "timestamp"),
            ["timestamp_in_milliseconds", "dead_letters"],
        ),
    ],
    ids=["a renamed column", "milliseconds"],
)
def test_a_poisoned_log_ends_the_run_with_a_reason(shop, finished, tmp_path, poison, words):
    before = versions(finished)
    data = write_shop(tmp_path)
    (data / "log.csv").write_text(poison((data / "log.csv").read_text()))
    result = run(data, finished)
    assert result.returncode == 2
    for word in words:
        assert word in result.stderr
    assert result.stderr.splitlines()[-1].startswith("mtmh: error: ")
    assert versions(finished) == before


def test_milliseconds_that_reading_admits_end_at_the_data_gate(finished, tmp_path):
    before = versions(finished)
    data = write_shop(tmp_path)
    head, *rows = (data / "log.csv").read_text().splitlines()
    poisoned = [f"{row}000" if place > 0.8 * len(rows) else row for place, row in enumerate(rows)]
    (data / "log.csv").write_text("\n".join([head, *poisoned]) + "\n")
    result = run(data, finished, "input.max_bad_share=0.5")
    assert result.returncode == 2
    last = result.stderr.splitlines()[-1]
    assert "DataGate refuses the data: " in last
    assert "interactions: 799 of 4,000 rows are dead letters" in last
    assert "timestamp_in_milliseconds" in last
    assert "data_gate.max_dead_share" in last
    assert versions(finished) == before


def test_half_the_items_permuted_are_refused_by_the_evaluator(finished, tmp_path):
    before = versions(finished)
    result = run(write_shop(tmp_path, permuted=True), finished)
    assert result.returncode == 2
    last = result.stderr.splitlines()[-1]
    assert "RetrievalEvaluator refuses the model: " in last
    assert "slice all" in last
    assert "gate.blessed_kept" in last
    assert versions(finished) == before
    assert "RetrievalEvaluator refuses" in run(tmp_path, finished).stderr.splitlines()[-1]


def test_what_is_not_served_any_more_is_pushed_again_and_what_was_withdrawn_is_not(shop, finished):
    assert run(shop, finished).returncode == 0
    shutil.rmtree(finished / "serving")
    again = run(shop, finished)
    assert again.returncode == 0, again.stderr
    assert ran(again) == {"Pusher"}
    assert f"published {finished / 'serving' / 'mtmh'}/{versions(finished)[0]}" in again.stdout
    assert run(shop, finished, "retrieval.k=6").returncode == 0
    assert mtmh("rollback", "--workdir", str(finished)).returncode == 0
    withdrawn = run(shop, finished, "retrieval.k=6")
    assert withdrawn.returncode == 2
    assert "a rollback has withdrawn this content" in withdrawn.stderr.splitlines()[-1]
    assert "published" not in withdrawn.stdout
    shutil.rmtree(finished / "pipeline" / "IndexBuilder")  # nor does it come back by being built again
    rebuilt = run(shop, finished, "retrieval.k=6")
    assert "IndexBuilder: runs, for what it made is gone" in rebuilt.stderr
    assert rebuilt.returncode == 2
    assert "a rollback has withdrawn this content" in rebuilt.stderr.splitlines()[-1]
    known = run(shop, finished)  # the model gone back to
    assert known.returncode == 0, known.stderr
    assert f"served already: {finished / 'serving' / 'mtmh'}/{versions(finished)[-1]}" in known.stdout
    assert len(versions(finished)) == 3


def test_a_refusal_of_a_server_that_was_killed_is_not_for_ever(shop, finished):
    """Another number of requests, so that this version is looked at once more."""
    before, option = versions(finished), "validator.requests=30"
    with subprocess.Popen(
        command(shop, finished, option), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as first:
        while first.poll() is None:
            for child in candidates_of(first.pid):
                os.kill(child, signal.SIGKILL)
            time.sleep(0.05)
        said = first.stdout.read()
    assert first.returncode == 2, said
    assert "ServingValidator refuses the version: the server was ended by signal 9" in said
    again = run(shop, finished, option)
    assert again.returncode == 0, again.stderr
    assert {"ServingValidator", "Pusher"} == ran(again)
    assert versions(finished) == before


def candidates_of(pid):
    """Processes below one that serve a candidate."""
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            if b"--require-version" in Path(f"/proc/{child}/cmdline").read_bytes():
                yield child


def test_killed_at_any_moment_a_run_ends_well_when_it_is_started_again(shop, tmp_path):
    workdir, rng, broken, done = tmp_path / "killed", random.Random(7), [], threading.Event()

    def poll():
        while not done.wait(0.01):
            for version in versions(workdir):
                directory = workdir / "serving" / "mtmh" / version
                needed = ("saved_model.pb", "assets.extra/mtmh.json", "variables/variables.index")
                broken.extend(f"{version}/{name}" for name in needed if not (directory / name).exists())

    reader = threading.Thread(target=poll)
    reader.start()
    try:
        for turn in range(KILLS):
            # Another λ every few kills, so that there is something left to do.
            words = command(shop, workdir, f"loss.relevance={0.5 + 0.01 * (turn // 4)}")
            process = subprocess.Popen(
                words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
            )
            try:
                process.wait(timeout=rng.uniform(1.0, 50.0))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        last = run(shop, workdir)
    finally:
        done.set()
        reader.join()
    assert last.returncode == 0, last.stderr
    assert broken == []
    assert len(versions(workdir)) >= 1
    metrics = json.loads((workdir / "metrics" / "mtmh.json").read_text())
    assert metrics[0]["values"]["recall"] > 0.5
    assert load_manifest(str(workdir / "examples")).num_items == TOPICS * PER_TOPIC
    assert find_baseline(workdir / "blessed", "data", "other", Lineage()).name == versions(workdir)[-1]


def test_two_runs_do_not_share_a_work_directory(shop, tmp_path):
    first = subprocess.Popen(
        command(shop, tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        end = time.monotonic() + 60.0
        while not (tmp_path / ".pipeline.lock").exists() and time.monotonic() < end:
            time.sleep(0.1)
        result = run(shop, tmp_path)
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    assert result.returncode == 2
    assert "another `mtmh run` is at work in" in result.stderr
