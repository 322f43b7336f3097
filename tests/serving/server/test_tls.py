"""TLS and mutual TLS, over gRPC and REST; certificates that are renewed in place."""

import shutil
import ssl
import time
import urllib.error
from pathlib import Path

import grpc
import pytest
from tensorflow_serving.apis import prediction_service_pb2_grpc

from preprocessing.errors import UserError
from serving.server.config import ServerConfig
from serving.server.tls import TlsFiles
from tests.serving.server import toy_model
from tests.serving.server.certificates import Authority, Signed
from tests.serving.server.http_get import get
from tests.serving.server.server_process import ServerProcess, wait_for


def another(directory: Path) -> Authority:
    directory.mkdir()
    return Authority(directory)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def authority(directory) -> Authority:
    return Authority(directory)


@pytest.fixture(scope="module")
def stranger(directory) -> Authority:
    return another(directory / "stranger")


@pytest.fixture(scope="module")
def secure(exported, directory, authority):
    """A server that asks its callers for certificates, with plain health on another port."""
    base = directory / "mtmh"
    base.mkdir()
    toy_model.copy(exported, base / "1")
    own = authority.sign("server")
    files = {"tls_certificate": own.certificate, "tls_key": own.key, "tls_client_ca": authority.certificate}
    options = {name: str(path) for name, path in files.items()}
    server = ServerProcess.start(base, monitoring_port=0, **options).wait_ready()
    yield server
    assert server.stop() == 0


def ask(address: str, authority: Authority, caller: Signed | None = None) -> int:
    """The version that answers a caller that trusts this authority and has this certificate."""
    certificate, key = (caller.certificate.read_bytes(), caller.key.read_bytes()) if caller else (None, None)
    credentials = grpc.ssl_channel_credentials(authority.certificate.read_bytes(), key, certificate)
    with grpc.secure_channel(address, credentials, options=[("grpc.enable_http_proxy", 0)]) as channel:
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        return predict(toy_model.retrieve_request("item3"), timeout=5).model_spec.version.value


def test_grpc_takes_callers_of_the_authority_alone(secure, authority, stranger):
    assert ask(secure.address, authority, authority.sign("caller")) == 1
    for caller in (None, stranger.sign("nobody")):
        with pytest.raises(grpc.RpcError) as caught:
            ask(secure.address, authority, caller)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def test_rest_takes_callers_of_the_authority_alone(secure, authority):
    assert secure.rest.startswith("https://")
    context = ssl.create_default_context(cafile=str(authority.certificate))
    with pytest.raises((urllib.error.URLError, ssl.SSLError, ConnectionError)):
        get(f"{secure.rest}/v1/models/mtmh", context)
    caller = authority.sign("caller")
    context.load_cert_chain(caller.certificate, caller.key)
    assert get(f"{secure.rest}/v1/models/mtmh", context)[0] == 200


def test_probes_need_no_certificate(secure):
    assert get(f"{secure.monitoring}/readyz") == (200, "ready\n")


def test_a_renewed_certificate_is_taken_without_a_restart(secure, authority, directory):
    caller, new = authority.sign("caller"), another(directory / "new")
    with pytest.raises(grpc.RpcError):
        ask(secure.address, new, caller)
    own = new.sign("server")
    for source, name in ((own.certificate, "server.pem"), (own.key, "server.key")):
        shutil.copy(source, directory / name)
    assert ask(secure.address, new, caller) == 1


def test_a_renewed_authority_of_callers_is_taken_without_a_restart(exported, authority, tmp_path):
    old, new = another(tmp_path / "old"), another(tmp_path / "new")
    base, file = tmp_path / "mtmh", tmp_path / "callers.pem"
    base.mkdir()
    toy_model.copy(exported, base / "1")
    shutil.copy(old.certificate, file)
    own = authority.sign("other")
    files = {"tls_certificate": own.certificate, "tls_key": own.key, "tls_client_ca": file}
    server = ServerProcess.start(base, **{name: str(path) for name, path in files.items()}).wait_ready()

    def rest_takes(caller: Signed) -> bool:
        context = ssl.create_default_context(cafile=str(authority.certificate))
        context.load_cert_chain(caller.certificate, caller.key)
        try:
            return get(f"{server.rest}/v1/models/mtmh", context)[0] == 200
        except (urllib.error.URLError, ssl.SSLError, ConnectionError):
            return False

    callers = {each: each.sign("caller") for each in (old, new)}
    for now, before, damage in ((new, old, False), (old, new, True)):
        assert (rest_takes(callers[now]), rest_takes(callers[before])) == (False, True)
        if damage:
            file.write_text("nothing yet")
            time.sleep(3)
            assert (rest_takes(callers[now]), rest_takes(callers[before])) == (False, True)
        shutil.copy(now.certificate, file)
        wait_for(lambda now=now: rest_takes(callers[now]), what="the new authority's caller over REST", seconds=20)
        assert not rest_takes(callers[before])
        assert ask(server.address, authority, callers[now]) == 1
        with pytest.raises(grpc.RpcError):
            ask(server.address, authority, callers[before])
    assert "Traceback" not in server.log()
    assert server.stop() == 0


@pytest.mark.parametrize("wrong", ["certificate", "key", "client_ca", "pair"])
def test_files_that_do_not_fit_are_a_users_mistake(tmp_path, wrong):
    authority = Authority(tmp_path)
    own, other = authority.sign("server"), authority.sign("other")
    files = {"certificate": own.certificate, "key": own.key, "client_ca": authority.certificate}
    if wrong == "pair":
        files["key"] = other.key
    else:
        files[wrong] = tmp_path / "nothing.pem"
    with pytest.raises(UserError, match=r"(TLS certificate|--tls-client-ca) .*cannot be used"):
        TlsFiles(**files).context()


def test_half_of_the_options_is_a_users_mistake():
    with pytest.raises(UserError, match="both --tls-certificate and --tls-key"):
        ServerConfig("base", tls_certificate="a.pem")
    with pytest.raises(UserError, match="expected NAME=VERSION"):
        ServerConfig("base", label=("stable",))
