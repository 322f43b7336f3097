"""Which code decides, with weights, items and options, what a built version is like."""

from typing import Final

SERVING_SOURCES: Final = ("serving", "trainer.artefact", "trainer.model", "trainer.encoder", "trainer.heads")
"""Packages and modules that an export runs."""
