"""What Transform makes of the items: the same in-graph features that the trainer computes and the SavedModel carries.

There is one definition of an item's features, `preprocessing.transform`. Transform runs it on Beam over the items,
finds the vocabulary of categories by a pass over them, and writes both as a graph. The trainer checks its own catalogue
against that graph before it trains: what was validated is what is learnt from.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np

from preprocessing.backend import tf
from preprocessing.errors import UserError
from preprocessing.schema import CATEGORIES, DESCRIPTION, TITLE
from preprocessing.transform import text_grams, text_tokens
from trainer.catalogue import MAX_CATEGORIES, MAX_VOCABULARY, build_catalogue
from trainer.config import ModelConfig

VOCABULARY: Final = "category_vocabulary"
TOKENS: Final = "tokens"
GRAMS: Final = "grams"
CATEGORY_IDS: Final = "category_ids"
BUCKETS: Final = "text_buckets"
LENGTH: Final = "text_tokens"
"""Keys of the custom configuration."""
_CHECKED: Final = 256


def preprocessing_fn(inputs: dict[str, Any], custom_config: dict[str, Any]) -> dict[str, Any]:
    """Features of a batch of items, as `tensorflow_transform` calls it.

    Args:
      inputs: dense title and description, string [n]; ragged categories, string [n, (categories)].
      custom_config: the sizes of `trainer.config.ModelConfig` that features depend on.

    Returns:
      ``tokens`` int32 [n, T]; ``grams`` ragged int32; ``category_ids`` int32 [n, C].
    """
    import tensorflow_transform as tft

    title, description, categories = inputs[TITLE.name], inputs[DESCRIPTION.name], inputs[CATEGORIES.name]
    length = custom_config[LENGTH]
    names = tft.vocabulary(categories, top_k=MAX_VOCABULARY, vocab_filename=VOCABULARY)
    # 0 pads, 1 is unknown, as in `preprocessing.transform.CategoryLookup`.
    ids = tft.apply_vocabulary(categories, names, default_value=-1)
    padded = (ids + 2).to_tensor(0, shape=[None, MAX_CATEGORIES])
    return {
        TOKENS: tf.cast(text_tokens(title, description, buckets=custom_config[BUCKETS], length=length), tf.int64),
        GRAMS: tf.cast(text_grams(title, description, words=length), tf.int64),
        CATEGORY_IDS: padded,
    }


def check_transform(graph: Path, examples: Path, model: ModelConfig) -> None:
    """Checks that the trainer's catalogue has the features that Transform's graph says.

    Args:
      graph: Transform's output.
      examples: the preprocessing's output.
      model: sizes of the features.

    Raises:
      UserError: a vocabulary or a feature differs.
    """
    import tensorflow_transform as tft

    from preprocessing.read import read_items

    output = tft.TFTransformOutput(str(graph))
    items = read_items(str(examples))
    catalogue = build_catalogue(items, buckets=model.text_buckets, tokens=model.text_tokens)
    # Without any category Transform's vocabulary holds a placeholder, and it never holds a name with a line break.
    has_names = bool(catalogue.vocabulary) and not any({"\n", "\r"} & set(name) for name in catalogue.vocabulary)
    vocabulary = tuple(name.decode("utf-8") for name in output.vocabulary_by_name(VOCABULARY))
    if has_names and vocabulary != catalogue.vocabulary:
        raise _differs("the vocabulary of categories")
    few = slice(0, _CHECKED)
    found = output.transform_features_layer()(
        {
            TITLE.name: tf.constant(items.titles[few]),
            DESCRIPTION.name: tf.constant(items.descriptions[few]),
            CATEGORIES.name: tf.ragged.constant([list(names) for names in items.categories[few]], tf.string, 1),
        }
    )
    width = catalogue.categories.shape[1]
    if not np.array_equal(found[TOKENS].numpy(), catalogue.tokens[few]):
        raise _differs("the tokens of titles and descriptions")
    if has_names and not np.array_equal(found[CATEGORY_IDS].numpy()[:, :width], catalogue.categories[few]):
        raise _differs("the ids of categories")


def _differs(what: str) -> UserError:
    return UserError(f"Transform and the trainer disagree on {what}; run the pipeline again from the examples")
