"""Vectors such as a trained model gives, of any number of items: both heads see one structure of topics."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

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
    chance = rng.random((2, items))
    categories = [
        tuple(name for name, there in (("half", half), ("twentieth", one < 0.05), ("rare", other < 0.005)) if there)
        for half, one, other in zip(in_half[of_item[:items]], *chance, strict=True)
    ]
    return Catalogue(
        ItemVectors(*(head[:items] for head in heads)), ItemVectors(*(head[items:] for head in heads)), categories
    )


def _unit(vectors: Any) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
