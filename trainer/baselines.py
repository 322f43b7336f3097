"""The counted baselines of a comparison: read, tuned on the validation slice, counted.

Each has a small grid, of which the setting with the best recall@K on the validation slice is taken, and then how far it
follows what has become more or less popular lately (`trainer.trend`), but for content only. Then the slice's rows are
counted too, as the trained models learn from them in their second stage.
"""

import dataclasses
import logging
import operator
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from preprocessing import schema
from preprocessing.errors import UserError
from preprocessing.read import EvalTriggers, read_items, read_pairs, read_triggers
from trainer import metrics
from trainer.content_only import ContentOnly
from trainer.cooccurrence import Cooccurrence, DampedCooccurrence
from trainer.evaluate import sample_triggers
from trainer.histories import Histories, histories_of, nearest_events
from trainer.item2vec import Item2Vec
from trainer.itemknn import ItemKNN
from trainer.names import CONTENT
from trainer.popularity import Popularity
from trainer.recommender import Recommender
from trainer.swing import Swing
from trainer.trend import popularity_trend

logger = logging.getLogger("mtmh.trainer")

_TUNING_TRIGGERS: Final = 20_000
"""Validation triggers that settings are compared on."""
_TUNING_TRIGGERS_OF_SWING: Final = 1_000
"""Fewer, as it is counted trigger by trigger."""
_TREND_POWERS: Final = (0.0, 0.1, 0.25, 0.5, 1.0)
"""How far a baseline may follow the trend."""
_TUNING_PAIRS_OF_ITEM2VEC: Final = 12_000_000
"""Pairs of rows that a training of the grid sees."""


@dataclasses.dataclass(frozen=True)
class BaselineData:
    """What baselines are counted from.

    Attributes:
      training: histories without the rows of the validation slice.
      complete: histories with them.
      validation: what to choose settings by.
      content: float32 [N, D], the teacher's vectors.
      recent: int64 [N, 3], see `preprocessing.read.ItemTable.recent_count`.
    """

    training: Histories
    complete: Histories
    validation: EvalTriggers
    content: NDArray[np.float32]
    recent: NDArray[np.int64]

    @property
    def num_items(self) -> int:
        """N."""
        return len(self.content)


class Fitted(Recommender, Protocol):
    """What a baseline answers with."""

    def following(self, trend: NDArray[np.float64]) -> "Fitted":
        """With what an item scores changed as its popularity has, float64 [N]."""


class Baseline(Protocol):
    """Counts that can be scored by several settings of a baseline's parameters."""

    @property
    def grid(self) -> tuple[dict[str, Any], ...]:
        """Settings to choose from; those that follow each other share work."""

    @property
    def default(self) -> dict[str, Any]:
        """The setting where there is nothing to choose by."""

    @property
    def fit(self) -> Callable[..., Fitted]:
        """Takes a setting as keywords, gives what answers."""


def load_baseline_data(examples: Path) -> BaselineData:
    """Reads preprocessed examples.

    Raises:
      UserError: they are missing or damaged, or hold no pairs.
    """
    pairs = [
        nearest_events(block.trigger, block.user, block.targets_of_trigger, block.target, block.weight)
        for block in read_pairs(str(examples))
    ]
    if not pairs:
        raise UserError(
            f"{examples} holds no training pairs; raise split.quantile or pairs.window and preprocess again"
        )
    validation = read_triggers(str(examples), schema.VALIDATION)
    held_out = nearest_events(
        validation.trigger,
        validation.user,
        np.diff(validation.row_splits),
        validation.target,
        np.ones(len(validation.target), np.float32),
    )
    items = read_items(str(examples))
    return BaselineData(
        training=histories_of(pairs),
        complete=histories_of([*pairs, held_out]),
        validation=validation,
        content=items.content_vectors,
        recent=items.recent_count,
    )


