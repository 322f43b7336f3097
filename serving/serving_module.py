"""What a SavedModel is made of: retriever, encoder for items without an identity, names, and the signatures."""

from typing import Any

from preprocessing.backend import tf
from preprocessing.read import ItemTable
from preprocessing.transform import CategoryLookup, split_categories, text_grams, text_tokens
from serving.retriever import Retriever, same_rows
from serving.signatures import (
    DESCRIBE,
    EMBED,
    RETRIEVE,
    RETRIEVE_BY_CONTENT,
    RETRIEVE_FILTERED,
    SERVING_DEFAULT,
    SIGNATURES,
)
from trainer.artefact import ModelDescription
from trainer.catalogue import Catalogue
from trainer.encoder import ItemInputs
from trainer.model import MTMHModel


class ServingModule(tf.Module):
    """What is saved: the retriever, the encoder for items without an identity, and what items are called."""

    def __init__(
        self,
        retriever: Retriever,
        model: MTMHModel,
        catalogue: Catalogue,
        description: ModelDescription,
        items: ItemTable | None,
    ) -> None:
        """Args are the parts; ``items`` are named by the ``describe`` signature, None leaves it without names."""
        super().__init__(name="mtmh")
        self._retriever = retriever
        self._encode = _ContentEncoder(model, catalogue, description)
        self._encoder_variables = list(model.variables)
        self._lookup_tables = self._encode.trackables()
        names = items.titles if items is not None else []
        topics = ["|".join(categories) for categories in items.categories] if items is not None else []
        self._titles = tf.Variable([*names, ""], trainable=False, name="titles")
        self._topics = tf.Variable([*topics, ""], trainable=False, name="topics")
        self._names = len(names)

    def signatures(self) -> dict[str, Any]:
        """The concrete functions of `serving.signatures`, by name."""
        bodies = {
            SERVING_DEFAULT: self._retriever.retrieve_default,
            RETRIEVE: self._retriever.retrieve,
            RETRIEVE_FILTERED: self._retriever.retrieve_filtered,
            RETRIEVE_BY_CONTENT: self._retrieve_by_content,
            EMBED: self._retriever.embed,
            DESCRIBE: self._describe,
        }
        functions = {}
        for name, body in bodies.items():
            inputs = {
                tensor.name: tf.TensorSpec(tensor.shape, tf.dtypes.as_dtype(tensor.dtype), tensor.name)
                for tensor in SIGNATURES[name].inputs
            }
            functions[name] = tf.function(body, autograph=False).get_concrete_function(**inputs)
        return functions

    def _retrieve_by_content(
        self, title: Any, description: Any, categories: Any, content_vector: Any, relevance_weight: Any, k: Any
    ) -> dict[str, Any]:
        title = same_rows(
            title=title,
            description=description,
            categories=categories,
            content_vector=content_vector,
            relevance_weight=relevance_weight,
            k=k,
        )
        engagement, relevance, askable = self._encode(title, description, categories, content_vector)
        nothing = tf.fill([tf.shape(title)[0], 1], -1)
        return self._retriever.answer(engagement, relevance, relevance_weight, k, nothing, askable)

    def _describe(self, item_id: Any) -> dict[str, Any]:
        rows = self._retriever.rows_of(item_id)
        rows = tf.where((rows >= 0) & (rows < self._names), rows, self._names)
        return {"title": tf.gather(self._titles, rows), "categories": tf.gather(self._topics, rows)}


class _ContentEncoder:
    """Encodes items by what is said of them; no `tf.Module`: saving is to track variables, but no Keras calls."""

    def __init__(self, model: MTMHModel, catalogue: Catalogue, description: ModelDescription) -> None:
        self._model = model
        self._config = description.model
        self._num_items = catalogue.num_items
        self._content_dimension = description.content_dimension
        self._lookup = CategoryLookup(catalogue.vocabulary, catalogue.categories.shape[1])

    def trackables(self) -> list[Any]:
        """Tables that the graph needs and a SavedModel has to carry."""
        return [self._lookup]

    def __call__(self, title: Any, description: Any, categories: Any, content_vector: Any) -> tuple[Any, Any, Any]:
        """Engagement trigger and relevance vectors float32 [B, d], and whether anything was said of an item, [B]."""
        tokens = text_tokens(title, description, buckets=self._config.text_buckets, length=self._config.text_tokens)
        names = split_categories(categories)
        content = self._checked(content_vector)
        engagement, _, relevance = self._model.embed(
            ItemInputs(
                index=tf.fill(tf.shape(title), self._num_items),
                tokens=tokens,
                grams=text_grams(title, description, words=self._config.text_tokens),
                categories=self._lookup(names),
                content=content,
            )
        )
        askable = tf.reduce_any(tokens > 0, axis=1) | (names.row_lengths() > 0) | tf.reduce_any(content != 0.0, axis=1)
        return engagement, relevance, askable

    def _checked(self, content_vector: Any) -> Any:
        """The vectors, normalised; float32 [B, D].

        A row with a value that is not finite counts as absent. A width other than D is taken for "absent" too, and has
        to be all zero.
        """
        width = tf.shape(content_vector)[1]
        matches = tf.equal(width, self._content_dimension)
        absent = tf.reduce_all(tf.equal(content_vector, 0.0))
        tf.debugging.Assert(
            matches | absent,
            [
                f"content_vector must have {self._content_dimension} values a row, or be all zero where absent; it has",
                width,
            ],
        )
        zeros = tf.zeros([tf.shape(content_vector)[0], self._content_dimension])
        vectors = tf.cond(matches, lambda: content_vector, lambda: zeros)
        finite = tf.reduce_all(tf.math.is_finite(vectors), axis=1, keepdims=True)
        vectors = tf.where(finite, vectors, 0.0)
        # By the largest value first: squares of large and small values leave float32.
        vectors = tf.math.divide_no_nan(vectors, tf.reduce_max(tf.abs(vectors), axis=1, keepdims=True))
        return tf.math.l2_normalize(vectors, axis=1)
