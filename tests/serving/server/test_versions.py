"""Version directories: hot swap under load, versions that fail, removal, waiting for the first, draining."""

import itertools
import re
import shutil
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import prediction_service_pb2_grpc

from preprocessing.errors import UserError
from serving.client import Client
from serving.server.config import ServerConfig
from serving.version_manifest import MANIFEST, describe
from tests.serving.server import toy_model
from tests.serving.server.conftest import WARMUP_REQUESTS
from tests.serving.server.http_get import get
from tests.serving.server.server_process import ServerProcess, wait_for


class Swapping:
    """A server whose directory the tests change; each pushes versions above those before."""

    def __init__(self, base: Path, exported: Path) -> None:
        self.base, self._exported = base, exported
        self._numbers = itertools.count(1)
        base.mkdir()
        self.push()
        self.server = ServerProcess.start(base).wait_ready()
        self.client = Client(self.server.address)

    def next(self) -> int:
        return next(self._numbers)

    def push(self) -> int:
        version = self.next()
        toy_model.copy(self._exported, self.base / str(version))
        return version

    def state(self, version: int) -> str:
        return next((each.state for each in self.client.status() if each.version == version), "")

    def error(self, version: int) -> str:
        return next((each.error for each in self.client.status() if each.version == version), "")

    def wait_state(self, version: int, state: str) -> None:
        wait_for(lambda: self.state(version) == state, what=f"version {version} {state}")

    def answering(self) -> int:
        return self.client.retrieve(["item3"]).version


@pytest.fixture(scope="module")
def swapping(exported, tmp_path_factory):
    swapping = Swapping(tmp_path_factory.mktemp("swapping") / "mtmh", exported)
    yield swapping
    swapping.client.close()
    assert swapping.server.stop() == 0


def test_warmup_is_replayed_before_a_version_is_available(swapping):
    version = swapping.answering()
    lines = [line for line in swapping.server.lines if f"version {version}:" in line]
    assert f"{WARMUP_REQUESTS} warm-up requests" in lines[1]
    assert lines[2].rstrip().endswith("available")


def test_hot_swap_under_load_fails_no_request(swapping):
    before = swapping.answering()
    stop, seen, failures = threading.Event(), set(), []

    def load():
        with Client(swapping.server.address) as client:
            while not stop.is_set():
                try:
                    seen.add(client.retrieve(["item3"], k=3).version)
                except UserError as error:
                    failures.append(error)

    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(load)
        for _ in range(2):
            version = swapping.push()
            wait_for(lambda version=version: version in seen, what=f"an answer of version {version}")
        stop.set()
    assert not failures
    assert {before, version} <= seen
    swapping.wait_state(before, "END")
    assert swapping.error(before) == ""
    assert swapping.answering() == version


@pytest.mark.parametrize(
    ("file", "content", "step"),
    [
        ("saved_model.pb", b"not a model", "loaded"),
        ("variables/variables.index", b"", "loaded"),
        ("assets.extra/tf_serving_warmup_requests", b"not a record file", "warmed up"),
        ("assets.extra/tf_serving_warmup_requests", None, "warmed up"),
    ],
    ids=["model", "variables", "warm-up", "warm-up-request"],
)
def test_a_version_that_fails_is_reported_and_skipped(swapping, exported, tmp_path, file, content, step):
    serving = swapping.answering()
    broken = tmp_path / "broken"
    shutil.copytree(exported, broken)
    if content is None:
        toy_model.write_warmup(broken, [toy_model.retrieve_request("a", exclude=("x",) * 20)])
    else:
        (broken / file).write_bytes(content)
    version = swapping.next()
    toy_model.copy(broken, swapping.base / str(version))
    swapping.wait_state(version, "END")
    assert f"version {version} could not be {step}" in swapping.error(version)
    assert "Traceback" not in swapping.error(version)
    assert swapping.answering() == serving
    # Mended in place, it is tried again.
    shutil.rmtree(swapping.base / str(version))
    toy_model.copy(exported, swapping.base / str(version))
    swapping.wait_state(version, "AVAILABLE")


def test_what_is_no_version_is_ignored_until_it_is_one(swapping, exported):
    serving = swapping.answering()
    for name in ("tmp", "-5", "1e3", "9" * 30, "²"):
        toy_model.copy(exported, swapping.base / name)
    version = swapping.next()
    target = swapping.base / str(version)
    target.mkdir()
    time.sleep(0.5)
    assert swapping.answering() == serving
    assert swapping.state(version) == ""
    shutil.copytree(exported, target, dirs_exist_ok=True)
    swapping.wait_state(version, "AVAILABLE")
    for name in ("tmp", "-5", "1e3", "9" * 30, "²"):
        shutil.rmtree(swapping.base / name)


