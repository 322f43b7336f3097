"""The signatures of the SavedModel: their names, inputs, outputs and bounds.

This module is the one source of these facts for the exporter, the server, the client and the tests. It imports
no TensorFlow, so that a client may start quickly. ``None`` in a shape stands for a dimension that a request chooses;
the first dimension of every tensor is the batch.
"""

import dataclasses
from typing import Final

SERVING_DEFAULT: Final = "serving_default"
RETRIEVE: Final = "retrieve"
RETRIEVE_FILTERED: Final = "retrieve_filtered"
RETRIEVE_BY_CONTENT: Final = "retrieve_by_content"
EMBED: Final = "embed"
DESCRIBE: Final = "describe"

MAX_TRIGGERS: Final = 256
"""Known triggers of one row that are merged; those beyond only are no answers."""
MAX_EXCLUSIONS: Final = 4096
"""Largest E, excluded ids of one row; a request with more is refused."""
MAX_FILTERS: Final = 64
"""Largest C, allowed or denied categories of one row; a request with more is refused."""

SOURCE_ENGAGEMENT: Final = "engagement"
SOURCE_RELEVANCE: Final = "relevance"
SOURCE_BOTH: Final = "both"
SOURCE_POPULAR: Final = "popular"


@dataclasses.dataclass(frozen=True)
class Tensor:
    """Name, dtype name and shape of one input or output."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclasses.dataclass(frozen=True)
class Signature:
    """One entry of ``SavedModel.signatures``."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


ANSWER: Final = (
    Tensor("item_id", "string", (None, None)),
    Tensor("score", "float32", (None, None)),
    Tensor("engagement_score", "float32", (None, None)),
    Tensor("relevance_score", "float32", (None, None)),
    Tensor("source", "string", (None, None)),
    Tensor("count", "int32", (None,)),
)
"""Outputs of every retrieving signature: [B, K] each, and ``count`` [B], how many of a row's K are real."""

_RETRIEVE_INPUTS: Final = (
    Tensor("item_id", "string", (None, None)),
    Tensor("relevance_weight", "float32", (None,)),
    Tensor("k", "int32", (None,)),
    Tensor("exclude_id", "string", (None, None)),
)

SIGNATURES: Final = {
    signature.name: signature
    for signature in (
        Signature(SERVING_DEFAULT, (Tensor("item_id", "string", (None,)),), ANSWER),
        Signature(RETRIEVE, _RETRIEVE_INPUTS, ANSWER),
        Signature(
            RETRIEVE_FILTERED,
            (
                *_RETRIEVE_INPUTS,
                Tensor("allow_category", "string", (None, None)),
                Tensor("deny_category", "string", (None, None)),
            ),
            ANSWER,
        ),
        Signature(
            RETRIEVE_BY_CONTENT,
            (
                Tensor("title", "string", (None,)),
                Tensor("description", "string", (None,)),
                Tensor("categories", "string", (None,)),
                Tensor("content_vector", "float32", (None, None)),
                Tensor("relevance_weight", "float32", (None,)),
                Tensor("k", "int32", (None,)),
            ),
            ANSWER,
        ),
        Signature(
            EMBED,
            (Tensor("item_id", "string", (None,)),),
            (
                Tensor("engagement_trigger", "float32", (None, None)),
                Tensor("engagement_candidate", "float32", (None, None)),
                Tensor("relevance", "float32", (None, None)),
            ),
        ),
        Signature(
            DESCRIBE,
            (Tensor("item_id", "string", (None,)),),
            (
                Tensor("title", "string", (None,)),
                Tensor("categories", "string", (None,)),
            ),
        ),
    )
}
"""``describe`` is ours beyond the design's table: titles and ``|``-joined categories of known items, "" for unknown
ones, so that a client can print names with nothing but a server's address."""
