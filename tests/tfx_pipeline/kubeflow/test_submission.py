"""What is submitted, once and on a schedule."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar

import pytest

from preprocessing.errors import UserError
from tests.tfx_pipeline.kubeflow.cluster import CLUSTER
from tfx_pipeline import kubeflow_runner, kubeflow_submit
from tfx_pipeline.config import load_config


class Api(BaseHTTPRequestHandler):
    """So much of Kubeflow Pipelines' API as a submission asks for."""

    received: ClassVar[list[tuple[str, Any]]] = []

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer({"experiments": [{"experiment_id": "e1", "display_name": "nightly"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.received.append((self.path, body))
        answers = {"runs": {"run_id": "r1"}, "recurringruns": {"recurring_run_id": "s1"}}
        self._answer(answers.get(self.path.rpartition("/")[2], {"experiment_id": "e1"}))

    def _answer(self, document: Any) -> None:
        data = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextlib.contextmanager
def api():
    server = HTTPServer(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_submission(package, spec, monkeypatch, caplog):
    monkeypatch.setenv("no_proxy", "*")
    config = load_config(None, CLUSTER)
    with api() as host:
        arguments = kubeflow_runner.read_arguments(config, ["relevance=0.5", "epochs=2", "items=s3://data/items.csv"])
        assert kubeflow_submit.submit(package, host, config.kubeflow, arguments, "nightly") == "r1"
    path, run = Api.received[-1]
    assert path.endswith("/runs")
    assert run["runtime_config"]["parameters"] == {"relevance": 0.5, "epochs": 2, "items": "s3://data/items.csv"}
    assert run["runtime_config"]["pipeline_root"] == "s3://mlpipeline/mtmh"
    sent = run["pipeline_spec"]
    assert sent.get("pipeline_spec", sent)["root"]["dag"]["tasks"].keys() == spec["root"]["dag"]["tasks"].keys()
    with pytest.raises(UserError, match="does not answer as Kubeflow Pipelines") as dead:
        kubeflow_submit.submit(package, host, config.kubeflow, {}, None)
    assert "Connection refused); check --submit" in str(dead.value)
    assert "object at" not in str(dead.value)
    assert not [each for each in caplog.records if each.name.startswith("urllib3")]


def test_a_schedule_is_a_recurring_run_that_reads_what_is_there(package, spec, monkeypatch, tmp_path, capsys):
    """One at a time, never from the cache: nothing in its parameters changes from night to night."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(kubeflow_runner, "compile_pipeline", lambda config: kubeflow_runner.Compiled(spec, {}))
    log = "interactions=s3://data/log/{YYYY}-{MM}-{DD}/v-{VERSION}/*.csv.gz"
    words = ["--output", str(tmp_path / "mtmh.yaml"), *(word for each in CLUSTER for word in ("--set", each))]
    words += ["--parameter", log]
    with api() as host:
        assert kubeflow_runner.main([*words, "--submit", host, "--schedule", "0 0 3 * * *"]) == 0
    assert capsys.readouterr().out.endswith("recurring run s1\n")
    path, made = Api.received[-1]
    assert path.endswith("/recurringruns")
    assert made["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * *"}}
    assert (made["max_concurrency"], made["no_catchup"], made["experiment_id"]) == (1, True, "e1")
    assert made["runtime_config"]["parameters"] == dict([log.split("=")])
    assert made["runtime_config"]["pipeline_root"] == "s3://mlpipeline/mtmh"
    sent = made["pipeline_spec"].get("pipeline_spec", made["pipeline_spec"])["root"]["dag"]["tasks"]
    assert sent.keys() == spec["root"]["dag"]["tasks"].keys()
    assert not any(task.get("cachingOptions", {}).get("enableCache") for task in sent.values())
    assert kubeflow_runner.main([*words, "--submit", host, "--schedule", "0 3 * * *"]) == 2
    assert "expected six fields" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        kubeflow_runner.main([*words, "--schedule", "0 0 3 * * *"])
