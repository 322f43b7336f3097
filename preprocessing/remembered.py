"""Teachers that encode what is new or has changed, and remember the rest."""

import functools
import hashlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Final

import numpy as np
import numpy.typing as npt

from preprocessing.catalogue import Item
from preprocessing.config import PreprocessingConfig
from preprocessing.job import PROGRESS_SECONDS
from preprocessing.onnx_encoder import OnnxEncoder, check_directory
from preprocessing.semantics import FIT_ITEMS, Encoder, fit_lsa, item_text
from preprocessing.sources_hash import code_version
from preprocessing.vector_cache import VectorCache, fingerprint

_LSA_LIBRARIES: Final = ("scikit-learn", "scipy", "numpy")
_ONNX_LIBRARIES: Final = ("onnxruntime", "tokenizers")
_LSA_CODE: Final = ("preprocessing.semantics",)
_ONNX_CODE: Final = ("preprocessing.onnx_encoder", "preprocessing.semantics")
_PIECE_BYTES: Final = 1 << 20
_KEPT_AT_ONCE: Final = 2048
"""Texts that are encoded between two writes of the cache."""
_LOGGER: Final = logging.getLogger("mtmh.preprocessing")


class RememberingEncoder:
    """An encoder, made when there is something to encode, behind a cache of its vectors."""

    def __init__(self, cache: VectorCache, make: Callable[[], Encoder], *, with_categories: bool):
        """Takes the cache, what makes the encoder, and whether that reads categories."""
        self._cache = cache
        self._make = make
        self._with_categories = with_categories
        self._encoder: Encoder | None = None
        self._held: dict[str, int] = {}
        self._vectors = np.zeros((0, 0), np.float32)

    @property
    def dimension(self) -> int:
        """D."""
        return self._made().dimension

    def hold(self, items: Sequence[Item]) -> None:
        """Encodes items and carries their vectors along, to wherever the encoder is sent."""
        self._vectors = self.encode(items)
        self._held = {text: row for row, text in enumerate(self._texts(items))}

    def encode(self, items: Sequence[Item]) -> npt.NDArray[np.float32]:
        """Vectors float32 [n, D], see `Encoder.encode`."""
        texts = self._texts(items)
        if self._held and all(text in self._held for text in texts):
            return self._vectors[[self._held[text] for text in texts]]
        one_of_each = dict(zip(texts, items, strict=True))
        distinct = list(one_of_each)
        vectors, known = self._cache.find(distinct)
        new = np.flatnonzero(~known)
        reported = time.monotonic()
        # Kept bit by bit: after a run that was killed the next one goes on from there.
        for first in range(0, len(new), _KEPT_AT_ONCE):
            places = new[first : first + _KEPT_AT_ONCE]
            some = [distinct[place] for place in places]
            encoded = self._made().encode([one_of_each[text] for text in some])
            if not first and not known.any():
                vectors = np.zeros((len(distinct), encoded.shape[1]), np.float32)
            vectors[places] = encoded
            self._cache.store(some, encoded)
            if (now := time.monotonic()) - reported >= PROGRESS_SECONDS:
                reported = now
                _LOGGER.info("teacher: encoded %d of %d new texts of a shard", first + len(places), len(new))
        place_of = {text: place for place, text in enumerate(distinct)}
        return vectors[[place_of[text] for text in texts]]

    def _made(self) -> Encoder:
        if self._encoder is None:
            self._encoder = self._make()
        return self._encoder

    def _texts(self, items: Sequence[Item]) -> list[str]:
        return [item_text(item, with_categories=self._with_categories) for item in items]


def onnx_teacher(config: PreprocessingConfig) -> Encoder:
    """The `onnx` teacher; the model is loaded once a text is new.

    Raises:
      UserError: the directory lacks the model or the tokenizer.
    """
    with_categories = config.features.categories
    files = _digest_of_files(check_directory(config.teacher))
    key = fingerprint(files, config.teacher.max_tokens, _versions(_ONNX_LIBRARIES), code_version(*_ONNX_CODE))
    cache = VectorCache("onnx", key)
    make = functools.partial(OnnxEncoder, config.teacher, with_categories=with_categories)
    return RememberingEncoder(cache, make, with_categories=with_categories)


def lsa_teacher(items: Sequence[Item], config: PreprocessingConfig) -> Encoder:
    """The `lsa` teacher fitted on items, which is done unless all their vectors are remembered.

    Any other item changes the fit and with it every vector, so it is the whole catalogue or nothing. Of a catalogue
    that it is fitted on a sample of nothing is remembered: many workers encode it, each a part.

    Raises:
      UserError: no item has any text.
    """
    with_categories = config.features.categories
    make = functools.partial(fit_lsa, items, config.teacher, config.seed, with_categories=with_categories)
    if len(items) >= FIT_ITEMS:
        return make()
    texts = [item_text(item, with_categories=with_categories) for item in items]
    key = fingerprint(texts, config.teacher.dimension, config.seed, _versions(_LSA_LIBRARIES), code_version(*_LSA_CODE))
    teacher = RememberingEncoder(VectorCache("lsa", key), make, with_categories=with_categories)
    teacher.hold(items)
    return teacher


def _versions(libraries: Sequence[str]) -> list[tuple[str, str]]:
    return [(name, version(name)) for name in libraries]


def _digest_of_files(directory: str) -> str:
    """A digest of the files of a directory, names and contents."""
    digest = hashlib.sha256()
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        if os.path.isfile(path):
            digest.update(f"{name}\0{os.path.getsize(path)}\0".encode())
            with open(path, "rb") as stream:
                while piece := stream.read(_PIECE_BYTES):
                    digest.update(piece)
    return digest.hexdigest()
