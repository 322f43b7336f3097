"""Layout of everything that the preprocessing writes; the one place that knows names and types of features.

Below the output directory::

    items/items-00000-of-00004.tfrecord.gz               one tf.Example an item, ordered by item index
    pairs/pairs-00000-of-00004.tfrecord.gz               co-engagement pairs of the training period, a block an Example
    validation/triggers-00000-of-00004.tfrecord.gz       triggers held out of the training period, with their targets
    eval/triggers-00000-of-00004.tfrecord.gz             triggers of the evaluation period, with their targets
    annotations/annotations-00000-of-00004.tfrecord.gz   graded pairs of items; no file where none were given
    dead_letters/*.jsonl                                 rows that could not be used, with the reason
    manifest.json                                        counts, split, hashes (`Manifest`)

An item's *index* is its row in the catalogue sorted by ``item_id`` (bytewise UTF-8), from 0. All other files name
items by index: they are columns of numbers in blocks, so that neither side handles one object a pair. A user has a
number, from 0, within its shard, the same in the shard's pairs, validation and eval files.
"""

import dataclasses
from typing import Any, Final

ITEMS: Final = "items"
PAIRS: Final = "pairs"
VALIDATION: Final = "validation"
EVAL: Final = "eval"
PERIODS: Final = (PAIRS, VALIDATION, EVAL)
"""What is learnt from, in the order of time."""
ANNOTATIONS: Final = "annotations"
DEAD_LETTERS: Final = "dead_letters"
MANIFEST: Final = "manifest.json"

FILE_STEMS: Final = {
    ITEMS: "items",
    PAIRS: "pairs",
    VALIDATION: "triggers",
    EVAL: "triggers",
    ANNOTATIONS: "annotations",
}
COMPRESSION: Final = "GZIP"
BLOCK_PAIRS: Final = 8192
"""Upper bound of the pairs, of the triggers, or of the annotations in one block."""


@dataclasses.dataclass(frozen=True)
class Feature:
    """A feature of a tf.Example: its name, kind (``bytes``, ``int64``, ``float``) and number of values.

    ``length`` is 1 for a scalar and ``None`` for a list of any length.
    """

    name: str
    kind: str
    length: int | None


ITEM_INDEX: Final = Feature("item_index", "int64", 1)
ITEM_ID: Final = Feature("item_id", "bytes", 1)
TITLE: Final = Feature("title", "bytes", 1)
DESCRIPTION: Final = Feature("description", "bytes", 1)
CATEGORIES: Final = Feature("categories", "bytes", None)
CONTENT_VECTOR: Final = Feature("content_vector", "float", None)
"""The teacher's L2-normalised vector, float [D]; all zero where the teacher has nothing to say of the item."""
INTERACTION_COUNT: Final = Feature("interaction_count", "int64", 1)
"""Rows of the training period that name the item, those held out for validation among them."""
TARGET_COUNT: Final = Feature("target_count", "int64", 1)
"""Training pairs whose target is the item: what in-batch sampling draws it by (logQ)."""
RECENT_COUNT: Final = Feature("recent_count", "int64", len(PERIODS))
"""Rows that name the item in the last tenth of those before the validation slice, before the split, and of the log:
of the period that ends with each of `PERIODS`."""

ITEM_FEATURES: Final = (
    ITEM_INDEX,
    ITEM_ID,
    TITLE,
    DESCRIPTION,
    CATEGORIES,
    CONTENT_VECTOR,
    INTERACTION_COUNT,
    TARGET_COUNT,
    RECENT_COUNT,
)

TRIGGER: Final = Feature("trigger", "int64", None)
USER: Final = Feature("user", "int64", None)
"""Number, within the shard, of the user whose event the trigger is."""
TARGET: Final = Feature("target", "int64", None)
WEIGHT: Final = Feature("weight", "float", None)

TARGETS_OF_TRIGGER: Final = Feature("targets_of_trigger", "int64", None)

PAIR_FEATURES: Final = (TRIGGER, USER, TARGETS_OF_TRIGGER, TARGET, WEIGHT)
"""A block of m trigger events: ``trigger``, ``user`` and ``targets_of_trigger`` [m] (at least 1 each), and of all
their pairs one after another ``target`` and ``weight`` [sum of ``targets_of_trigger``]."""

EVAL_FEATURES: Final = (TRIGGER, USER, TARGETS_OF_TRIGGER, TARGET)
"""A block of m triggers, of validation or evaluation: ``trigger``, ``user`` and ``targets_of_trigger`` [m], ``target``
[sum of ``targets_of_trigger``]."""

ITEM: Final = Feature("item", "int64", None)
GRADE: Final = Feature("grade", "float", None)
"""Mean grade, 0 to 1, that the annotations give the item for the trigger."""
HELD_OUT: Final = Feature("held_out", "int64", None)
"""1 for all annotations of a trigger that is kept from training, to be scored by NDCG; else 0."""

ANNOTATION_FEATURES: Final = (TRIGGER, ITEM, GRADE, HELD_OUT)
"""A block of m annotated pairs, each column [m]; ordered by (trigger, item) over all blocks and files."""


@dataclasses.dataclass(frozen=True)
class TableCounts:
    """What became of the rows of one input table: ``rows_in = rows_used + dead letters + dropped``.

    Of annotations every good row is used: several for one pair make its mean grade.

    Attributes:
      rows_in: rows read.
      rows_used: rows that shape the output.
      dead_letters: rows that could not be used, by reason.
      dropped: good rows left out, by the name of the rule.
      bad_files: files that could not be read whole, by reason; their readable rows are counted above.
    """

    rows_in: int
    rows_used: int
    dead_letters: dict[str, int]
    dropped: dict[str, int]
    bad_files: dict[str, int]


@dataclasses.dataclass(frozen=True)
class OutputFile:
    """One file of the output: path relative to the output directory, size, SHA-256, records in it."""

    path: str
    bytes: int
    sha256: str
    records: int


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Summary of one preprocessing; equal input, configuration and seed give an equal manifest, byte for byte.

    Attributes:
      layout_version: version of this layout.
      interactions, items, annotations: accounts of the input tables; of annotations all zero where none were given.
      num_items, num_pairs, num_users: sizes of the output.
      num_annotations: annotated (trigger, item) pairs.
      num_validation_triggers, num_triggers: triggers of validation and of evaluation.
      content_dimension: D, length of ``content_vector``.
      validation_time: unix seconds; from it to ``split_time`` the rows of validation users are held out.
      split_time: unix seconds; rows before it train, rows from it on evaluate.
      files: the output files, ordered by path.
      config: the configuration that made it, as plain values.
    """

    layout_version: int
    interactions: TableCounts
    items: TableCounts
    annotations: TableCounts
    num_items: int
    num_pairs: int
    num_validation_triggers: int
    num_triggers: int
    num_users: int
    num_annotations: int
    content_dimension: int
    validation_time: float
    split_time: float
    files: tuple[OutputFile, ...]
    config: dict[str, Any]


LAYOUT_VERSION: Final = 4
