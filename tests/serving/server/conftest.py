from pathlib import Path

import pytest

from tests.serving.server import toy_model
from tests.serving.server.server_process import ServerProcess

WARMUP_REQUESTS = 4


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version directory with warm-up requests."""
    path = toy_model.export(tmp_path_factory.mktemp("exported") / "1", marker=1.0)
    toy_model.write_warmup(path, [toy_model.retrieve_request("item3")] * WARMUP_REQUESTS)
    return path


@pytest.fixture(scope="session")
def server(exported: Path, tmp_path_factory: pytest.TempPathFactory):
    """A server of one version, for tests that leave it as it is."""
    base = tmp_path_factory.mktemp("base") / "mtmh"
    base.mkdir()
    toy_model.copy(exported, base / "1")
    process = ServerProcess.start(base, max_message_bytes=1 << 20, monitoring_port=0).wait_ready()
    yield process
    assert process.stop() == 0
