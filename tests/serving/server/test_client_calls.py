"""What a client does about failures, delays and TLS: the same for the blocking and the asyncio one."""

import asyncio
import dataclasses
import random
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from preprocessing.errors import UserError
from serving.async_client import AsyncClient
from serving.client import NEVER, Client, Retry, ServerError, Tls
from serving.connection import open_channel
from serving.retry import Retries
from tests.serving.server.certificates import Authority
from tests.serving.server.scripted_server import ScriptedServer, delay, refuse
from tests.serving.server.server_process import wait_for
from tfx_pipeline.cli import main as cli

UNAVAILABLE, EXHAUSTED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED
CANCELLED = grpc.StatusCode.CANCELLED
QUICK = Retry(attempts=4, first_seconds=0.02, most_seconds=0.1)


def blocking(address, times=1, **options):
    with Client(address, **options) as client:
        return [client.describe(["a"])[0].title for _ in range(times)][-1]


def awaited(address, times=1, **options):
    async def ask():
        async with AsyncClient(address, **options) as client:
            return [(await client.describe(["a"]))[0].title for _ in range(times)][-1]

    return asyncio.run(ask())


@pytest.fixture(params=[blocking, awaited])
def ask(request):
    """Asks for one title."""
    return request.param


@pytest.mark.parametrize("code", [UNAVAILABLE, EXHAUSTED, CANCELLED])
def test_a_call_is_made_again_until_it_is_answered(ask, code):
    with ScriptedServer(refuse(code), refuse(code)) as server:
        assert ask(server.address, retry=QUICK) == "title 2"


@pytest.mark.parametrize(
    ("code", "details"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "no"),
        (grpc.StatusCode.INTERNAL, "no"),
        (grpc.StatusCode.NOT_FOUND, "no"),
        (EXHAUSTED, "Received message larger than max (20 vs. 10)"),
        (EXHAUSTED, "received metadata size exceeds hard limit (20000 vs. 16384)"),
    ],
)
def test_what_a_repeat_cannot_mend_is_not_repeated(ask, code, details):
    with ScriptedServer(refuse(code, details)) as server:
        with pytest.raises(ServerError, match=r"refused|has no model") as caught:
            ask(server.address, retry=QUICK)
        assert caught.value.code == code
        assert len(server.calls) == 1


def test_what_the_client_cancels_itself_is_not_repeated():
    with ScriptedServer(delay(20)) as server, ThreadPoolExecutor(1) as pool:
        client = Client(server.address, retry=QUICK, timeout=15)
        call = pool.submit(client.describe, ["a"])
        wait_for(lambda: server.calls)
        client.close()
        with pytest.raises(ServerError) as caught:
            call.result(10)
        assert caught.value.code == CANCELLED
        assert len(server.calls) == 1


def test_attempts_are_bounded(ask):
    with ScriptedServer(*[refuse(UNAVAILABLE)] * 20) as server:
        with pytest.raises(ServerError, match="no server is reachable"):
            ask(server.address, retry=QUICK)
        assert len(server.calls) == QUICK.attempts
        with pytest.raises(ServerError):
            ask(server.address, retry=NEVER)
        assert len(server.calls) == QUICK.attempts + 1


def test_the_deadline_holds_for_all_attempts_together(ask):
    steps = [refuse(UNAVAILABLE)] * 2 + [delay(20)] * 10
    with ScriptedServer(*steps) as server:
        start = time.monotonic()
        with pytest.raises(ServerError, match=r"did not answer within 0.3 s"):
            ask(server.address, timeout=0.3, retry=QUICK)
        assert time.monotonic() - start < 3
        assert len(server.calls) == 3


def test_a_call_without_time_left_is_never_answered(ask):
    with ScriptedServer() as server:
        for _ in range(50):
            with pytest.raises(ServerError, match="did not answer within 1e-06 s") as caught:
                ask(server.address, timeout=1e-6)
            assert caught.value.code == grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_slow_answer_is_asked_for_again_and_the_first_counts(ask):
    with ScriptedServer(delay(20)) as server:
        start = time.monotonic()
        assert ask(server.address, hedge_seconds=0.05, timeout=15) == "title 1"
        assert time.monotonic() - start < 5


def test_a_quick_answer_is_asked_for_once(ask):
    with ScriptedServer() as server:
        assert ask(server.address, hedge_seconds=5) == "title 0"
        assert len(server.calls) == 1


def test_a_failed_second_call_does_not_spoil_the_first(ask):
    with ScriptedServer(delay(0.4), refuse(UNAVAILABLE)) as server:
        assert ask(server.address, hedge_seconds=0.05, retry=NEVER, timeout=15) == "title 0"
        assert len(server.calls) == 2


def test_an_early_failure_is_not_waited_for(ask):
    with ScriptedServer(refuse(grpc.StatusCode.INTERNAL)) as server, pytest.raises(ServerError, match="INTERNAL"):
        ask(server.address, hedge_seconds=30, retry=NEVER)


