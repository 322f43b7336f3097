"""From CSV to an answer over gRPC, on real data, every step in a process of its own."""

import csv
import gzip
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

DATA = Path(__file__).parents[1] / "data" / "online_retail"
INPUTS = ["--interactions", str(DATA / "interactions.csv.gz"), "--items", str(DATA / "items.csv.gz")]
QUICK = ["--set", "trainer.epochs=1", "--set", "trainer.steps_per_epoch=16", "--set", "model.hidden=64"]
# A dozen steps don't beat what is popular; the gate has tests of its own.
QUICK += ["--set", "gate.over_popularity=0.5"]


def mtmh(*arguments, check=True):
    command = [sys.executable, "-m", "tfx_pipeline.cli", *map(str, arguments)]
    # What other tests of this process have set is not what a user has.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    if check:
        assert result.returncode == 0, result.stderr
    return result


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that is killed when it begins to train, and the same command again: the kills of `make test-all`, one."""
    workdir = tmp_path_factory.mktemp("run")
    kill_in_training("run", *INPUTS, "--workdir", workdir, *QUICK)
    assert not (workdir / "serving").exists()
    result = mtmh("run", *INPUTS, "--workdir", workdir, *QUICK)
    assert "an earlier run was cut off" in result.stderr
    assert "Preprocess: kept" in result.stderr
    return workdir, result


def kill_in_training(*arguments):
    command = [sys.executable, "-m", "tfx_pipeline.cli", *map(str, arguments)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert any("Trainer: runs, for it has not run before" in line for line in process.stderr)
    process.kill()
    process.communicate(timeout=60)


@pytest.fixture(scope="module")
def server(run):
    workdir, _ = run
    base = workdir / "serving" / "mtmh"
    command = [sys.executable, "-m", "tfx_pipeline.cli", "serve", "--model-base-path", str(base)]
    command += ["--port", "0", "--rest-port", "0", "--poll-seconds", "0.2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    line = process.stdout.readline()
    found = re.match(r"ready: model mtmh version (\d+); gRPC (\S+),", line)
    assert found, line
    yield found.group(2)
    process.terminate()
    assert process.wait(timeout=30) == 0


def ask(server, *arguments):
    return json.loads(mtmh("query", "--address", server, "--json", *arguments).stdout)


def check_answer(reply, trigger, k, excluded=()):
    ids = [result["item_id"] for result in reply["results"]]
    assert len(ids) == k == len(set(ids))
    assert not {trigger, *excluded, ""} & set(ids)
    scores = [result["score"] for result in reply["results"]]
    assert scores == sorted(scores, reverse=True)
    assert {result["source"] for result in reply["results"]} <= {"engagement", "relevance", "both"}
    assert all(result["title"] for result in reply["results"])


def test_run_accounts_for_every_row_and_prints_no_noise(run):
    workdir, result = run
    manifest = json.loads((workdir / "examples" / "manifest.json").read_text())
    table = manifest["interactions"]
    assert table["rows_in"] == 32474
    assert table["rows_in"] == table["rows_used"] + sum(table["dead_letters"].values()) + sum(table["dropped"].values())
    assert "recall" in result.stdout
    lines = result.stderr.splitlines()
    assert lines
    assert all(re.match(r"\d\d:\d\d:\d\d mtmh\.", line) for line in lines), result.stderr


def test_run_leaves_config_metrics_and_logs(run):
    workdir, _ = run
    assert "steps_per_epoch: 16" in (workdir / "config.yaml").read_text()
    metrics = json.loads((workdir / "metrics" / "mtmh.json").read_text())
    assert metrics[0]["relevance_weight"] == 0.0
    assert 0.0 < metrics[0]["values"]["recall"] < 1.0
    assert list((workdir / "training" / "mtmh" / "logs").rglob("events.out.tfevents.*"))


def test_answers_over_grpc(server):
    reply = ask(server, "--item", "22423", "--k", "20", "--relevance-weight", "0.3", "--exclude", "85123A")
    check_answer(reply, "22423", 20, ["85123A"])
    assert reply["triggers"][0]["title"] == "REGENCY CAKESTAND 3 TIER"


def test_dial_moves_the_answer_towards_the_trigger(server):
    engaged = ask(server, "--item", "22423", "--k", "20", "--relevance-weight", "0")
    relevant = ask(server, "--item", "22423", "--k", "20", "--relevance-weight", "1")
    mean = [sum(r["relevance_score"] for r in reply["results"]) / 20 for reply in (engaged, relevant)]
    assert mean[1] > mean[0]
    assert any("CAKE" in result["title"] for result in relevant["results"][:5])


def test_unknown_items_and_titles_are_answered(server):
    unknown = ask(server, "--item", "no such item", "--k", "5")
    assert unknown["popular_fallback"]
    assert [result["source"] for result in unknown["results"]] == ["popular"] * 5
    titled = ask(server, "--title", "PINK CAKE STAND", "--k", "5", "--relevance-weight", "1")
    assert len(titled["results"]) == 5
    assert not titled["popular_fallback"]


def test_k_above_the_catalogue_and_a_long_history(server):
    reply = ask(server, "--item", "22423", "--k", "100000")
    assert len(reply["results"]) == 1000
    history = [argument for number in range(64) for argument in ("--item", f"{22000 + 10 * number}")]
    assert len(ask(server, *history, "--k", "10")["results"]) == 10


def test_table_for_people(server):
    printed = mtmh("query", "--address", server, "--item", "22423", "--k", "3").stdout
    assert "REGENCY CAKESTAND 3 TIER" in printed
    assert "found by" in printed


def test_tree_index_is_published_beside_and_taken_over(run, server):
    workdir, _ = run
    before = ask(server, "--item", "22423", "--k", "50", "--relevance-weight", "0.25")
    version = int(
        mtmh("export", "--workdir", workdir, "--set", "index.kind=tree", "--quiet").stdout.strip().split("/")[-1]
    )
    card = json.loads((workdir / "serving" / "mtmh" / str(version) / "assets.extra" / "mtmh.json").read_text())
    assert card["index"]["kind"] == "tree"
    assert min(card["index_recall"].values()) >= 0.95
    end = time.monotonic() + 60
    while (reply := ask(server, "--item", "22423", "--k", "50", "--relevance-weight", "0.25"))["version"] != version:
        assert time.monotonic() < end, reply["version"]
    check_answer(reply, "22423", 50)
    ids = [{result["item_id"] for result in answer["results"]} for answer in (before, reply)]
    assert len(ids[0] & ids[1]) >= 45


def test_a_second_run_keeps_every_step_and_pushes_nothing(run):
    workdir, _ = run
    pushed = sorted((workdir / "serving" / "mtmh").iterdir())
    stamp = (workdir / "examples" / "manifest.json").stat().st_mtime_ns
    result = mtmh("run", *INPUTS, "--workdir", workdir, *QUICK, "--resume")
    assert (workdir / "examples" / "manifest.json").stat().st_mtime_ns == stamp
    assert "Trainer: kept" in result.stderr
    assert ": runs, for" not in result.stderr
    assert "0 steps ran, 12 were kept" in result.stdout
    # What `mtmh export` has published since is left alone, and not taken for this run's.
    assert f"and {pushed[-1]} was published after it" in result.stdout
    assert "kept, not served: " in result.stdout
    assert "serve it" not in result.stdout
    assert sorted((workdir / "serving" / "mtmh").iterdir()) == pushed


def test_the_data_are_as_the_curated_schemas_say(run):
    workdir, _ = run
    assert mtmh("schema", "--workdir", workdir).stdout.splitlines() == [
        "items: as in the curated schema",
        "pairs: as in the curated schema",
    ]


def test_bare_steps_with_the_same_seed_make_the_same_examples_and_metrics(run, tmp_path):
    workdir, _ = run
    mtmh("preprocess", *INPUTS, "--workdir", tmp_path, *QUICK, "--quiet", "--", "--direct_num_workers=2",
         "--direct_running_mode=multi_processing")  # fmt: skip
    mtmh("train", "--workdir", tmp_path, "--quiet")
    mtmh("evaluate", "--workdir", tmp_path, "--quiet")
    for name in ("examples/manifest.json", "metrics/mtmh.json"):
        assert (tmp_path / name).read_bytes() == (workdir / name).read_bytes()


def test_interrupted_before_publishing_leaves_nothing_to_serve(tmp_path):
    os.makedirs(tmp_path / "serving" / "mtmh" / ".staging-killed")
    result = mtmh("export", "--workdir", tmp_path, check=False)
    assert result.returncode == 2
    assert "mtmh preprocess" in result.stderr


@pytest.mark.slow
def test_a_catalogue_of_today_is_served_with_the_same_weights_and_gone_back_from(run, server, tmp_path):
    """Last in this file: what it publishes is what the server answers with."""
    workdir, _ = run
    with gzip.open(DATA / "items.csv.gz", "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    gone, new = ask(server, "--item", "22423", "--k", "1")["results"][0]["item_id"], "today-1"
    today = [row for row in rows if row[0] != gone] + [[new, "PINK CAKE STAND 3 TIER"]]
    with (tmp_path / "items.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(today)
    before = json.loads(mtmh("versions", "--workdir", workdir, "--json").stdout)
    result = mtmh("refresh-index", "--workdir", workdir, "--items", tmp_path / "items.csv")
    assert re.search(r"catalogue: \d+ items known, 1 new, 1 gone", result.stderr)
    for gate in ("IndexGate", "RetrievalGate", "ServingValidator"):
        assert f"{gate} passes" in result.stderr
    refreshed = int(result.stdout.split("/")[-1])
    assert refreshed > before[-1]["version"]
    assert (workdir / "blessed" / str(refreshed) / "model" / "model.json").is_file()
    answer = wait_for_version(server, refreshed, "--item", new, "--k", "20", "--relevance-weight", "1")
    assert not answer["popular_fallback"]
    assert any("CAKE" in found["title"] for found in answer["results"][:5])
    assert gone not in {found["item_id"] for found in ask(server, "--item", "22423", "--k", "1000")["results"]}

    back = int(re.search(r"published \S+/(\d+):", mtmh("rollback", "--workdir", workdir).stdout).group(1))
    answer = wait_for_version(server, back, "--item", "22423", "--k", "1")
    assert answer["results"][0]["item_id"] == gone
    states = json.loads(mtmh("versions", "--workdir", workdir, "--json", "--verify").stdout)
    assert [state["status"] for state in states][-2:] == ["withdrawn", "served"]

    with (tmp_path / "half.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows[: len(rows) // 3])
    refused = mtmh("refresh-index", "--workdir", workdir, "--items", tmp_path / "half.csv", check=False)
    assert refused.returncode == 2
    assert "refresh.min_kept" in refused.stderr.splitlines()[-1]
    assert len(json.loads(mtmh("versions", "--workdir", workdir, "--json").stdout)) == len(states)


def wait_for_version(server, version, *arguments):
    for _ in range(60):
        reply = ask(server, *arguments)
        if reply["version"] == version:
            return reply
        time.sleep(0.5)
    raise AssertionError(f"version {version} does not answer")
