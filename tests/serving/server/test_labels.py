"""Labels and policies by TF Serving's reload request; flips, swaps and a crash under load."""

import itertools
import signal
import statistics
import threading
import time
from collections.abc import Iterator, Mapping

import grpc
import pytest
from tensorflow_serving.apis import (
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from serving.client import Client
from tests.serving.server import toy_model
from tests.serving.server.server_process import ServerProcess, wait_for

NO_PROXY = [("grpc.enable_http_proxy", 0)]


class Labelled:
    """A server of the latest version and of what has a label, and what changes it."""

    def __init__(self, base, exported) -> None:
        self.base, self._exported = base, exported
        self.numbers = itertools.count(1)
        base.mkdir()
        first = self.push()
        self.server = ServerProcess.start(base, label=[f"stable={first}"]).wait_ready()
        self.channel = grpc.insecure_channel(self.server.address, options=NO_PROXY)
        self.predict = prediction_service_pb2_grpc.PredictionServiceStub(self.channel).Predict
        self._reload = model_service_pb2_grpc.ModelServiceStub(self.channel).HandleReloadConfigRequest

    def push(self) -> int:
        version = next(self.numbers)
        toy_model.copy(self._exported, self.base / str(version))
        return version

    def config(self, labels: Mapping[str, int] = (), name: str = "mtmh"):
        request = model_management_pb2.ReloadConfigRequest()
        config = request.config.model_config_list.config.add(name=name, base_path=str(self.base))
        config.model_platform = "tensorflow"
        config.version_labels.update(dict(labels))
        return request

    def reload(self, request) -> None:
        assert self._reload(request, timeout=10).status.error_code == 0

    def refused(self, request) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.RpcError) as caught:
            self._reload(request, timeout=10)
        return caught.value.code(), caught.value.details()

    def ask(self, label: str = "", version: int | None = None) -> int:
        """The version that answers."""
        request = toy_model.retrieve_request("item3")
        if label:
            request.model_spec.version_label = label
        elif version is not None:
            request.model_spec.version.value = version
        return self.predict(request, timeout=10).model_spec.version.value

    def wait_latest(self, version: int) -> None:
        wait_for(lambda: self.ask() == version, what=f"version {version}")

    def states(self) -> dict[int, str]:
        with Client(self.server.address) as client:
            return {each.version: each.state for each in client.status()}


@pytest.fixture(scope="module")
def labelled(exported, tmp_path_factory) -> Iterator[Labelled]:
    labelled = Labelled(tmp_path_factory.mktemp("labelled") / "mtmh", exported)
    yield labelled
    labelled.channel.close()
    assert labelled.server.stop() == 0


def test_a_labelled_version_stays_beside_the_latest(labelled):
    assert labelled.ask("stable") == 1
    canary = labelled.push()
    labelled.wait_latest(canary)
    assert labelled.ask("stable") == labelled.ask(version=1) == 1
    labelled.reload(labelled.config({"stable": 1, "canary": canary}))
    assert labelled.ask("canary") == canary
    # Promoted, nothing holds the version before any more.
    labelled.reload(labelled.config({"stable": canary, "canary": canary}))
    assert labelled.ask("stable") == canary
    wait_for(lambda: labelled.states()[1] == "END", what="version 1 unloaded")


def test_a_label_waits_for_its_version(labelled):
    latest = labelled.ask()
    labelled.reload(labelled.config({"stable": latest}))
    assert labelled.refused(labelled.config({"stable": 9999})) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "Request to assign label to version 9999 of model mtmh, which is not currently available for inference",
    )
    assert labelled.ask("stable") == latest


def test_an_unknown_label_is_refused(labelled):
    for call in (lambda: labelled.ask("nothing"), lambda: labelled.ask("nothing")):
        with pytest.raises(grpc.RpcError) as caught:
            call()
        assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert caught.value.details() == "Unrecognized servable version label: nothing"


def test_policies(labelled):
    lower, upper = labelled.push(), labelled.push()
    request = labelled.config()
    policy = request.config.model_config_list.config[0].model_version_policy
    policy.specific.versions.append(lower)
    labelled.reload(request)
    labelled.wait_latest(lower)
    wait_for(lambda: labelled.states().get(upper) in (None, "END"), what="the upper version unloaded")
    policy.latest.num_versions = 2
    labelled.reload(request)
    labelled.wait_latest(upper)
    assert labelled.ask(version=lower) == lower
    policy.all.SetInParent()
    labelled.reload(request)
    wait_for(lambda: labelled.states()[1] == "AVAILABLE", what="version 1 again")
    labelled.reload(labelled.config())
    wait_for(lambda: labelled.states()[lower] == "END", what="only the latest")


