"""item2vec: skip-gram over the histories, with gensim."""

import zlib
from typing import Any, ClassVar, Final

import numpy as np
from gensim.models import Word2Vec
from numpy.typing import NDArray

from trainer.dot_products import DotProductRecommender
from trainer.histories import Histories

_EPOCHS: Final = 20
_WINDOW: Final = 10
_MOST_PAIRS: Final = 45_000_000
"""Pairs of rows that a training sees in all its epochs, which are fewer on larger data: about a microsecond each."""


class Item2Vec:
    """Skip-gram with negative sampling over sequences of items (Barkan and Koenigstein, MLSP 2016).

    Negatives are drawn uniformly, the setting of Caselles-Dupré et al. (RecSys 2018) that recalls most here: then
    ``in_i . out_j`` estimates the logarithm of how often j comes near i, not how much oftener than by popularity.
    ``readout`` says how the vectors rank: ``dot`` and ``cosine`` of the trigger's input with the candidate's output
    vector, ``both`` ways' cosines summed, or ``input`` vectors alone, as in the paper.
    """

    grid: ClassVar[tuple[dict[str, Any], ...]] = tuple(
        {"learning_rate": rate, "readout": readout}
        for rate in (0.025, 0.05)
        for readout in ("dot", "cosine", "both", "input")
    )
    default: ClassVar[dict[str, Any]] = {"learning_rate": 0.025, "readout": "dot"}

    def __init__(self, histories: Histories, num_items: int, *, seed: int, most_pairs: int = _MOST_PAIRS) -> None:
        """Takes what to learn from: histories, N, the seed, and how many pairs of rows to see in all."""
        self._sequences = np.split(histories.item, np.flatnonzero(np.diff(histories.sequence)) + 1)
        self._rows, self._num_items, self._seed, self._most_pairs = len(histories), num_items, seed, most_pairs
        self._popularity = histories.popularity(num_items)
        self._learning_rate = 0.0
        self._vectors = (np.zeros((num_items, 1), np.float32),) * 2

    def fit(self, *, learning_rate: float, readout: str) -> DotProductRecommender:
        """Trains, unless the last training had the same first learning rate, and ranks by a readout."""
        if learning_rate != self._learning_rate:
            self._vectors, self._learning_rate = self._train(learning_rate), learning_rate
        first, second = self._vectors
        known = first.any(axis=1)
        query, candidate = {
            "dot": (first, second),
            "cosine": (first, unit(second)),
            "both": (np.hstack([unit(first), unit(second)]), np.hstack([unit(second), unit(first)])),
            "input": (first, unit(first)),
        }[readout]
        return DotProductRecommender(query, candidate, known, self._popularity)

    def _train(self, learning_rate: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        # A row meets on average as many rows as the window is wide: its width is drawn anew, on both sides.
        epochs = int(np.clip(self._most_pairs // max(1, self._rows * (_WINDOW + 1)), 1, _EPOCHS))
        model = Word2Vec(
            [[str(item) for item in sequence] for sequence in self._sequences],
            sg=1,
            vector_size=64,
            window=_WINDOW,
            alpha=learning_rate,
            negative=5,
            ns_exponent=0.0,
            sample=0,
            min_count=1,
            epochs=epochs,
            workers=1,  # with more, the threads' order decides
            seed=self._seed,
            hashfxn=_hash,
        )
        items = np.array([int(word) for word in model.wv.index_to_key], dtype=np.int64)
        first = np.zeros((self._num_items, model.vector_size), np.float32)
        second = np.zeros_like(first)
        first[items], second[items] = model.wv.vectors, model.syn1neg
        return first, second


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """L2-normalised rows; zero rows stay zero."""
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norm, out=np.zeros_like(vectors), where=norm > 0)


def _hash(word: str) -> int:
    """A hash that is the same in every process; Python's own is salted."""
    return zlib.crc32(word.encode("utf-8"))
