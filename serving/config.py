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
    """The ScaNN index."""

    kind: str = option(
        "auto",
        "`exact`: ScaNN's brute-force scorer; `tree`: partitions, quantised scoring and exact rescoring; "
        "`auto`: exact below 20,000 items, tree from there on; below 16 items always exact",
        choices=("auto", "exact", "tree"),
    )
    leaves: int | None = option(
        None, "partitions of the tree; by default the square root of the catalogue's size", minimum=1
    )
    leaves_to_search: int | None = option(
        None,
        "partitions searched; by default a fifth of them, at least 10, and more where index recall asks for it",
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
        maximum=200,
    )
    keep_versions: int | None = option(
        5,
        "pushed versions that stay, so that a rollback finds them; the oldest beyond are removed, never the highest; "
        "null keeps all",
        minimum=2,
    )


@dataclasses.dataclass(frozen=True)
class ServingConfig:
    """All that decides an exported SavedModel, given a trained model."""

    seed: int = 0
    retrieval: RetrievalConfig = dataclasses.field(default_factory=RetrievalConfig)
    index: IndexConfig = dataclasses.field(default_factory=IndexConfig)
    export: ExportConfig = dataclasses.field(default_factory=ExportConfig)
