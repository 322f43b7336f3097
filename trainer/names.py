"""Names of the models that are compared and of the ways to retrieve, and what people call them."""

import dataclasses
import difflib
from collections.abc import Iterable
from typing import Final

from preprocessing.errors import UserError

BLEND: Final = "blend"
QUOTA: Final = "quota"
MERGES: Final = (BLEND, QUOTA)
"""How two heads answer at a weight: by one score that blends theirs, or with a share of the answers each."""

COUNTED: Final = "counted"
TRAINED: Final = "trained"

MTMH: Final = "mtmh"
MTMH_QUOTA: Final = "mtmh_quota"
CONTENT: Final = "content"
ONE_HEAD: Final = "one_head"
ONE_HEAD_IDS: Final = "one_head_ids"
ONE_HEAD_MULTI_TASK: Final = "one_head_multi_task"
TWO_MODELS: Final = "two_models"


@dataclasses.dataclass(frozen=True)
class ModelName:
    """A model by name.

    Attributes:
      name: in ``model.name``, ``--models``, files and TensorBoard.
      label: for people.
      kind: `COUNTED`, from the examples' pairs, or `TRAINED`.
      has_dial: whether ``relevance_weight`` moves its answers.
      co_engagement: whether it is a baseline that knows co-engagement alone.
    """

    name: str
    label: str
    kind: str
    has_dial: bool = False
    co_engagement: bool = False


MODELS: Final = {
    model.name: model
    for model in (
        ModelName("popularity", "popularity", COUNTED),
        ModelName("cooccurrence", "co-occurrence", COUNTED, co_engagement=True),
        ModelName("cooccurrence_damped", "co-occurrence, damped", COUNTED, co_engagement=True),
        ModelName("itemknn", "ItemKNN", COUNTED, co_engagement=True),
        ModelName("swing", "Swing", COUNTED, co_engagement=True),
        ModelName("item2vec", "item2vec", COUNTED, co_engagement=True),
        ModelName(CONTENT, "content only", COUNTED),
        ModelName(ONE_HEAD_IDS, "one head, ids", TRAINED, co_engagement=True),
        ModelName(ONE_HEAD, "one head, ids + content", TRAINED, co_engagement=True),
        ModelName(ONE_HEAD_MULTI_TASK, "one head, multi-task", TRAINED),
        ModelName(TWO_MODELS, "two models", TRAINED, has_dial=True),
        ModelName(MTMH, "MTMH", TRAINED, has_dial=True),
    )
}
"""All models, in the order of tables."""

ON_REQUEST: Final = {MTMH_QUOTA: ModelName(MTMH_QUOTA, "MTMH, quota", TRAINED, has_dial=True)}
"""More rows, last in tables, that only those who name them get: a model of the table that answers in another way."""

RELEVANCE_ONLY: Final = "relevance_only"
PARTS: Final = (RELEVANCE_ONLY,)
"""Trained models that are no row of a table, only part of one."""
TRAININGS: Final = {TWO_MODELS: (ONE_HEAD, RELEVANCE_ONLY), MTMH_QUOTA: (MTMH,)}
"""What has to be trained for a model that has no training of its own."""


def pick_models(names: Iterable[str]) -> list[ModelName]:
    """The models of these names, each once, in the order of tables.

    Raises:
      UserError: there is no such model, or no name.
    """
    wanted, rows = list(names), MODELS | ON_REQUEST
    for name in wanted:
        if name not in rows:
            near = difflib.get_close_matches(name, rows, 1)
            hint = f"did you mean {near[0]}?" if near else f"models are {', '.join(rows)}"
            raise UserError(f"there is no model `{name}`; {hint}")
    if not wanted:
        raise UserError(f"no model is named; models are {', '.join(rows)}")
    return [model for model in rows.values() if model.name in wanted]


def merge_of(name: str, configured: str) -> str:
    """How the two heads of a model answer: by quota where that is what its name says, else as configured."""
    return QUOTA if name == MTMH_QUOTA else configured
