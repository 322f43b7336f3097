"""Rows that say what the subject of a comparison gains over other models, from paired draws."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trainer import frontier, metrics, slices
from trainer.bootstrap import estimate, gain_percent
from trainer.comparison import Above, AreaLead, Floor, Gain, GapClosed
from trainer.names import CONTENT, ONE_HEAD, ONE_HEAD_IDS, ModelName

AXES: Final = (metrics.RELEVANCE, metrics.TOPIC_MATCH)
"""What recall is drawn against."""
_HEADLINE: Final = (metrics.RECALL, *AXES)
_KEPT: Final = (1.0, 0.95)
_NOT_TO_LOSE: Final = (metrics.COVERAGE, metrics.TAIL_SHARE)


@dataclasses.dataclass(frozen=True)
class ModelDraws:
    """Draws of one model's metrics.

    Attributes:
      model: which it is.
      default_weight: the dial when a request names none; None without a dial.
      weights: W settings of the dial, ascending.
      on_grid: [W], the settings that every model with a dial has.
      values: by metric and slice, float64 [W, 1 + R]; see `trainer.bootstrap` for draws.
    """

    model: ModelName
    default_weight: float | None
    weights: tuple[float, ...]
    on_grid: NDArray[np.bool_]
    values: Mapping[tuple[str, str], NDArray[np.float64]]

    def along_dial(self, metric: str) -> NDArray[np.float64]:
        """Draws of a metric over all triggers, [W, 1 + R]."""
        return self.values[metric, slices.ALL]

    def at(self, metric: str, weight: float = 0.0) -> NDArray[np.float64]:
        """Draws of a metric at one setting of the dial, [1 + R]; a model without a dial is at 0."""
        draws: NDArray[np.float64] = self.along_dial(metric)[self.weights.index(weight)]
        return draws

    def area(self, axis: str) -> NDArray[np.float64]:
        """Draws of the area under the frontier, [1 + R]."""
        of_axis, recall = self.along_dial(axis)[self.on_grid], self.along_dial(metrics.RECALL)[self.on_grid]
        return frontier.area(of_axis.T, recall.T)


Compared = Mapping[str, ModelDraws]
"""All models by name, in the order of tables."""


def best_co_engagement(compared: Compared) -> str | None:
    """The co-engagement baseline of highest recall; None where no recall is known."""
    recall = {name: float(draws.at(metrics.RECALL)[0]) for name, draws in compared.items() if draws.model.co_engagement}
    known = [name for name, value in recall.items() if not np.isnan(value)]
    return max(known, key=lambda name: recall[name], default=None)


def gains(subject: ModelDraws, compared: Compared, recall_gain: float) -> tuple[Gain, ...]:
    """Headline rows over the one-head models and the best co-engagement baseline."""
    rows = []
    for other in _baselines(compared, ONE_HEAD_IDS, ONE_HEAD):
        settings: list[tuple[str, float | None]] = [("dial 0", 0.0)]
        if subject.default_weight is not None:
            settings.append(("default dial", subject.default_weight))
        settings.append(("recall gain", _most_relevant_gaining(subject, other, recall_gain)))
        for at, weight in settings:
            percent = {
                name: estimate(gain_percent(subject.at(name, weight), other.at(name)))
                for name in _HEADLINE
                if weight is not None
            }
            rows.append(Gain(other.model.name, at, weight, percent))
    return tuple(rows)


def gaps_closed(subject: ModelDraws, compared: Compared) -> tuple[GapClosed, ...]:
    """At the recall of one head and of the best co-engagement baseline: how near the relevance is to content-only's."""
    if CONTENT not in compared:
        return ()
    content = compared[CONTENT]
    weights, recall = np.array(subject.weights), subject.along_dial(metrics.RECALL).T
    rows = []
    for other in _baselines(compared, ONE_HEAD):
        for kept in _KEPT:
            setting = frontier.last_keeping(weights, recall, kept * other.at(metrics.RECALL))
            share = {}
            for axis in AXES:
                reached = frontier.at_setting(weights, subject.along_dial(axis).T, setting)
                gap = content.at(axis) - other.at(axis)
                closed = reached - other.at(axis)
                share[axis] = estimate(np.divide(closed, gap, out=np.full(gap.shape, np.nan), where=gap > 0))
            resampled = setting[1:]
            reached_share = float(np.isfinite(resampled).mean()) if len(resampled) else float(np.isfinite(setting[0]))
            rows.append(GapClosed(other.model.name, kept, estimate(setting), share, reached_share))
    return tuple(rows)


