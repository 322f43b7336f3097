"""A compiled pipeline."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.tfx_pipeline.kubeflow.cluster import CLUSTER
from tfx_pipeline import kubeflow_runner


@pytest.fixture(scope="session")
def package(tmp_path_factory) -> Path:
    """A compiled pipeline, as a file."""
    path = tmp_path_factory.mktemp("compiled") / "mtmh.yaml"
    settings = [word for option in CLUSTER for word in ("--set", option)]
    assert kubeflow_runner.main(["--output", str(path), *settings]) == 0
    return path


@pytest.fixture(scope="session")
def documents(package) -> list[Any]:
    return list(yaml.safe_load_all(package.read_text(encoding="utf-8")))


@pytest.fixture(scope="session")
def spec(documents) -> Any:
    return documents[0]
