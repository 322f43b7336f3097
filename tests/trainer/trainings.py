"""What tests of whole trainings share."""

import dataclasses
from pathlib import Path

import numpy as np

from preprocessing.read import read_items
from trainer.artefact import load_model
from trainer.config import TrainingConfig
from trainer.train import TrainResult

ONE_STEP = {"epochs": 1, "batch_size": 512}
"""An epoch that is a single step: quick to trace."""


@dataclasses.dataclass(frozen=True)
class Trained:
    config: TrainingConfig
    output: Path
    result: TrainResult


def vectors_of(output, board):
    return load_model(output / "model", read_items(str(board)))[0].embed_catalogue()


def same(left, right):
    return all(
        np.array_equal(getattr(left, field.name), getattr(right, field.name)) for field in dataclasses.fields(left)
    )