def area_leads(subject: ModelDraws, compared: Compared) -> tuple[AreaLead, ...]:
    """The subject's area under the frontier against each other model's."""
    rows = []
    for other in _others(subject, compared):
        for axis in AXES:
            own, its = subject.area(axis), other.area(axis)
            rows.append(AreaLead(other.model.name, axis, estimate(own - its), estimate(gain_percent(own, its))))
    return tuple(rows)


def strictly_above(subject: ModelDraws, compared: Compared, until: float) -> tuple[Above, ...]:
    """Whether the subject's frontier between dial 0 and ``until`` is above each other model's settings."""
    reach = np.array(subject.weights) <= until
    recall = subject.along_dial(metrics.RECALL)[reach].T
    rows = []
    for other in _others(subject, compared):
        for axis in AXES:
            of_axis = subject.along_dial(axis)[reach].T
            furthest = of_axis[0].max()
            leads = [
                frontier.recall_at(of_axis, recall, point) - its_recall
                for point, its_recall in zip(other.along_dial(axis), other.along_dial(metrics.RECALL), strict=True)
                if point[0] <= furthest
            ]
            # NaN is a resample in which a point is beyond reach, or everything where recall is not known.
            least = np.fmin.reduce(leads) if leads else np.full(recall.shape[0], np.nan)
            strictly = None if np.isnan(least[0]) else bool(least[0] > 0.0)
            rows.append(Above(other.model.name, axis, len(leads), strictly, estimate(least)))
    return tuple(rows)


def floors(subject: ModelDraws, compared: Compared) -> tuple[Floor, ...]:
    """Coverage and tail share at every setting of the dial against the one-head model's."""
    if ONE_HEAD not in compared:
        return ()
    rows = []
    for metric in _NOT_TO_LOSE:
        for weight in subject.weights:
            difference = estimate(subject.at(metric, weight) - compared[ONE_HEAD].at(metric))
            high = difference.high if difference.high is not None else difference.value
            rows.append(Floor(metric, weight, difference, high is None or high >= 0.0))
    return tuple(rows)


def _others(subject: ModelDraws, compared: Compared) -> list[ModelDraws]:
    return [draws for draws in compared.values() if draws is not subject]


def _baselines(compared: Compared, *names: str) -> Sequence[ModelDraws]:
    """The named models that were compared, and the best co-engagement baseline where it is none of them."""
    best = best_co_engagement(compared)
    wanted = [name for name in names if name in compared]
    return [compared[name] for name in dict.fromkeys([*wanted, *([best] if best else [])])]


def _most_relevant_gaining(subject: ModelDraws, other: ModelDraws, recall_gain: float) -> float | None:
    """The setting of highest topic match, or relevance, among those that gain so much recall; None without one."""
    enough = (1.0 + recall_gain / 100.0) * other.at(metrics.RECALL)[0]
    able = [weight for weight in subject.weights if subject.at(metrics.RECALL, weight)[0] >= enough]
    known = ~np.isnan(subject.along_dial(metrics.TOPIC_MATCH)[:, 0]).any()
    axis = metrics.TOPIC_MATCH if known else metrics.RELEVANCE
    return max(able, key=lambda weight: float(subject.at(axis, weight)[0]), default=None)
