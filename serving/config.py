"""Options of the export: retrieval defaults, index and SavedModel."""

import dataclasses

from preprocessing.options import option
from trainer.names import BLEND, MERGES


@dataclasses.dataclass(frozen=True)
class RetrievalConfig:
    """Exported defaults and bounds of retrieval."""

    k: int = option(50, "answers when a request names no k", minimum=1)
    relevance_weight: float | None = option(
        None, "w, the dial when a request names none; by default the exporter's rule sets it", minimum=0, maximum=1
    )
    recall_kept: float = option(
        0.9,
        "the rule for that dial: the largest w that keeps this share of the recall at the best w",
        minimum=0,
        maximum=1,
    )
    merge: str = option(
        BLEND,
        "how both heads answer at w: `blend`, the items of largest (1 - w) engagement + w relevance; `quota`, of k "
        "answers round(w k) are the relevance head's best and the others the engagement head's",
        choices=MERGES,
    )
    max_k: int = option(1000, "most answers to one request", minimum=1)
    trigger_decay: float = option(
        0.9, "weight of the n-th of several triggers is this to the power n - 1", above=0, maximum=1
    )


@dataclasses.dataclass(frozen=True)
class IndexConfig:
    """The index, of either flavour."""

    kind: str = option(
        "auto",
        "`exact`: all items are scored; `tree`: partitions, in ScaNN's with quantised scoring and exact rescoring; "
        "`auto`: exact below 20,000 items, tree from there on; below 16 items always exact",
        choices=("auto", "exact", "tree"),
    )
    leaves: int | None = option(
        None, "partitions of the tree; by default the square root of the catalogue's size", minimum=1
    )
    leaves_to_search: int | None = option(
        None,
        "partitions searched; by default a fifth of them (of the stock flavour a twentieth), at least 10, and more "
        "where index recall asks for it",
        minimum=1,
    )
    reorder: int | None = option(
        None,
        "candidates of each head rescored exactly, more for a large k; by default 600, and more where index recall "
        "asks for it",
        minimum=1,
    )
    min_recall: float = option(
        0.95, "floor of index recall@50, the least over the dial; an export below it is refused", minimum=0, maximum=1
    )


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """What the SavedModel carries."""

    titles: bool = option(True, "carry titles and categories for the `describe` signature")
    warmup_requests: int = option(
        16,
        "triggers of which one request to each signature is recorded, for the server to replay before a version is "
        "available",
        minimum=0,
        maximum=160,
    )
    stock: bool = option(
        False,
        "publish a second version too, as `NAME-stock`, that an unmodified TF Serving loads: the same signatures "
        "without ScaNN's ops",
    )


@dataclasses.dataclass(frozen=True)
class ServingConfig:
    """All that decides an exported SavedModel, given a trained model."""

    seed: int = 0
    retrieval: RetrievalConfig = dataclasses.field(default_factory=RetrievalConfig)
    index: IndexConfig = dataclasses.field(default_factory=IndexConfig)
    export: ExportConfig = dataclasses.field(default_factory=ExportConfig)


@dataclasses.dataclass(frozen=True)
class ValidatorConfig:
    """What a candidate has to show in a server before it is pushed."""

    requests: int = option(200, "known triggers that are replayed at dial 0, 1 and the exported one", minimum=1)
    max_load_seconds: float = option(
        300.0,
        "from the start of the server to its first answer, its own start included; then it counts as hung",
        above=0,
    )
    max_p99_ms: float = option(250.0, "99th percentile of the latency of one request after another", above=0)
    max_memory_mb: float = option(16384.0, "most memory that the server has held", above=0)
    max_popular_share: float = option(
        0.01, "share of the known triggers that may be answered with what is popular", minimum=0, maximum=1
    )
    embedding_tolerance: float = option(
        1e-5, "largest difference of an embedding from the trainer's, train/serve agreement", minimum=0
    )
    request_seconds: float = option(10.0, "a request without an answer for so long counts as hung", above=0)
    tf_serving_image: str = option(
        "", "a TF Serving image that TFX's InfraValidator loads the candidate in too, by Docker or on Kubernetes"
    )


@dataclasses.dataclass(frozen=True)
class PushConfig:
    """What becomes of versions."""

    keep_versions: int | None = option(
        5,
        "versions that stay, so that a rollback finds them; those before are removed, not the highest; null keeps all",
        minimum=2,
    )
    protect_versions: tuple[int, ...] = option(
        (),
        "versions, of either flavour, that stay whatever their age: those that a server is told to hold by number",
        minimum=1,
    )


@dataclasses.dataclass(frozen=True)
class RefreshConfig:
    """What a new catalogue has to be like to be served by the weights that there are."""

    min_kept: float = option(
        0.5,
        "share of the items engaged with in training that the catalogue still has to have: less is taken for a mistake",
        minimum=0,
        maximum=1,
    )
    max_new: float = option(
        0.5, "largest share of its items that the model never saw: beyond it, train again", minimum=0, maximum=1
    )
