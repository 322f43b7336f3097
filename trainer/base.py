"""The trained model that a training begins with."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Final

DESCRIPTION: Final = "model.json"


@dataclasses.dataclass(frozen=True)
class Base:
    """A trained model: its directory, see `trainer.artefact`, and what it is called, such as ``version 3``."""

    directory: Path
    name: str

    @property
    def digest(self) -> str:
        """`model_digest` of it."""
        return model_digest(self.directory)


def model_digest(directory: Path) -> str:
    """SHA-256 of a trained model's description; raises ``OSError`` where that cannot be read."""
    return hashlib.sha256((directory / DESCRIPTION).read_bytes()).hexdigest()
