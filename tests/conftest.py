"""What every test shares: a quiet TensorFlow on the CPU, and the data beside the checkout."""

import os
from pathlib import Path

# Before any test imports TensorFlow.
os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import logging
from collections.abc import Iterator

import pytest
from hypothesis import settings

from preprocessing import vector_cache
from tests.buckets import gcs_server, s3_server

settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(autouse=True)
def own_log_level() -> Iterator[None]:
    """What a command line says of the log (`--quiet`) holds for its test alone."""
    logger = logging.getLogger("mtmh")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture(scope="session", autouse=True)
def own_teacher_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Teachers remember for this run of the tests alone."""
    directory = tmp_path_factory.mktemp("teacher")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vector_cache, "cache_directory", lambda: directory)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The directory of models and data sets beside the checkout."""
    path = Path(__file__).resolve().parents[2] / "shared"
    if not path.is_dir():
        pytest.skip(f"needs the data sets and models of {path}, which is not there")
    return path


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The URL of a bucket of a local S3 server."""
    with s3_server() as url:
        yield url


@pytest.fixture(scope="session")
def gcs() -> Iterator[str]:
    """The URL of a bucket of a local server of Google Cloud Storage's protocol."""
    with gcs_server() as url:
        yield url
