"""The two flavours of an export, which answer to the same signatures, and where each is published."""

from typing import Final

SCANN: Final = "scann"
"""Searched by ScaNN's ops; the server needs these linked in."""
STOCK: Final = "stock"
"""Searched by the ops of an unmodified TensorFlow alone."""


def base_of(flavour: str, base: str) -> str:
    """The directory or bucket of a flavour's versions, beside ``base``, that of the `SCANN` flavour.

    A flavour is a model of its own to a server, and its versions are counted on their own.
    """
    return base if flavour == SCANN else f"{base.rstrip('/')}-{flavour}"
