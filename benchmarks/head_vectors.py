"""Vectors of both heads for the benchmarks: a trained model's, or drawn ones of any number of items."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from preprocessing.read import read_items
from trainer.artefact import load_model
from trainer.model import ItemVectors

_PER_TOPIC = 250
_CHUNK = 100_000


class Catalogue(NamedTuple):
    """A catalogue, and queries that are none of its items.

    Attributes:
      vectors: of the N items.
      queries: the same of items that the catalogue doesn't hold, of the same topics.
      categories: of the N items: ``half`` of half the topics, ``twentieth`` and ``rare`` (0.5 %) of items at random.
    """

    vectors: ItemVectors
    queries: ItemVectors
    categories: list[tuple[str, ...]]


def draw(items: int, queries: int, dimension: int = 64, seed: int = 0) -> Catalogue:
    """Draws a catalogue.

    An item has a place near its topic's, in a space whose axes matter less and less; topics lie near one another within
    fields, and are as unequal in size as in a shop. A head sees that place turned and stretched in its own way, with
    noise of its own; the engagement head sees an item as a trigger otherwise than as a candidate.
    """
    rng = np.random.default_rng(seed)
    topics = max(8, items // _PER_TOPIC)
    spectrum = (np.arange(1, dimension + 1) ** -0.5).astype(np.float32)
    fields = rng.normal(size=(max(4, topics // 20), dimension)) * spectrum
    centres = fields[rng.integers(0, len(fields), topics)] + 0.8 * rng.normal(size=(topics, dimension)) * spectrum
    share = 1.0 / np.arange(1, topics + 1) ** 0.7
    views = [rng.normal(size=(dimension, dimension)).astype(np.float32) / dimension**0.5 for _ in range(2)]
    trigger_view = views[0] + 0.3 * rng.normal(size=(dimension, dimension)).astype(np.float32) / dimension**0.5
    of_item = rng.choice(topics, size=items + queries, p=share / share.sum())
    parts = []
    for start in range(0, items + queries, _CHUNK):
        topic = of_item[start : start + _CHUNK]
        noise = rng.normal(size=(4, len(topic), dimension)).astype(np.float32) * spectrum
        place = centres[topic].astype(np.float32) + 0.7 * noise[0]
        parts.append(
            [
                _unit((place + 0.25 * noise[1]) @ trigger_view),
                _unit((place + 0.25 * noise[2]) @ views[0]),
                _unit((place + 0.15 * noise[3]) @ views[1]),
            ]
        )
    heads = [np.concatenate(head) for head in zip(*parts, strict=True)]
    in_half = rng.random(topics) < 0.5
    vectors, asked = (ItemVectors(*(head[part] for head in heads)) for part in (slice(items), slice(items, None)))
    return Catalogue(vectors, asked, _with_filters(in_half[of_item[:items]], rng))


def of_model(examples: Path, model_directory: Path, queries: int, seed: int = 0) -> Catalogue:
    """The vectors of a trained model; some items at random are taken out of its catalogue and asked for.

    Categories are laid over it: ``half`` are the items of half of the last categories, ``twentieth`` and ``rare`` as
    `draw` has them.

    Raises:
      UserError: an artefact is missing or damaged.
    """
    items = read_items(str(examples))
    vectors = load_model(model_directory, items)[0].embed_catalogue()
    rng = np.random.default_rng(seed)
    out = np.zeros(len(items), bool)
    out[rng.choice(len(items), queries, replace=False)] = True
    leaf = [each[-1] if each else "" for each in items.categories]
    halves = {name: rng.random() < 0.5 for name in sorted(set(leaf))}
    categories = _with_filters(np.array([halves[name] for name in leaf])[~out], rng)
    return Catalogue(_rows(vectors, ~out), _rows(vectors, out), categories)


def _rows(vectors: ItemVectors, chosen: NDArray[np.bool_]) -> ItemVectors:
    return ItemVectors(*(getattr(vectors, field.name)[chosen] for field in dataclasses.fields(vectors)))


def _with_filters(in_half: NDArray[np.bool_], rng: np.random.Generator) -> list[tuple[str, ...]]:
    chance = rng.random((2, len(in_half)))
    return [
        tuple(name for name, there in (("half", half), ("twentieth", one < 0.05), ("rare", other < 0.005)) if there)
        for half, one, other in zip(in_half, *chance, strict=True)
    ]


def _unit(vectors: Any) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
