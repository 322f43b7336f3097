"""Places to push to, and two contents."""

from pathlib import Path

import pytest

from tests.serving.push.places import Place, model


@pytest.fixture(params=["disk", "s3", pytest.param("gcs", marks=pytest.mark.slow)])
def place(request, tmp_path) -> Place:
    if request.param == "disk":
        return Place(str(tmp_path / "serving" / "mtmh"))
    return Place(f"{request.getfixturevalue(request.param)}/{tmp_path.name}/mtmh")


@pytest.fixture
def one(tmp_path) -> Path:
    return model(tmp_path / "one", "one")


@pytest.fixture
def two(tmp_path) -> Path:
    return model(tmp_path / "two", "two")
