"""The contract against a server that runs: `make contract ADDRESS=host:8500`, an embedded one or TF Serving."""

import os
from pathlib import Path

import pytest

from serving.client import Tls
from tests.contract.contract import Endpoint, ServingContract

ADDRESS = os.environ.get("MTMH_CONTRACT_ADDRESS", "")
pytestmark = pytest.mark.skipif(
    not ADDRESS, reason="no server named: make contract ADDRESS=host:8500 (MODEL=name; TLS: CA=, CERT=, KEY=)"
)


@pytest.fixture(scope="session")
def endpoint() -> Endpoint:
    authority, certificate, key = (
        Path(path) if (path := os.environ.get(f"MTMH_CONTRACT_{name}", "")) else None for name in ("CA", "CERT", "KEY")
    )
    tls = Tls(authority, certificate, key) if authority or certificate else None
    return Endpoint(ADDRESS, os.environ.get("MTMH_CONTRACT_MODEL") or "mtmh", tls)


class TestAddress(ServingContract):
    pass
