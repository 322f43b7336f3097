"""Item embeddings for TensorBoard's projector: tables of vectors and of what is known of the items."""

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from preprocessing.read import ItemTable
from trainer import slices
from trainer.model import ItemVectors

MOST_ITEMS: Final = 20_000
"""Points that a browser still turns around."""
_MOST_ENGAGED: Final = 0.5
"""Share of the points that goes to the most engaged items where not all items fit; a sample stands for the others."""

CONFIG: Final = "projector_config.pbtxt"
METADATA: Final = "items.tsv"
_VECTORS: Final = "{head}.tsv"


def write_projector(run: Path, items: ItemTable, vectors: ItemVectors, heads: list[str], seed: int) -> None:
    """Writes the projector's files into a run's directory, the one that names the others last.

    Args:
      run: directory of a TensorBoard run.
      items: of the catalogue, N.
      vectors: of the N items.
      heads: of the model: "engagement", shown by its candidate vectors, and "relevance".
      seed: of the sample of items.
    """
    chosen = projected_items(items.interaction_count, seed)
    run.mkdir(parents=True, exist_ok=True)
    _write_metadata(run / METADATA, items, chosen)
    lines = []
    of_head = {"engagement": vectors.engagement_candidate, "relevance": vectors.relevance}
    for head in heads:
        path = _VECTORS.format(head=head)
        np.savetxt(run / path, of_head[head][chosen], fmt="%.5g", delimiter="\t")
        lines.append(
            f'embeddings {{\n  tensor_name: "{head} head"\n  tensor_path: "{path}"\n  metadata_path: "{METADATA}"\n}}\n'
        )
    (run / CONFIG).write_text("".join(lines), encoding="utf-8")


def projected_items(interaction_count: NDArray[np.int64], seed: int, most: int = MOST_ITEMS) -> NDArray[np.int64]:
    """Which items are shown, ascending: all, or of more than ``most`` the most engaged and a sample of the others.

    >>> projected_items(np.array([0, 7, 1, 9, 0, 0]), seed=0, most=4)[:2].tolist()
    [1, 3]
    """
    number = len(interaction_count)
    if number <= most:
        return np.arange(number)
    order = np.argsort(-interaction_count, kind="stable")
    engaged = int(most * _MOST_ENGAGED)
    sample = np.random.default_rng(seed).choice(order[engaged:], most - engaged, replace=False)
    return np.sort(np.concatenate([order[:engaged], sample]))


def _write_metadata(path: Path, items: ItemTable, chosen: NDArray[np.int64]) -> None:
    part = slices.item_slices(items.interaction_count)
    rows = [("id", "title", "categories", "slice", "interactions")]
    rows += [
        (
            _clean(items.ids[row]),
            _clean(items.titles[row]),
            _clean("|".join(items.categories[row])),
            slices.SLICES[part[row]],
            str(items.interaction_count[row]),
        )
        for row in chosen
    ]
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8", errors="replace", newline="\n")


def _clean(text: str) -> str:
    """One line without tabs: those part the table's cells and rows."""
    return " ".join(text.split())