def test_a_version_with_a_manifest_is_taken_when_it_is_whole(swapping, exported):
    """A copy may give a file its full size first, and pause: neither is taken for the end."""
    serving, version = swapping.answering(), swapping.next()
    target = swapping.base.with_name("incoming")
    shutil.copytree(exported, target)
    (target / MANIFEST).write_text(describe(target).stamped().to_json())
    content = (target / "saved_model.pb").read_bytes()
    (target / "saved_model.pb").write_bytes(content[:-1])
    target.rename(swapping.base / str(version))
    target = swapping.base / str(version)
    wait_for(lambda: "saved_model.pb has " in swapping.server.log(), what="a line that a file is short")
    (target / "saved_model.pb").write_bytes(content[:-1] + b"?")
    wait_for(lambda: "saved_model.pb has another SHA-256" in swapping.server.log(), what="a line about its content")
    assert swapping.answering() == serving
    assert swapping.state(version) == ""
    (target / "saved_model.pb").write_bytes(content)
    swapping.wait_state(version, "AVAILABLE")


def test_a_version_that_stays_damaged_is_reported_and_tried_again_when_it_changes(swapping, exported):
    serving, version = swapping.answering(), swapping.next()
    target = swapping.base.with_name("damaged")
    shutil.copytree(exported, target)
    (target / MANIFEST).write_text(describe(target).stamped().to_json())
    content = (target / "saved_model.pb").read_bytes()
    (target / "saved_model.pb").write_bytes(content + b"?")
    target.rename(swapping.base / str(version))
    swapping.wait_state(version, "END")
    sizes = f"{len(content) + 1:,} bytes of {len(content):,}"
    assert swapping.error(version) == f"version {version} is not whole: saved_model.pb has {sizes}"
    assert swapping.answering() == serving
    (swapping.base / str(version) / "saved_model.pb").write_bytes(content)
    swapping.wait_state(version, "AVAILABLE")


def test_what_was_counted_of_a_version_goes_with_it(swapping):
    """Else every push would leave its histograms for ever."""
    before, version = swapping.answering(), swapping.push()
    assert f'version="{before}"' in get(f"{swapping.server.rest}/metrics")[1]
    swapping.wait_state(before, "END")
    assert swapping.answering() == version
    wait_for(lambda: f'version="{before}"' not in get(f"{swapping.server.rest}/metrics")[1], seconds=10)
    counted = re.findall(r'mtmh_model_seconds_count\{.*version="(\d+)"', get(f"{swapping.server.rest}/metrics")[1])
    assert counted == [str(version)]


def test_removing_the_served_version_rolls_back(swapping):
    lower, upper = swapping.push(), swapping.push()
    swapping.wait_state(upper, "AVAILABLE")
    # Where it was loaded at all: as long as it is available still, nothing says that it is so again.
    wait_for(lambda: swapping.state(lower) != "AVAILABLE", what=f"the end of version {lower}")
    shutil.rmtree(swapping.base / str(upper))
    swapping.wait_state(lower, "AVAILABLE")
    assert swapping.answering() == lower
    swapping.wait_state(upper, "END")


def test_the_only_version_is_kept_when_its_directory_goes(swapping):
    version = swapping.push()
    swapping.wait_state(version, "AVAILABLE")
    moved = swapping.base.with_name("moved")
    swapping.base.rename(moved)
    wait_for(lambda: "its directory is gone" in swapping.server.log(), what="a line about it")
    assert swapping.answering() == version
    moved.rename(swapping.base)


def test_a_mended_version_that_is_kept_still_has_a_status(swapping, exported):
    version = swapping.next()
    broken = swapping.base / str(version)
    toy_model.copy(exported, broken)
    (broken / "saved_model.pb").write_bytes(b"not a model")
    swapping.wait_state(version, "END")
    shutil.copy(exported / "saved_model.pb", broken)
    swapping.wait_state(version, "AVAILABLE")
    moved = swapping.base.with_name("moved")
    swapping.base.rename(moved)
    wait_for(lambda: f"version {version}: its directory is gone" in swapping.server.log(), what="a line about it")
    assert swapping.answering() == version
    assert swapping.state(version) == "AVAILABLE"
    moved.rename(swapping.base)


