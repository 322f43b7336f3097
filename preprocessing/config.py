"""Options of the preprocessing."""

import dataclasses

from preprocessing.options import option, section


@dataclasses.dataclass(frozen=True)
class Columns:
    """Names of the columns in the user's tables."""

    user_id: str = option("user_id", "interactions: who")
    item_id: str = option("item_id", "interactions, and items and annotations unless named apart: what")
    timestamp: str = option("timestamp", "interactions: when; unix seconds or ISO 8601")
    event: str = option("event", "interactions, optional: kind of engagement")
    value: str = option("value", "interactions, optional: a number such as a rating or a quantity")
    session_id: str = option("session_id", "interactions, optional: a visit; pairs never cross it")
    title: str = option("title", "items, optional")
    description: str = option("description", "items, optional")
    categories: str = option("categories", "items, optional: `|`-separated text, or a list")
    embedding: str = option("embedding", "items, optional: a list of floats, for `teacher.kind=column`")
    trigger_id: str = option("trigger_id", "annotations: the item that `item_id` is graded for")
    grade: str = option("grade", "annotations: how much `item_id` is about the same thing, from 0 to 1")
    catalogue_item_id: str | None = option(None, "items: what; by default the column that `item_id` names")
    annotation_item_id: str | None = option(None, "annotations: what; by default the column that `item_id` names")


@dataclasses.dataclass(frozen=True)
class InputConfig:
    """What is read, and which rows count as engagements."""

    columns: Columns = section(Columns, "names of the columns")
    format: str = option(
        "auto", "format of all tables; `auto` goes by the file name", choices=("auto", "csv", "jsonl", "parquet")
    )
    delimiter: str = option(
        "auto", "CSV field separator of all tables; `auto` finds each file's by its header, among `,` `;` tab and `|`"
    )
    events: tuple[str, ...] = option((), "keep only rows with these values of `event`; empty keeps all")
    min_value: float | None = option(None, "keep only rows whose `value` is at least this")
    session_gap_seconds: float | None = option(
        None,
        "a pause longer than this starts a new session; without it, and without a session column, "
        "a user's history is one sequence",
        above=0,
    )
    ties_in_log_order: bool = option(
        False, "rows of a user with the same timestamp follow each other as in the log; else mixed by a hash"
    )
    max_user_rows: int = option(
        1000, "latest rows kept of one user on each side of the split; caps robots and wholesalers", minimum=2
    )
    spans: int | None = option(
        None,
        "a rolling window: of interactions in `{SPAN}`s, or in days `{YYYY}-{MM}-{DD}`, the last so many are read; by "
        "default all",
        minimum=1,
    )
    span_gaps: bool = option(False, "a span may be missing between others")
    max_bad_share: float = option(
        0.05, "the run fails when a larger share of the rows of a table is bad", minimum=0, maximum=1
    )
    max_field_bytes: int = option(65536, "longest text field accepted; ids are bounded at 512 bytes", minimum=1)


@dataclasses.dataclass(frozen=True)
class PairsConfig:
    """How co-engagement pairs are mined."""

    window: int = option(
        5, "W: a trigger's targets in validation and evaluation are the next W items", minimum=1, maximum=1000
    )
    train_window: int = option(
        20,
        "a trigger's targets in training are the next so many items: what is judged by the next few is learnt better "
        "from more; at least `window` counts",
        minimum=1,
        maximum=1000,
    )
    max_seconds: float | None = option(None, "T: and come no later than this after the trigger", minimum=0)
    distance_decay: float = option(0.9, "weight of a pair d steps apart is this to the power d - 1", above=0, maximum=1)
    half_life_days: float | None = option(
        None, "a pair whose trigger came this long before the split weighs half; null: age doesn't matter", above=0
    )


@dataclasses.dataclass(frozen=True)
class SplitConfig:
    """The global time split, and the validation slice that the training period keeps for its own choices."""

    quantile: float = option(0.9, "share of the rows that come before the split", above=0, maximum=1)
    time: str | None = option(None, "the split itself, unix seconds or ISO 8601; overrides `quantile`")
    validation_quantile: float = option(
        0.9, "share of the rows before the split that come before their validation slice", above=0, maximum=1
    )
    validation_users: float = option(
        1.0,
        "share of the users whose rows in the validation slice are held out of the training pairs: epochs, the dial "
        "and the baselines' parameters are chosen on them, and the final model then learns from them too",
        minimum=0,
        maximum=1,
    )


@dataclasses.dataclass(frozen=True)
class AnnotationsConfig:
    """How graded annotations are used."""

    held_out: float = option(
        0.2,
        "share of the triggers, picked by a seeded hash, whose annotations are never trained on but scored by NDCG",
        minimum=0,
        maximum=1,
    )


@dataclasses.dataclass(frozen=True)
class TeacherConfig:
    """The semantic encoder that the relevance head learns from."""

    kind: str = option(
        "lsa",
        "`lsa`: TF-IDF and truncated SVD of the catalogue's text; `onnx`: a sentence encoder; "
        "`column`: vectors that the catalogue brings",
        choices=("lsa", "onnx", "column"),
    )
    path: str | None = option(None, "for `onnx`: a directory with `model.onnx` and `tokenizer.json`")
    dimension: int = option(128, "for `lsa`: dimensions kept, less on small catalogues", minimum=1)
    max_tokens: int = option(128, "for `onnx`: texts are truncated at this many tokens", minimum=3)


@dataclasses.dataclass(frozen=True)
class FeaturesConfig:
    """What the item encoder sees."""

    ids: bool = option(True, "an embedding of each item's identity")
    text: bool = option(True, "hashed word n-grams of title and description")
    categories: bool = option(True, "category embeddings; the `lsa` and `onnx` teachers read categories only if on")
    content_vector: bool = option(True, "the teacher's vector as an input")


@dataclasses.dataclass(frozen=True)
class OutputConfig:
    """How TFRecords are written."""

    shards: int | None = option(
        None,
        "partitions of the users and of the catalogue; by default one for each 32 MiB of input",
        minimum=1,
        maximum=10_000,
    )


@dataclasses.dataclass(frozen=True)
class PreprocessingConfig:
    """All that decides the bytes of the preprocessing's output."""

    seed: int = 0
    input: InputConfig = dataclasses.field(default_factory=InputConfig)
    pairs: PairsConfig = dataclasses.field(default_factory=PairsConfig)
    split: SplitConfig = dataclasses.field(default_factory=SplitConfig)
    annotations: AnnotationsConfig = dataclasses.field(default_factory=AnnotationsConfig)
    teacher: TeacherConfig = dataclasses.field(default_factory=TeacherConfig)
    features: FeaturesConfig = dataclasses.field(default_factory=FeaturesConfig)
    output: OutputConfig = dataclasses.field(default_factory=OutputConfig)


@dataclasses.dataclass(frozen=True)
class DataGateConfig:
    """What preprocessed data have to be like before anything is trained on them."""

    schema_items: str | None = option(
        None, "a curated schema of the items, a Schema message as text; by default the package's own"
    )
    schema_pairs: str | None = option(None, "likewise of the pairs")
    max_dead_share: float = option(
        0.05, "largest share of a table's rows that may be dead letters", minimum=0, maximum=1
    )
    least_rows: float = option(
        0.5, "interactions that are used, as a share of the last blessed data's: fewer are refused", minimum=0
    )
    most_rows: float = option(3.0, "likewise: more are refused", minimum=1)
    future_days: float = option(
        2.0, "days that the split may lie ahead of this machine's clock: more says that times are wrong", minimum=0
    )
