"""How a model answers, frozen: its vectors and its items, apart from weights, catalogue and code.

A model that was blessed yesterday knows yesterday's items. Its snapshot answers today's triggers as the served version
does: of items that it knows, with items that it knows; a trigger that it doesn't know gets what was popular.
"""

import dataclasses
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from preprocessing.errors import UserError
from trainer.model import ItemVectors
from trainer.names import BLEND
from trainer.recommender import VectorRecommender

VECTORS: Final = "vectors.npz"
DESCRIPTION: Final = "snapshot.json"
_UNKNOWN: Final = -1
_K: Final = "evaluate.k"
_TIME: Final = "split.time"
_DECISIVE: Final = (
    "input.columns.session_id",
    "input.events",
    "input.min_value",
    "input.session_gap_seconds",
    "input.ties_in_log_order",
    "input.max_user_rows",
    "pairs.window",
    "pairs.max_seconds",
    "split.quantile",
    _TIME,
)
"""Options of the preprocessing that say which triggers and which targets there are after the split."""


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """A model and the catalogue that it answers from.

    Attributes:
      ids: N item ids.
      vectors: of the N items.
      interaction_count: int64 [N], what is popular.
      has_dial: whether there are two heads.
      relevance_weight: the exported dial.
      merge: how two heads answer, see `trainer.names.MERGES`.
      recall: recall@K of the engagement head on the data that it was judged by.
      measure: what that recall is, see `recall_measure`; None where that wasn't noted.
    """

    ids: Sequence[str]
    vectors: ItemVectors
    interaction_count: NDArray[np.int64]
    has_dial: bool
    relevance_weight: float
    merge: str = BLEND
    recall: float | None = None
    measure: Mapping[str, Any] | None = None

    def retrieve(
        self, ids: Sequence[str], trigger: NDArray[np.int64], *, k: int, weights: Sequence[float]
    ) -> NDArray[np.int32]:
        """What is retrieved for triggers of another catalogue, in its numbers.

        Args:
          ids: M item ids of that catalogue.
          trigger: [T], its rows.
          k: K, answers.
          weights: W settings of the dial.

        Returns:
          int32 [W, T, K], rows of that catalogue; -1 for an item that is not in it, and as padding.
        """
        row = {item_id: place for place, item_id in enumerate(ids)}
        theirs = np.array([row.get(item_id, _UNKNOWN) for item_id in self.ids], dtype=np.int32)
        ours = {item_id: place for place, item_id in enumerate(self.ids)}
        own = np.array([ours.get(ids[place], _UNKNOWN) for place in trigger], dtype=np.int64)
        popular = theirs[np.argsort(-self.interaction_count, kind="stable")[:k]]
        found = np.full((len(weights), len(trigger), k), _UNKNOWN, dtype=np.int32)
        found[:, :, : len(popular)] = popular
        known = own >= 0
        if known.any():
            recommender = VectorRecommender(self.vectors, self.has_dial, self.merge)
            lists = recommender.retrieve_along_dial(own[known], k=k, weights=weights)
            found[:, known] = np.where(lists >= 0, theirs[np.maximum(lists, 0)], _UNKNOWN)
        return found

    def save(self, directory: Path) -> None:
        """Writes two files below ``directory``."""
        with (directory / VECTORS).open("wb") as file:
            np.savez(
                file,
                ids=np.frombuffer("\n".join(self.ids).encode("utf-8"), np.uint8),
                interaction_count=self.interaction_count,
                **{field.name: getattr(self.vectors, field.name) for field in dataclasses.fields(ItemVectors)},
            )
        document = {
            name: getattr(self, name) for name in ("has_dial", "relevance_weight", "merge", "recall", "measure")
        }
        (directory / DESCRIPTION).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def recall_measure(k: int, preprocessing: Mapping[str, Any]) -> dict[str, Any]:
    """What a recall is: options by their full names. Two recalls of other options can't be compared.

    Args:
      k: K.
      preprocessing: the options that the examples were made with, as their manifest gives them.
    """
    found: dict[str, Any] = {_K: k}
    for name in _DECISIVE:
        value: Any = preprocessing
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        found[name] = value
    if found[_TIME] is not None:  # of a schedule it is another one every night, with a recall of the same kind
        found |= {"split.quantile": None, _TIME: "given"}
    return found


def load_snapshot(directory: Path) -> Snapshot:
    """Reads what `Snapshot.save` has written.

    Raises:
      UserError: it is missing or damaged.
    """
    try:
        document = json.loads((directory / DESCRIPTION).read_text(encoding="utf-8"))
        with np.load(directory / VECTORS, allow_pickle=False) as arrays:
            vectors = ItemVectors(**{field.name: arrays[field.name] for field in dataclasses.fields(ItemVectors)})
            return Snapshot(
                ids=arrays["ids"].tobytes().decode("utf-8").split("\n"),
                vectors=vectors,
                interaction_count=arrays["interaction_count"],
                **document,
            )
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(f"{directory} holds no usable snapshot of a blessed model ({error}); remove it") from error