def test_version_and_label_are_asked_for(ask):
    with ScriptedServer() as server:
        ask(server.address, version=7)
        ask(server.address, label="canary")
        assert [(spec.version.value, spec.version_label) for spec in server.specs] == [(7, ""), (0, "canary")]
        with pytest.raises(UserError, match="not for both"):
            ask(server.address, version=7, label="canary")


@dataclasses.dataclass
class FailedError(Exception):
    status: grpc.StatusCode

    def code(self):
        return self.status

    def details(self):
        return ""


def test_waits_grow_up_to_a_bound_and_a_busy_server_is_left_alone_longer():
    def longest(code, attempt):
        retries = Retries(Retry(attempts=99, first_seconds=0.1, most_seconds=2.0, budget=10_000), random.Random(0))
        return [retries.wait(FailedError(code), attempt, 60.0) for _ in range(300)]

    for attempt, most in ((1, 0.1), (2, 0.2), (3, 0.4), (50, 2.0)):
        waits = longest(UNAVAILABLE, attempt)
        assert min(waits) < 0.1 * most
        assert 0.9 * most < max(waits) <= most
    busy = longest(EXHAUSTED, 1)
    assert 0.2 <= min(busy) < max(busy) <= 0.4


def test_no_wait_beyond_the_deadline():
    retries = Retries(Retry(first_seconds=1.0))
    assert all(retries.wait(FailedError(EXHAUSTED), 3, 0.4) is None for _ in range(50))


def test_the_budget_ends_repeats_and_answers_fill_it():
    retries = Retries(Retry(attempts=99, budget=10))
    failures = [retries.wait(FailedError(UNAVAILABLE), 1, 60.0) for _ in range(20)]
    assert sum(wait is not None for wait in failures) == 6
    for _ in range(11):
        retries.answered()
    assert retries.wait(FailedError(UNAVAILABLE), 1, 60.0) is not None
    assert retries.wait(FailedError(UNAVAILABLE), 1, 60.0) is None


@pytest.mark.parametrize("wrong", [{"attempts": 0}, {"first_seconds": 2.0}, {"first_seconds": 0.0}, {"budget": -1.0}])
def test_a_wrong_rule_is_a_users_mistake(wrong):
    with pytest.raises(UserError, match="expected at least 1 attempt"):
        Retry(**wrong)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module", params=[False, True], ids=["tls", "mutual"])
def secured(request, authority):
    """A server with TLS, and whether it asks for the client's certificate."""
    signed = authority.sign("server.test")
    pair = (signed.key.read_bytes(), signed.certificate.read_bytes())
    root = authority.certificate.read_bytes() if request.param else None
    with ScriptedServer(credentials=grpc.ssl_server_credentials([pair], root, request.param)) as server:
        yield server, request.param


def test_tls(ask, secured, authority, tmp_path):
    server, mutual = secured
    mine = authority.sign("client.test")
    own = Tls(authority.certificate, mine.certificate, mine.key)
    assert ask(server.address, tls=own).startswith("title")
    assert ask(server.address, tls=dataclasses.replace(own, server_name="server.test")).startswith("title")

    stranger = Authority(tmp_path).sign("client.test")
    wrong = [Tls(tmp_path / "authority.pem"), None, dataclasses.replace(own, server_name="other.test")]
    if mutual:
        wrong += [Tls(authority.certificate), Tls(authority.certificate, stranger.certificate, stranger.key)]
    for tls in wrong:
        with pytest.raises(ServerError, match="no server is reachable"):
            ask(server.address, tls=tls, retry=NEVER)


def test_wrong_files_are_a_users_mistake(authority, tmp_path):
    (tmp_path / "text").write_text("hello")
    one, another = authority.sign("one.test"), authority.sign("another.test")
    for tls, message in (
        (Tls(tmp_path / "nothing"), "TLS authority .*nothing cannot be read: No such file"),
        (Tls(tmp_path / "text"), "is no PEM file"),
        (Tls(authority.certificate, certificate=authority.certificate), "only one of them is given"),
        (Tls(None, one.certificate, another.key), r"with key .*cannot be used \(.*: expected"),
    ):
        with pytest.raises(UserError, match=message):
            open_channel("127.0.0.1:1", tls)


def test_query_speaks_tls(secured, authority, capsys):
    server, mutual = secured
    mine = authority.sign("person.test")
    own = ["--tls-certificate", str(mine.certificate), "--tls-key", str(mine.key)] if mutual else []
    arguments = ["query", "--item", "a", "--label", "canary", "--address", server.address]
    # The scripted server answers with titles alone: that much has come through.
    assert cli([*arguments, "--tls-ca", str(authority.certificate), *own]) != 0
    assert "does not answer `retrieve`" in capsys.readouterr().err
    assert server.specs[-1].version_label == "canary"
    assert cli([*arguments, "--tls"]) != 0
    assert "no server is reachable" in capsys.readouterr().err


def test_the_snippet_of_the_documentation_runs(authority, tmp_path, monkeypatch):
    text = (Path(__file__).parents[3] / "docs/serving.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    shutil.copy(authority.certificate, tmp_path / "ca.crt")
    monkeypatch.chdir(tmp_path)
    # There is no server of that name here: so far it comes.
    with pytest.raises(ServerError, match="dns:///mtmh:8500"):
        exec(snippet, {})
