"""The teacher: what each item is about, as an L2-normalised vector."""

import logging
import unicodedata
from collections.abc import Sequence
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from preprocessing.catalogue import Item
from preprocessing.config import TeacherConfig
from preprocessing.errors import UserError
from preprocessing.evenly import evenly_spread

FIT_ITEMS: Final = 200_000
"""The `lsa` teacher is fitted on at most this many items, evenly spread over the catalogue."""
_MAX_TERMS: Final = 100_000
"""Words, and as many runs of letters."""
_LETTERS: Final = (3, 4)
_PLANES: Final = 0x20000
"""Where the scripts are that have marks."""
_LOGGER: Final = logging.getLogger("mtmh.preprocessing")


class Encoder(Protocol):
    """Turns items into vectors."""

    @property
    def dimension(self) -> int:
        """D."""

    def encode(self, items: Sequence[Item]) -> npt.NDArray[np.float32]:
        """Vectors float32 [n, D] with norm 1, or 0 for items of which the encoder has nothing to say."""


def item_text(item: Item, *, with_categories: bool) -> str:
    """What a teacher reads of an item: the title, then a description that adds to it, then the categories."""
    parts = [item.title]
    if item.description and item.description.casefold() not in item.title.casefold():
        # A description often begins with the title; saying it twice would only weigh it more.
        if item.title and item.description.casefold().startswith(item.title.casefold()):
            parts = [item.description]
        else:
            parts.append(item.description)
    if with_categories and item.categories:
        parts.append(", ".join(item.categories))
    return ". ".join(part for part in parts if part)


def fit_sample(count: int) -> npt.NDArray[np.int64]:
    """Indices of the items that the `lsa` teacher is fitted on."""
    return evenly_spread(count, FIT_ITEMS)


def normalised(vectors: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Rows scaled to norm 1; rows of (next to) no length become zero."""
    wide = vectors.astype(np.float64)
    norms = np.sqrt(np.einsum("nd,nd->n", wide, wide))[:, None]
    unit = np.divide(wide, norms, out=np.zeros_like(wide), where=norms > 1e-12)
    return unit.astype(np.float32)


class LsaEncoder:
    """TF-IDF of words and of letters within words, reduced by a truncated SVD."""

    def __init__(self, vectorizers: Sequence[Any], components: npt.NDArray[np.float32], *, with_categories: bool):
        """Takes fitted vectorizers with V terms in all, and components [V, D]."""
        self._vectorizers = tuple(vectorizers)
        self._components = components
        self._with_categories = with_categories

    @property
    def dimension(self) -> int:
        """D."""
        return int(self._components.shape[1])

    def encode(self, items: Sequence[Item]) -> npt.NDArray[np.float32]:
        """Vectors float32 [n, D], zero for items without any known term."""
        texts = [item_text(item, with_categories=self._with_categories) for item in items]
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        first = 0
        for vectorizer in self._vectorizers:
            matrix = vectorizer.transform(texts)
            vectors += matrix @ self._components[first : first + matrix.shape[1]]
            first += matrix.shape[1]
        return normalised(vectors)


def _word_pattern() -> str:
    r"""Words as `preprocessing.transform` has them, and underscores: Python's ``\w`` leaves out marks."""
    marks = "".join(chr(code) for code in range(_PLANES) if unicodedata.category(chr(code)).startswith("M"))
    return rf"\w[\w{marks}]*"


def fit_lsa(items: Sequence[Item], config: TeacherConfig, seed: int, *, with_categories: bool) -> LsaEncoder:
    """Fits the `lsa` teacher; the same items, configuration and seed give the same encoder.

    Letters within words stand beside the words because catalogues abbreviate, inflect and misspell.

    Raises:
      UserError: no item has any text.
    """
    # These imports take seconds, and only the worker that fits needs them.
    from scipy.sparse import hstack
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from threadpoolctl import threadpool_limits

    texts = [item_text(item, with_categories=with_categories) for item in items]
    if not any(texts):
        raise UserError(
            "no item has a title or a description, so teacher.kind=lsa has nothing to read; add text to the items "
            "(see input.columns.title), or bring vectors in a column and set teacher.kind=column"
        )
    common: dict[str, Any] = {"sublinear_tf": True, "max_features": _MAX_TERMS, "dtype": np.float32}
    vectorizers, matrices = [], []
    for vectorizer in (
        TfidfVectorizer(token_pattern=_word_pattern(), **common),
        TfidfVectorizer(analyzer="char_wb", ngram_range=_LETTERS, **common),
    ):
        try:
            matrices.append(vectorizer.fit_transform(texts))
            vectorizers.append(vectorizer)
        except ValueError:
            # It finds no term at all: texts of nothing but punctuation have letters in this sense, but no words.
            continue
    matrix = hstack(matrices, format="csr")
    documents, terms = matrix.shape
    if terms <= config.dimension:
        # Nothing to reduce: each term keeps a dimension of its own.
        components = np.eye(terms, dtype=np.float32)
    else:
        # With one thread the sums of BLAS have one order, and the bytes do not depend on the machine's load.
        with threadpool_limits(1):
            svd = TruncatedSVD(min(config.dimension, documents), algorithm="randomized", n_iter=5, random_state=seed)
            svd.fit(matrix)
        components = np.ascontiguousarray(svd.components_.T, np.float32)
    _LOGGER.info("lsa teacher: fitted on %d items, %d terms, %d dimensions", documents, terms, components.shape[1])
    return LsaEncoder(vectorizers, components, with_categories=with_categories)


class ColumnEncoder:
    """The vectors that the catalogue brings."""

    def __init__(self, dimension: int):
        """Takes D, see ``column_encoder``."""
        self._dimension = dimension

    @property
    def dimension(self) -> int:
        """D."""
        return self._dimension

    def encode(self, items: Sequence[Item]) -> npt.NDArray[np.float32]:
        """Vectors float32 [n, D], zero for items without one."""
        vectors = np.zeros((len(items), self._dimension), np.float32)
        for row, item in enumerate(items):
            if item.embedding is not None:
                vectors[row] = item.embedding
        return normalised(vectors)


def column_encoder(items: Sequence[Item]) -> ColumnEncoder:
    """The encoder for ``teacher.kind=column``.

    Raises:
      UserError: no item brings a vector.
    """
    dimension = next((len(item.embedding) for item in items if item.embedding is not None), 0)
    if not dimension:
        raise UserError(
            "teacher.kind=column, but no item has a vector in the column that input.columns.embedding names; "
            "add the column or choose another teacher"
        )
    return ColumnEncoder(dimension)
