"""What the client answers with."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from serving.signatures import SOURCE_POPULAR
from serving.tensors import Array


@dataclasses.dataclass(frozen=True)
class Result:
    """One retrieved item.

    Attributes:
        item_id: its id.
        score: the blend ``(1 - w) engagement_score + w relevance_score``; for several triggers the weighted sum.
        engagement_score: the engagement head's similarity.
        relevance_score: the relevance head's similarity.
        source: which head found it: ``engagement``, ``relevance``, ``both``; ``popular`` for unknown triggers.
    """

    item_id: str
    score: float
    engagement_score: float
    relevance_score: float
    source: str


@dataclasses.dataclass(frozen=True)
class Answer:
    """The retrieved items, best first, and the version of the model that retrieved them."""

    results: tuple[Result, ...]
    version: int

    @property
    def is_fallback(self) -> bool:
        """Whether the triggers were unknown, so that these are popular items."""
        return bool(self.results) and all(result.source == SOURCE_POPULAR for result in self.results)


@dataclasses.dataclass(frozen=True)
class Description:
    """Title and categories of an item; empty for one that the model does not know."""

    title: str
    categories: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Embeddings:
    """Vectors of items, float32 [n, d] each, rows in the order asked."""

    engagement_trigger: Array
    engagement_candidate: Array
    relevance: Array


@dataclasses.dataclass(frozen=True)
class ModelVersion:
    """One version on the server: LOADING, AVAILABLE, UNLOADING or END, and the error of one that failed."""

    version: int
    state: str
    error: str


def text(value: Any) -> str:
    """An id or title as text."""
    return bytes(value).decode(errors="replace")


def first_row(outputs: Mapping[str, Array], version: int) -> Answer:
    """The answer in the first row of a retrieving signature's outputs.

    Raises:
        KeyError: the outputs are not those of ``serving.signatures.ANSWER``.
    """
    count = int(outputs["count"][0])
    columns = (outputs[field.name][0][:count].tolist() for field in dataclasses.fields(Result))
    results = (
        Result(text(item), score, engagement, relevance, text(source))
        for item, score, engagement, relevance, source in zip(*columns, strict=True)
    )
    return Answer(tuple(results), version)
