"""A candidate is served, asked and judged; whatever it does, the pipeline goes on."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from serving.candidate import CandidateError, CandidateServer, running
from serving.client import Client
from serving.config import ValidatorConfig
from serving.results import Answer, Result
from serving.validator import Expected, examine, replay, validate
from trainer.artefact import load_model

CONFIG = ValidatorConfig(requests=20, max_p99_ms=5000.0)


@pytest.fixture(scope="module")
def expected(trained):
    model, _, _ = load_model(trained.model, trained.items)
    vectors = model.embed_catalogue()
    return Expected(trained.items.ids, vectors.engagement_trigger, vectors.engagement_candidate, vectors.relevance, 0.3)


@pytest.fixture(scope="module")
def server(exported_exact):
    with running(exported_exact.directory, 120.0) as found:
        yield found


def test_a_good_candidate_gives_no_reason_and_is_measured(server, expected):
    figures = {}
    assert examine(server, expected, CONFIG, 0, figures) == []
    assert figures["requests"] == 60
    assert figures["popular"] == 0
    assert 0.0 < figures["p50_ms"] <= figures["p99_ms"]
    assert figures["embedding_difference"] <= 1e-5
    assert server.load_seconds > 0.0
    assert server.memory_mb() > 50.0


def test_other_embeddings_than_the_trainers_are_refused(server, expected):
    moved = dataclasses.replace(expected, relevance=expected.relevance + 1e-3)
    (reason,) = examine(server, moved, CONFIG, 0, {})
    assert "`embed` differs from the trainer's embeddings by 0.001" in reason
    narrow = dataclasses.replace(expected, relevance=expected.relevance[:, :3])
    assert any("shape" in reason for reason in examine(server, narrow, CONFIG, 0, {}))


def test_forgotten_triggers_phantoms_and_slow_answers_are_refused(server, expected):
    renamed = dataclasses.replace(expected, ids=[f"other {item}" for item in expected.ids])
    config = dataclasses.replace(CONFIG, max_p99_ms=1e-6)
    with Client(server.address, "candidate") as client:
        reasons = replay(client, renamed, np.arange(5), config, {})
    text = "\n".join(reasons)
    assert "15 answers hold items that are not in the catalogue, first for trigger 'other" in text
    assert "15 of 15 requests for known triggers were answered with popular items" in text
    assert "above validator.max_p99_ms" in text


class Stub:
    """A client whose answers repeat themselves, hold the trigger, or are out of order."""

    def retrieve(self, item_ids, relevance_weight):
        trigger = item_ids[0]
        rows = [("b", 0.5), ("b", 0.9), (trigger, float("nan"))]
        return Answer(tuple(Result(item, score, 0.0, 0.0, "both") for item, score in rows), 1)


def test_every_kind_of_bad_answer_is_named():
    vectors = np.zeros((3, 2), np.float32)
    expected = Expected(["a", "b", "c"], vectors, vectors, vectors, 0.0)
    reasons = replay(Stub(), expected, np.array([0]), CONFIG, {})
    for fault in ("repeat an item", "hold the trigger itself", "not finite", "out of order"):
        assert any(fault in reason for reason in reasons)


def test_a_candidate_that_does_not_load_is_refused_with_what_it_said(expected, tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"no graph")
    found = validate(tmp_path, expected, CONFIG, 0)
    (reason,) = found.reasons
    assert "ended with code 2 while it loaded the candidate; it said:" in reason


def test_a_candidate_that_hangs_is_ended(expected, tmp_path):
    found = validate(tmp_path, expected, dataclasses.replace(CONFIG, max_load_seconds=0.05), 0)
    assert found.reasons == ("the server did not answer within 0.05 s while it loaded the candidate",)


def test_a_candidate_that_dies_during_the_replay_is_refused(expected, tmp_path):
    program = "print('ready: gRPC 127.0.0.1:9', flush=True); import os; os.abort()"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    log = tmp_path / "log"
    log.touch()
    with pytest.raises(CandidateError, match="the server was ended by signal 6 during the replay"):
        examine(CandidateServer(process, log, 20.0), expected, CONFIG, 0, {})
    process.stdout.close()
