"""Side-by-side answers of the trained models to sampled triggers of head, torso, tail and cold, by exact retrieval."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from preprocessing.errors import UserError
from tfx_pipeline.config import RunConfig
from tfx_pipeline.workdir import Workdir
from trainer import slices
from trainer.names import MODELS, MTMH, ONE_HEAD, ONE_HEAD_IDS, ONE_HEAD_MULTI_TASK

if TYPE_CHECKING:
    from preprocessing.read import EvalTriggers, ItemTable
    from trainer.recommender import Recommender

TRIGGERS_A_SLICE: Final = 3
ANSWERS: Final = 6
_MOST_CATEGORIES: Final = 4
_LONGEST: Final = 160
"""Characters of a title or a category that are shown."""
_ONE_HEADS: Final = (ONE_HEAD, ONE_HEAD_IDS, ONE_HEAD_MULTI_TASK)


@dataclasses.dataclass(frozen=True)
class Shown:
    """An item as the page names it.

    Attributes:
      item_id: its id.
      title: its title, else its id.
      categories: some of its categories, each with whether the trigger has it too.
      more: how many further categories it has.
      followed: whether somebody engaged with it after the trigger, after the split.
      cold: whether it is unseen in training.
    """

    item_id: str
    title: str
    categories: tuple[tuple[str, bool], ...]
    more: int = 0
    followed: bool = False
    cold: bool = False


@dataclasses.dataclass(frozen=True)
class Asked:
    """A trigger, its interactions in training, and each column's answers, best first."""

    trigger: Shown
    interactions: int
    answers: tuple[tuple[Shown, ...], ...]


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """All that was asked.

    Attributes:
      columns: titles of the columns of answers.
      asked: by slice.
      notes: why a column is missing.
    """

    columns: tuple[str, ...]
    asked: dict[str, tuple[Asked, ...]]
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Column:
    title: str
    recommender: "Recommender"
    weight: float = 0.0


def sample_by_slice(interaction_count: NDArray[np.int64], seed: int) -> dict[str, NDArray[np.int64]]:
    """Some items of each slice, drawn evenly: at most `TRIGGERS_A_SLICE` indexes each, the most engaged first."""
    place = slices.item_slices(interaction_count)
    rng = np.random.default_rng([seed, 0x72657074])
    found = {}
    for number, name in enumerate(slices.SLICES):
        members = np.flatnonzero(place == number)
        drawn = np.sort(rng.choice(members, min(TRIGGERS_A_SLICE, len(members)), replace=False))
        found[name] = drawn[np.argsort(-interaction_count[drawn], kind="stable")]
    return found


def collect_neighbours(workdir: Workdir, config: RunConfig, items: "ItemTable", triggers: "EvalTriggers") -> Neighbours:
    """Asks every model that is there; what is not there is a note that says how to get it."""
    columns, notes = _columns(workdir, config, items)
    sampled = sample_by_slice(items.interaction_count, config.seed)
    rows = np.concatenate(list(sampled.values()))
    found = [
        column.recommender.retrieve(rows, k=ANSWERS, relevance_weight=column.weight) if len(rows) else rows[:, None]
        for column in columns
    ]
    asked: dict[str, tuple[Asked, ...]] = {}
    start = 0
    for name, members in sampled.items():
        asked[name] = tuple(
            _asked(items, triggers, int(row), [lists[start + place] for lists in found])
            for place, row in enumerate(members)
        )
        start += len(members)
    return Neighbours(tuple(column.title for column in columns), asked, tuple(notes))


def _columns(workdir: Workdir, config: RunConfig, items: "ItemTable") -> tuple[list[_Column], list[str]]:
    from serving.export import default_weight
    from trainer.artefact import load_description
    from trainer.dot_products import DotProductRecommender
    from trainer.trained import load_recommender

    columns, notes = [], []
    one_head = next((name for name in _ONE_HEADS if workdir.model(name).exists()), None)
    if one_head is None:
        notes.append(f"no column of one head: it is not trained here; run `mtmh compare --models {ONE_HEAD},{MTMH}`")
    else:
        try:
            recommender = load_recommender(one_head, workdir.model, items)
            columns.append(_Column(f"{MODELS[one_head].label}, dial 0", recommender))
        except UserError as error:
            notes.append(f"no column of one head: {error}: run `mtmh compare --models {one_head},{MTMH}`")
    try:
        recommender = load_recommender(MTMH, workdir.model, items, config.retrieval.merge)
        default = default_weight(load_description(workdir.model(MTMH)), config.serving)
        for weight in sorted({0.0, default, 1.0}):
            title = f"MTMH, dial {weight:.3g}" + (" (default)" if weight == default else "")
            columns.append(_Column(title, recommender, weight))
    except UserError as error:
        notes.append(f"no columns of MTMH: {error}")
    content, popularity = items.content_vectors, items.interaction_count.astype(np.float64)
    columns.append(
        _Column("content only", DotProductRecommender(content, content, content.any(axis=1), popularity, fill=False))
    )
    return columns, notes


def _asked(items: "ItemTable", triggers: "EvalTriggers", row: int, lists: Sequence[NDArray[np.int32]]) -> Asked:
    occasions = np.flatnonzero(triggers.trigger == row)
    followed = {
        int(target)
        for occasion in occasions
        for target in triggers.target[triggers.row_splits[occasion] : triggers.row_splits[occasion + 1]]
    }
    topics = set(items.categories[row])
    answers = tuple(
        tuple(_shown(items, int(item), topics, int(item) in followed) for item in found if item >= 0) for found in lists
    )
    return Asked(_shown(items, row, set(), False), int(items.interaction_count[row]), answers)


def _shown(items: "ItemTable", row: int, topics: set[str], followed: bool) -> Shown:
    # Shared categories first: they are what one looks for.
    ordered = sorted(items.categories[row], key=lambda name: name not in topics)
    return Shown(
        item_id=items.ids[row],
        title=_cut(items.titles[row].strip() or items.ids[row]),
        categories=tuple((_cut(name), name in topics) for name in ordered[:_MOST_CATEGORIES]),
        more=max(0, len(ordered) - _MOST_CATEGORIES),
        followed=followed,
        cold=bool(items.interaction_count[row] == 0),
    )


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
