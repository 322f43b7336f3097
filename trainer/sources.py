"""Which sources decide a trained model, besides its configuration and examples."""

from typing import Final

from preprocessing.sources_hash import code_version

TRAINER_SOURCES: Final = ("trainer", "preprocessing.read", "preprocessing.transform")


def trainer_version() -> str:
    """Identifies them."""
    return code_version(*TRAINER_SOURCES)
