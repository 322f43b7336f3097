"""What several files of tests look at."""

from pathlib import Path

import pytest

from tests.trainer.toys import SMALL, changed, write_checkerboard
from tests.trainer.trainings import Trained
from trainer.config import EvaluateConfig
from trainer.train import train


@pytest.fixture(scope="session")
def board(tmp_path_factory) -> Path:
    return write_checkerboard(tmp_path_factory.mktemp("board"))


@pytest.fixture(scope="session")
def trained(board, tmp_path_factory) -> Trained:
    """One training that most tests look at; K is the number of other fields of a colour."""
    config = changed(SMALL, evaluate=EvaluateConfig(k=7), trainer={"epochs": 6, "patience": 6, "tensorboard": True})
    output = tmp_path_factory.mktemp("trained")
    return Trained(config, output, train(board, output, config))