def fit_baseline(name: str, data: BaselineData, *, k: int, seed: int) -> tuple[Recommender, dict[str, float | str]]:
    """Tunes and counts a baseline.

    Args:
      name: of a counted model, see `trainer.names`.
      data: what to count.
      k: K of the recall that settings are chosen by.
      seed: of samples and initial vectors.

    Returns:
      What answers, and the parameters that were chosen.

    Raises:
      KeyError: there is no counted model of that name.
    """
    baseline = _count(name, data, seed)
    setting, power = baseline.default, 0.0
    if len(data.validation) and name != CONTENT:
        count = _TUNING_TRIGGERS_OF_SWING if name == "swing" else _TUNING_TRIGGERS
        sample = sample_triggers(data.validation, count, seed)
        setting, tuned = best_setting(_count(name, data, seed, tuned_by=sample), sample, k)
        power = _best_power(tuned, _trend(data, data.training, schema.PAIRS), sample, k)
    shown = _shown(baseline, setting)
    fitted = baseline.fit(**setting)
    if power:
        shown["trend"] = power
        fitted = fitted.following(_trend(data, data.complete, schema.VALIDATION) ** power)
    logger.info("%s: %s", name, " ".join(f"{key}={value}" for key, value in shown.items()) or "nothing to choose")
    return fitted, shown


def best_setting(baseline: Baseline, validation: EvalTriggers, k: int) -> tuple[dict[str, Any], Fitted]:
    """The setting of the grid with the best recall@K on the validation triggers, of equal ones the first; its fit."""

    def fits() -> Iterator[tuple[float, dict[str, Any], Fitted]]:
        for setting in baseline.grid:
            fitted = baseline.fit(**setting)
            recall = _recall(fitted, validation, k)
            logger.debug("%s %s: validation recall@%d %.4f", type(baseline).__name__, setting, k, recall)
            yield recall, setting, fitted

    _, setting, fitted = max(fits(), key=operator.itemgetter(0))
    return setting, fitted


def _shown(baseline: Baseline, setting: dict[str, Any]) -> dict[str, float | str]:
    """A setting as tables print it, with the window that is counted where rows are too many for its own."""
    shown = {key: "whole" if value is None else value for key, value in setting.items()}
    if isinstance(baseline, Cooccurrence | DampedCooccurrence):
        shown |= baseline.narrowed(**setting)
    return shown


def _best_power(fitted: Fitted, trend: NDArray[np.float64], validation: EvalTriggers, k: int) -> float:
    """The power of the trend with the best recall@K on the validation triggers; of equal ones the first."""
    recalls = [_recall(fitted.following(trend**power), validation, k) for power in _TREND_POWERS]
    return _TREND_POWERS[int(np.argmax(recalls))]


def _recall(fitted: Recommender, validation: EvalTriggers, k: int) -> float:
    unique, row = np.unique(validation.trigger, return_inverse=True)
    row = np.repeat(row, np.diff(validation.row_splits))
    found = fitted.retrieve(unique, k=k, relevance_weight=0.0)
    return float(metrics.hits(metrics.target_ranks(found, row, validation.target), k).mean())


def _trend(data: BaselineData, histories: Histories, part: str) -> NDArray[np.float64]:
    """The trend by the end of these histories, of which ``part`` is the last."""
    counted = np.bincount(histories.item, minlength=data.num_items)
    return popularity_trend(data.recent[:, schema.PERIODS.index(part)], counted)


def _count(name: str, data: BaselineData, seed: int, tuned_by: EvalTriggers | None = None) -> Baseline:
    """A baseline's counts: of all rows, or, to tune it, of those before the slice and with no needless work."""
    number = data.num_items
    histories = data.complete if tuned_by is None else data.training
    if name == "swing" and tuned_by is not None:
        return Swing(histories, number, only=tuned_by.trigger)
    if name == "item2vec" and tuned_by is not None:
        return Item2Vec(histories, number, seed=seed, most_pairs=_TUNING_PAIRS_OF_ITEM2VEC)
    makers: dict[str, Callable[[], Baseline]] = {
        "popularity": lambda: Popularity(histories, number),
        "cooccurrence": lambda: Cooccurrence(histories, number),
        "cooccurrence_damped": lambda: DampedCooccurrence(histories, number),
        "itemknn": lambda: ItemKNN(histories, number),
        "swing": lambda: Swing(histories, number),
        "item2vec": lambda: Item2Vec(histories, number, seed=seed),
        CONTENT: lambda: ContentOnly(histories, data.content),
    }
    return makers[name]()