@pytest.fixture(scope="module")
def late(tmp_path_factory):
    """A server that starts with nothing, then gets a slow model; one thread and one waiting place."""
    root = tmp_path_factory.mktemp("late")
    base = root / "mtmh"
    base.mkdir()
    return (
        ServerProcess.start(base, threads=1, queue=2, queue_milliseconds=60_000),
        toy_model.export(root / "1", busy=200),
        base,
    )


def _health(address: str) -> int:
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        request = health_pb2.HealthCheckRequest()
        return health_pb2_grpc.HealthStub(channel).Check(request, timeout=10).status


def test_a_server_waits_refuses_and_drains(late):
    server, slow, base = late
    status = health_pb2.HealthCheckResponse
    assert _health(server.address) == status.NOT_SERVING
    with Client(server.address, timeout=30) as client:
        with pytest.raises(UserError, match="no version to answer with yet"):
            client.retrieve(["item3"])
        wait_for(lambda: "waiting for a numeric directory" in server.log(), what="a line that it waits")
        toy_model.copy(slow, base / "1")
        server.wait_ready()
        assert _health(server.address) == status.SERVING
        client.retrieve(["item3"])

        _overload(server.address)
        _deadline(server.address)

        with ThreadPoolExecutor(3) as pool:
            in_flight = [pool.submit(client.retrieve, ["item3"]) for _ in range(2)]
            over_rest = pool.submit(_ask_rest, server.rest)
            time.sleep(0.15)
            code = server.stop()
        assert [each.result().version for each in in_flight] == [1, 1]
        assert over_rest.result() == 200
        assert code == 0
        with pytest.raises(UserError, match="no server is reachable"):
            client.retrieve(["item3"])


def _ask_rest(url: str) -> int:
    request = urllib.request.Request(f"{url}/v1/models/mtmh:predict", b'{"instances": ["item3"]}')
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as response:
        return response.status


def _overload(address: str) -> None:
    """Of twelve at once three are taken, the others refused quickly, and the server is the same afterwards."""
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        calls = [stub.Predict.future(toy_model.retrieve_request("item3"), timeout=60) for _ in range(12)]
        codes = [call.code() for call in calls]
    assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert codes.count(grpc.StatusCode.OK) >= 3
    assert _health(address) == health_pb2.HealthCheckResponse.SERVING


def _deadline(address: str) -> None:
    with Client(address, timeout=0.05) as client, pytest.raises(UserError, match=r"did not answer within 0.05 s"):
        client.retrieve(["item3"])
    with Client(address, timeout=30) as client:
        assert client.retrieve(["item3"]).results


def test_numbers_out_of_range_are_a_users_mistake():
    with pytest.raises(UserError, match="--rest-port 70000: expected a number from -1 to 65535"):
        ServerConfig("base", rest_port=70000)


def test_a_missing_base_path_is_a_users_mistake(tmp_path):
    server = ServerProcess.start(tmp_path / "nothing")
    assert server.process.wait(30) == 2
    wait_for(server.log)
    assert "no such directory" in server.log()


def test_no_version_fails_where_one_is_required(tmp_path):
    (tmp_path / "1").mkdir()
    server = ServerProcess.start(tmp_path, require_version=True)
    assert server.process.wait(30) == 2
    wait_for(lambda: "error:" in server.log())
    assert "can be served: expected a numeric directory" in server.log()
    assert "Traceback" not in server.log()


def test_a_damaged_version_is_none_where_one_is_required(tmp_path, exported):
    target = toy_model.copy(exported, tmp_path / "1")
    (target / MANIFEST).write_text(describe(target).stamped().to_json())
    (target / "saved_model.pb").write_bytes(b"?")
    server = ServerProcess.start(tmp_path, require_version=True)
    assert server.process.wait(60) == 2
    wait_for(lambda: "error:" in server.log())
    assert "version 1 is not whole: saved_model.pb has 1 bytes of" in server.log()


def test_a_signal_while_loading_ends_it(tmp_path, exported):
    toy_model.copy(exported, tmp_path / "1")
    server = ServerProcess.start(tmp_path)
    wait_for(lambda: "loading" in server.log(), what="loading")
    assert server.stop() == 0
    assert "Traceback" not in server.log()


@pytest.mark.parametrize("option", ["port", "rest_port"])
def test_a_taken_port_is_a_users_mistake(tmp_path, server, option):
    taken = int((server.address if option == "port" else server.rest).rsplit(":", 1)[1])
    other = ServerProcess.start(tmp_path, **{option: taken})
    assert other.process.wait(30) == 2
    wait_for(lambda: "error:" in other.log())
    assert f"--{option.replace('_', '-')}" in other.log()
    assert "Traceback" not in other.log()
