"""A sample of the training pairs, a tf.Example each: what statistics and their checks look at.

The pairs themselves are blocks of columns (see `preprocessing.schema`) that name items by index; tools that read one
tf.Example a row make nothing of them. Users are spread over the files by a hash, so the first pairs are as good a
sample as any.
"""

import os
from collections.abc import Iterator
from itertools import islice
from typing import Final

import numpy as np

from preprocessing.read import ItemTable, PairBlock, read_items, read_pairs
from preprocessing.records import write_records
from preprocessing.schema import Feature, OutputFile
from preprocessing.wire import encode_example

SAMPLE: Final = 20_000
"""Most pairs of the view."""

TRIGGER_ID: Final = Feature("trigger_id", "bytes", 1)
TARGET_ID: Final = Feature("target_id", "bytes", 1)
PAIR_WEIGHT: Final = Feature("weight", "float", 1)
CONTENT_COSINE: Final = Feature("content_cosine", "float", 1)
"""Of the teacher's vectors of both items; 0 where it does not know one of them."""
SHARED_CATEGORIES: Final = Feature("shared_categories", "int64", 1)

FEATURES: Final = (TRIGGER_ID, TARGET_ID, PAIR_WEIGHT, CONTENT_COSINE, SHARED_CATEGORIES)


def write_pairs_view(examples: str, output: str, limit: int = SAMPLE) -> OutputFile:
    """Writes the view of an output of the preprocessing as one TFRecord file below ``output``.

    Raises:
      UserError: the examples are missing or damaged.
    """
    os.makedirs(output, exist_ok=True)
    items = read_items(examples)
    rows = (row for block in read_pairs(examples) for row in _rows(items, block))
    return write_records(output, "pairs-00000-of-00001.tfrecord.gz", islice(rows, limit))


def _rows(items: ItemTable, block: PairBlock) -> Iterator[bytes]:
    trigger = np.repeat(block.trigger, block.targets_of_trigger)
    cosine = np.einsum("pd,pd->p", items.content_vectors[trigger], items.content_vectors[block.target])
    for left, right, weight, similarity in zip(
        trigger.tolist(), block.target.tolist(), block.weight.tolist(), cosine.tolist(), strict=True
    ):
        shared = len(set(items.categories[left]) & set(items.categories[right]))
        yield encode_example(
            [
                (TRIGGER_ID, [items.ids[left].encode()]),
                (TARGET_ID, [items.ids[right].encode()]),
                (PAIR_WEIGHT, [weight]),
                (CONTENT_COSINE, [similarity]),
                (SHARED_CATEGORIES, [shared]),
            ]
        )
