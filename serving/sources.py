"""Which code decides, with weights, items and options, what a built version is like."""

from typing import Final

SERVING_SOURCES: Final = ("preprocessing", "serving", "trainer")
"""Packages that an export runs: one version too many costs less than a mended one that is taken for the old."""
