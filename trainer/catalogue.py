"""The item table as tensors: what the encoder reads and the losses sample from."""

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.backend import tf
from preprocessing.read import ItemTable
from preprocessing.transform import CategoryLookup, text_grams, text_tokens
from trainer.stand_in import Grams

MAX_CATEGORIES = 16
MAX_VOCABULARY = 10_000
_CHUNK = 50_000


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """Inputs of the encoder for each of the N items, and their counts.

    Attributes:
      tokens: int32 [N, T], hashed n-grams, 0 pads.
      grams: hashed words and letters, what stands for a content vector is guessed from.
      categories: int32 [N, C], category ids, 0 pads.
      content: float32 [N, D], the teacher's L2-normalised vectors, zero rows where absent.
      known: bool [N], items with an interaction in training; the others share the OOV id embedding.
      vocabulary: category names in order of id, from id 2 on.
    """

    tokens: NDArray[np.int32]
    grams: Grams
    categories: NDArray[np.int32]
    content: NDArray[np.float32]
    known: NDArray[np.bool_]
    vocabulary: tuple[str, ...]

    @property
    def num_items(self) -> int:
        """N."""
        return len(self.known)


def category_vocabulary(items: ItemTable) -> tuple[str, ...]:
    """Category names by falling count, then by falling name, as Transform orders them; at most `MAX_VOCABULARY`."""
    counts = Counter(category for categories in items.categories for category in categories)
    ordered = sorted(counts, key=lambda name: (counts[name], name), reverse=True)
    return tuple(ordered[:MAX_VOCABULARY])


def build_catalogue(
    items: ItemTable, *, buckets: int, tokens: int, vocabulary: tuple[str, ...] | None = None
) -> Catalogue:
    """Runs the in-graph features over the item table.

    Args:
      items: the preprocessed items.
      buckets: hash buckets of the n-grams.
      tokens: T, most n-grams kept of an item.
      vocabulary: category names in order of id; by default those of the items.
    """
    vocabulary = category_vocabulary(items) if vocabulary is None else vocabulary
    width = min(MAX_CATEGORIES, max([len(categories) for categories in items.categories] + [1]))
    lookup = CategoryLookup(vocabulary, width)
    token_chunks: list[Any] = []
    gram_chunks: list[Grams] = []
    category_chunks: list[Any] = []
    for start in range(0, len(items.ids), _CHUNK):
        stop = min(start + _CHUNK, len(items.ids))
        titles = tf.constant(items.titles[start:stop])
        descriptions = tf.constant(items.descriptions[start:stop])
        token_chunks.append(text_tokens(titles, descriptions, buckets=buckets, length=tokens).numpy())
        grams = text_grams(titles, descriptions, words=tokens)
        gram_chunks.append(Grams(grams.flat_values.numpy().astype(np.uint16), grams.row_splits.numpy()))
        named = items.categories[start:stop]
        names = tf.constant([name for categories in named for name in categories], tf.string)
        ragged = tf.RaggedTensor.from_row_lengths(names, [len(categories) for categories in named])
        category_chunks.append(lookup(ragged).numpy())
    return Catalogue(
        tokens=np.concatenate(token_chunks),
        grams=Grams.joined(gram_chunks),
        categories=np.concatenate(category_chunks),
        content=items.content_vectors,
        known=items.interaction_count > 0,
        vocabulary=vocabulary,
    )
