"""From a caller's arguments to a signature's inputs, and from its outputs to typed results: no network here."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Generic, TypeVar

import numpy as np

from preprocessing.errors import UserError
from serving.results import Answer, Description, Embeddings, first_row, text
from serving.signatures import (
    DESCRIBE,
    EMBED,
    MAX_EXCLUSIONS,
    MAX_FILTERS,
    RETRIEVE,
    RETRIEVE_BY_CONTENT,
    RETRIEVE_FILTERED,
)
from serving.tensors import Array

T = TypeVar("T")

_DEFAULT_K: Final = -1
"""The graph reads a negative k as the exported default."""
_MAX_K: Final = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Question(Generic[T]):
    """What is asked, and how the answer is read.

    Attributes:
        signature: its name.
        inputs: an array for every input.
        read: from the outputs and the version that gave them to the result; KeyError, IndexError or ValueError where
            they are not what an MTMH model answers.
    """

    signature: str
    inputs: Mapping[str, Array]
    read: Callable[[Mapping[str, Array], int], T]


def retrieve(
    item_ids: Sequence[str],
    k: int | None,
    relevance_weight: float | None,
    exclude: Sequence[str],
    allow_categories: Sequence[str] = (),
    deny_categories: Sequence[str] = (),
) -> Question[Answer]:
    """See `serving.client.Client.retrieve`.

    Raises:
        UserError: an argument is out of its range.
    """
    inputs = {
        "item_id": _row(item_ids, "item_ids"),
        "relevance_weight": _weight(relevance_weight),
        "k": _k(k),
        "exclude_id": _row(exclude, "exclude", MAX_EXCLUSIONS),
    }
    if not allow_categories and not deny_categories:
        return Question(RETRIEVE, inputs, first_row)
    inputs["allow_category"] = _row(allow_categories, "allow_categories", MAX_FILTERS)
    inputs["deny_category"] = _row(deny_categories, "deny_categories", MAX_FILTERS)
    return Question(RETRIEVE_FILTERED, inputs, first_row)


def retrieve_by_content(
    title: str,
    description: str,
    categories: Sequence[str],
    content_vector: Sequence[float] | None,
    k: int | None,
    relevance_weight: float | None,
) -> Question[Answer]:
    """See `serving.client.Client.retrieve_by_content`.

    Raises:
        UserError: an argument is out of its range.
    """
    inputs = {
        "title": _strings([title], "title"),
        "description": _strings([description], "description"),
        "categories": _strings(["|".join(_texts(categories, "categories"))], "categories"),
        # A row of zeros stands for no vector.
        "content_vector": _vector([0.0] if content_vector is None else content_vector),
        "relevance_weight": _weight(relevance_weight),
        "k": _k(k),
    }
    return Question(RETRIEVE_BY_CONTENT, inputs, first_row)


def describe(item_ids: Sequence[str]) -> Question[list[Description]]:
    """See `serving.client.Client.describe`.

    Raises:
        UserError: an id is no text.
    """
    return Question(DESCRIBE, {"item_id": _strings(item_ids, "item_ids")}, _read_descriptions)


def embed(item_ids: Sequence[str]) -> Question[Embeddings]:
    """See `serving.client.Client.embed`.

    Raises:
        UserError: an id is no text.
    """
    return Question(EMBED, {"item_id": _strings(item_ids, "item_ids")}, _read_embeddings)


def _read_descriptions(outputs: Mapping[str, Array], version: int) -> list[Description]:
    del version
    return [
        Description(text(title), tuple(part for part in text(categories).split("|") if part))
        for title, categories in zip(outputs["title"], outputs["categories"], strict=True)
    ]


def _read_embeddings(outputs: Mapping[str, Array], version: int) -> Embeddings:
    del version
    return Embeddings(*(outputs[field.name] for field in dataclasses.fields(Embeddings)))


def _texts(values: Sequence[str], what: str) -> list[str]:
    if isinstance(values, str | bytes):
        raise UserError(f"{what}: expected a list of texts, not the single {values[:80]!r}")
    values = list(values)  # what gives its texts once is walked once
    for value in values:
        if not isinstance(value, str):
            raise UserError(f"{what}: expected texts, not {str(value)[:80]} of type {type(value).__name__}")
    return values


def _strings(values: Sequence[str], what: str) -> Array:
    values = _texts(values, what)
    array = np.empty(len(values), object)
    try:
        # Arguments of a command line that are no UTF-8 come as lone surrogates: send the bytes that they were.
        array[:] = [value.encode(errors="surrogateescape") for value in values]
    except UnicodeEncodeError as error:
        raise UserError(f"{what}: {str(error.object)[:80]!r} is not valid Unicode text") from error
    return array


def _row(values: Sequence[str], what: str, most: int | None = None) -> Array:
    """One row of strings after an empty one: TF Serving pads a batch with a tensor's first element."""
    strings = _strings(values, what)
    if most is not None and len(strings) >= most:
        raise UserError(f"{what}: {len(strings)} given, at most {most - 1} are allowed")
    return np.concatenate([_strings([""], what), strings])[None, :]


def _vector(values: Sequence[float]) -> Array:
    try:
        row = np.array(values, np.float32)
    except (TypeError, ValueError) as error:
        raise UserError(f"content vector: expected numbers ({error})") from error
    if row.ndim != 1:
        raise UserError(f"content vector: expected a list of numbers, not an array of shape {list(row.shape)}")
    return row[None, :]


def _weight(value: float | None) -> Array:
    if value is not None and not (isinstance(value, int | float | np.integer | np.floating) and 0.0 <= value <= 1.0):
        raise UserError(f"relevance weight {value}: expected a number from 0 (engagement) to 1 (relevance)")
    return np.array([math.nan if value is None else value], np.float32)


def _k(value: int | None) -> Array:
    if value is not None and not (isinstance(value, int | np.integer) and 0 <= value <= _MAX_K):
        raise UserError(f"k {value}: expected a whole number from 0 to {_MAX_K}")
    return np.array([_DEFAULT_K if value is None else value], np.int32)
