"""In-graph features of an item: what turns raw strings into the encoder's inputs, in training and in serving alike.

Only TensorFlow ops are used, so that the graph travels into the SavedModel and an item that the model never saw can
be asked for by its title.
"""

from collections.abc import Sequence
from typing import Any, Final

from preprocessing.backend import tf

GRAM_BUCKETS: Final = 8192
"""Hash buckets of each kind of n-gram."""
GRAM_KINDS: Final = 2
"""Words, and letters within words."""
_LETTERS: Final = (3, 4)
_WORD_BREAK = r"(?:^|[^\p{L}\p{M}\p{N}])[^\p{L}\p{N}]*"
"""A word begins with a letter or a digit; marks, such as the vowels of Hindi, go on with it."""


def text_tokens(title: Any, description: Any, *, buckets: int, length: int) -> Any:
    """Hashed word unigrams and bigrams of title and description.

    Args:
      title: string [n].
      description: string [n].
      buckets: number of hash buckets.
      length: most tokens kept of an item.

    Returns:
      int32 [n, length], in [1, buckets]; 0 pads.
    """
    words = _words(title, description)
    grams = tf.concat([words, tf.strings.ngrams(words, 2)], axis=1)
    hashed = tf.ragged.map_flat_values(lambda gram: tf.strings.to_hash_bucket_fast(gram, buckets) + 1, grams)
    return tf.cast(hashed.to_tensor(0, shape=[None, length]), tf.int32)


def text_grams(title: Any, description: Any, *, words: int) -> Any:
    """Hashed words, and runs of three and of four letters within words, their ends included.

    Args:
      title: string [n].
      description: string [n].
      words: most words read of an item.

    Returns:
      Ragged int32 [n, (grams)]: words in [0, GRAM_BUCKETS), letters in [GRAM_BUCKETS, 2 GRAM_BUCKETS).
    """
    read = _words(title, description)[:, :words]
    letters = tf.strings.unicode_split(tf.strings.join([" ", read.flat_values, " "]), "UTF-8", errors="replace")
    runs = tf.strings.ngrams(letters, list(_LETTERS), separator="")
    runs = tf.RaggedTensor.from_row_splits(runs, read.row_splits).merge_dims(1, 2)
    hashed = [
        tf.ragged.map_flat_values(
            lambda gram, kind=kind: tf.strings.to_hash_bucket_fast(gram, GRAM_BUCKETS) + kind * GRAM_BUCKETS, grams
        )
        for kind, grams in enumerate((read, runs))
    ]
    return tf.cast(tf.concat(hashed, axis=1), tf.int32)


def _words(title: Any, description: Any) -> Any:
    """Lower-case words of both: ragged string [n, (words)]."""
    text = tf.strings.join([title, description], separator=" ")
    spaced = tf.strings.regex_replace(tf.strings.lower(text, encoding="utf-8"), _WORD_BREAK, " ")
    return tf.strings.split(tf.strings.strip(spaced))


def split_categories(categories: Any) -> Any:
    """Splits ``|``-separated categories: string [n] to a ragged string [n, (categories)], without empty ones."""
    parts = tf.strings.split(categories, "|")
    stripped = tf.ragged.map_flat_values(tf.strings.strip, parts)
    return tf.ragged.boolean_mask(stripped, tf.not_equal(stripped, ""))


class CategoryLookup(tf.Module):
    """Maps category names to ids: 0 pads, 1 stands for unknown, 2 and up for the vocabulary."""

    def __init__(self, vocabulary: Sequence[str], length: int) -> None:
        """Args are the category names in order of id, and the most categories kept of an item."""
        super().__init__(name="category_lookup")
        self._length = length
        keys = tf.constant(["", *vocabulary])
        ids = tf.constant([0, *range(2, 2 + len(vocabulary))], tf.int64)
        self._ids = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, ids), default_value=1)

    def __call__(self, categories: Any) -> Any:
        """Maps ragged string [n, (categories)] to int32 [n, length]."""
        return tf.cast(self._ids.lookup(categories.to_tensor("", shape=[None, self._length])), tf.int32)