def test_a_reload_for_something_else_is_refused(labelled):
    code, message = labelled.refused(labelled.config(name="films"))
    assert code == grpc.StatusCode.UNIMPLEMENTED
    assert "serves the one model mtmh" in message
    assert "films" in message
    code, _ = labelled.refused(model_management_pb2.ReloadConfigRequest())
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    request = labelled.config()
    request.config.model_config_list.config[0].model_platform = "pytorch"
    assert labelled.refused(request)[0] == grpc.StatusCode.INVALID_ARGUMENT
    request = labelled.config()
    request.config.model_config_list.config[0].base_path = "/somewhere/else"
    code, message = labelled.refused(request)
    assert code == grpc.StatusCode.UNIMPLEMENTED
    assert f"/somewhere/else: the embedded server cannot move mtmh from {labelled.base}" in message


def test_a_reload_need_not_say_where_the_model_is(labelled):
    request = labelled.config()
    request.config.model_config_list.config[0].base_path = ""
    labelled.reload(request)


def test_a_policy_that_leaves_nothing_keeps_what_answers_and_says_why(labelled):
    latest = labelled.ask()
    request = labelled.config()
    request.config.model_config_list.config[0].model_version_policy.specific.versions.append(9999)
    labelled.reload(request)
    line = f"version {latest}: the policy asks for other versions and none can be served: kept"
    wait_for(lambda: line in labelled.server.log(), what="a line about it", seconds=20)
    assert labelled.ask() == latest
    labelled.reload(labelled.config())


class Load:
    """Callers that ask without a pause and keep latencies and failures."""

    def __init__(self, labelled: Labelled, label: str = "", callers: int = 2, retries: bool = False) -> None:
        self._ask, self._label, self._retries = labelled.ask, label, retries
        self._stop = threading.Event()
        self.seconds: list[float] = []
        self.failures: list[tuple[float, grpc.RpcError]] = []
        self._threads = [threading.Thread(target=self._run) for _ in range(callers)]

    def _run(self) -> None:
        while not self._stop.is_set():
            started = time.perf_counter()
            try:
                self._ask(self._label)
                self.seconds.append(time.perf_counter() - started)
            except grpc.RpcError as error:
                self.failures.append((time.monotonic(), error))
                time.sleep(0.02)

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.parametrize("rounds", [pytest.param(25, marks=pytest.mark.slow), 2])
def test_swaps_and_flips_under_load_fail_no_request(labelled, rounds):
    stable = labelled.ask()
    labelled.reload(labelled.config({"stable": stable}))
    with Load(labelled) as latest, Load(labelled, "stable", callers=1) as by_label:
        for _ in range(rounds):
            before, version = labelled.ask("stable"), labelled.push()
            labelled.wait_latest(version)
            for label in (version, before, version):  # promoted, rolled back, promoted
                # Without a label of its own, the version before would be let go, and no rollback would find it.
                labelled.reload(labelled.config({"stable": label, "previous": before}))
                assert labelled.ask("stable") == label
    assert not latest.failures
    assert not by_label.failures
    assert len(latest.seconds) > 10 * rounds
    assert statistics.median(latest.seconds) < 0.1


def test_killed_and_started_again_under_load(labelled, exported):
    """Runs last: the server is another one afterwards."""
    latest = labelled.push()
    labelled.wait_latest(latest)
    port = int(labelled.server.address.rsplit(":", 1)[1])
    with Load(labelled) as load:
        time.sleep(0.3)
        answered = len(load.seconds)
        assert answered
        labelled.server.stop(signal.SIGKILL)
        labelled.server = ServerProcess.start(labelled.base, port=port, label=[f"stable={latest}"]).wait_ready()
        ready = time.monotonic()
        wait_for(lambda: len(load.seconds) > answered + 50, what="answers of the new server")
    codes = {error.code() for _, error in load.failures}
    assert codes <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.CANCELLED}
    # A connection that was refused backs off; no failure comes from the server once it is ready.
    assert not [error for when, error in load.failures if when > ready and error.code() != grpc.StatusCode.UNAVAILABLE]
    assert labelled.ask("stable") == latest
