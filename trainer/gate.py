"""Whether a model may be served: floors that hold on the first run too, and the last blessed model on the same data.

Every check is a figure and a bound. What is compared between models is drawn with the same resamples of users (see
`trainer.bootstrap`): a check fails only where the whole 95 % interval is beyond the bound, so that chance alone refuses
no model. Three checks look at the data rather than at the model, for a model learns poisoned data as well as any:

- *over popularity*: co-engagement that was shuffled tells no more than what is popular;
- *validation kept*: a model that is good before the split and bad after it has met other rows there;
- *blessed kept*: the last blessed model, which worked on the earlier data, fails on these.
"""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from trainer import metrics, slices
from trainer.bootstrap import Bootstrap, estimate
from trainer.config import EvaluateConfig, GateConfig
from trainer.counted import fill_up, most_popular
from trainer.evaluate import Judge
from trainer.snapshot import Snapshot
from trainer.statistics import COLUMNS, Tally

INDEX_RECALL: Final = "index_recall"

logger = logging.getLogger("mtmh.evaluate")

_Draws = NDArray[np.float64]
_Table = Mapping[tuple[str, str], _Draws]
"""Draws, [1 + R], by metric and slice."""


@dataclasses.dataclass(frozen=True)
class Check:
    """One figure and its bound.

    Attributes:
      metric, slice: what was measured, and on which triggers.
      relevance_weight: the dial.
      value: the figure; None where the data can not tell, which passes.
      bound: the least that it may be.
      rule: what the bound is, in words.
      option: the option that sets it.
      passed: whether the figure, or the upper end of its interval, reaches the bound.
    """

    metric: str
    slice: str
    relevance_weight: float
    value: float | None
    bound: float
    rule: str
    option: str
    passed: bool

    def reason(self) -> str:
        """Why it fails, in one line: metric, slice, number, bound."""
        value = "unknown" if self.value is None else f"{self.value:.4f}"
        return (
            f"{self.metric} of slice {self.slice} at dial {self.relevance_weight:g} is {value}, "
            f"below {self.bound:.4f}: {self.rule} ({self.option})"
        )


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What a candidate is judged on.

    Attributes:
      judge: the fresh evaluation triggers and the catalogue's items.
      ids: the catalogue's item ids.
      index_recall: of the deployed index, by setting of the dial.
      validation_recall: the candidate's recall of the engagement head on the validation slice; None without one.
      measure: what a recall is here, see `trainer.snapshot.recall_measure`; None where that is unknown.
    """

    judge: Judge
    ids: Sequence[str]
    index_recall: Mapping[float, float]
    validation_recall: float | None
    measure: Mapping[str, Any] | None = None


class Gate:
    """Judges a candidate, and the last blessed model beside it."""

    def __init__(self, evidence: Evidence, evaluate: EvaluateConfig, config: GateConfig, seed: int) -> None:
        """Groups what is judged by.

        Raises:
          UserError: there is nothing to evaluate on.
        """
        self._evidence, self._config, self._k = evidence, config, evaluate.k
        self._tally = Tally(evidence.judge, evaluate)
        self._bootstrap = Bootstrap(self._tally.num_clusters, evaluate.bootstrap_resamples, seed)

    def judge(self, candidate: Snapshot, blessed: Snapshot | None, min_index_recall: float) -> list[Check]:
        """All checks, failed ones among them."""
        dial = candidate.relevance_weight
        ours = self._draws(candidate, [0.0, dial])
        checks = [*self._floors(ours[1], dial), *self._index(min_index_recall), self._over_popularity(ours[0])]
        if self._evidence.validation_recall is not None:
            kept = self._config.validation_kept * self._evidence.validation_recall
            checks.append(
                _least(
                    ours[0],
                    metrics.RECALL,
                    slices.ALL,
                    0.0,
                    kept,
                    f"{self._config.validation_kept:g} of its {self._evidence.validation_recall:.4f} on the validation "
                    "slice, so the rows after the split are not like those before it",
                    "gate.validation_kept",
                )
            )
        if blessed is not None:
            # Each as it is served: a dial that was turned changes what people get as much as other vectors do.
            settings = [0.0, blessed.relevance_weight]
            theirs = self._draws(blessed, settings)
            checks += self._continuity(theirs[0], blessed)
            for weight, mine, setting, other in zip([0.0, dial], ours, settings, theirs, strict=True):
                checks += self._against(mine, weight, other, setting)
        return checks

    def recall(self, model: Snapshot) -> float | None:
        """Recall of a model's engagement head."""
        return estimate(self._draws(model, [0.0])[0][metrics.RECALL, slices.ALL]).value

    def _draws(self, model: Snapshot, weights: Sequence[float]) -> list[_Table]:
        return self._tables(model.retrieve(self._evidence.ids, self._tally.trigger, k=self._k, weights=weights))

    def _tables(self, lists: NDArray[np.int32]) -> list[_Table]:
        """Draws of lists, [W, T, K]."""
        tables = [self._bootstrap.metrics(sums) for sums in self._tally.sums(lists)]
        return [{column: table[:, place] for place, column in enumerate(COLUMNS)} for table in tables]

    def _floors(self, ours: _Table, dial: float) -> list[Check]:
        floors = (
            (metrics.RECALL, self._config.min_recall),
            (metrics.RELEVANCE, self._config.min_relevance),
            (metrics.TAIL_SHARE, self._config.min_tail_share),
        )
        return [
            _least(ours, name, slices.ALL, dial, floor, "the floor", f"gate.min_{name}", strict=True)
            for name, floor in floors
        ]

    def _index(self, floor: float) -> list[Check]:
        if not self._evidence.index_recall:
            return []
        dial, least = min(self._evidence.index_recall.items(), key=lambda entry: entry[1])
        return [Check(INDEX_RECALL, slices.ALL, dial, least, floor, "the floor", "index.min_recall", least >= floor)]

    def _over_popularity(self, ours: _Table) -> Check:
        popular = self._tables(self._popular_lists())[0][metrics.RECALL, slices.ALL]
        factor = self._config.over_popularity
        rule = (
            f"{factor:g} times what the most popular items recall; either the training was too short (trainer.epochs), "
            "or there are too few interactions to learn more from, or they were shuffled"
        )
        return _not_below(ours, factor * popular, metrics.RECALL, slices.ALL, 0.0, rule, "gate.over_popularity")

    def _popular_lists(self) -> NDArray[np.int32]:
        """The most popular items without the trigger, int32 [1, T, K]."""
        trigger = self._tally.trigger
        none = np.full((len(trigger), self._k), -1, dtype=np.int32)
        popular = most_popular(self._evidence.judge.interaction_count.astype(np.float64))
        return fill_up(none, trigger, popular)[np.newaxis]

    def _continuity(self, theirs: _Table, blessed: Snapshot) -> list[Check]:
        if blessed.recall is None:
            return []
        share = self._config.blessed_kept
        changed = _changed(self._evidence.measure, blessed.measure)
        if changed:
            logger.info(
                "gate.blessed_kept can't tell: recall is not what it was for the last blessed model: %s", changed
            )
            rule = f"not comparable with the {blessed.recall:.4f} that it had when it was blessed: {changed}"
            name = f"the last blessed model's {metrics.RECALL}"
            return [Check(name, slices.ALL, 0.0, None, 0.0, rule, "gate.blessed_kept", True)]
        rule = (
            f"{share:g} of the {blessed.recall:.4f} that the last blessed model had when it was blessed; the data have "
            "changed, not the model"
        )
        if blessed.measure is None:
            rule += ", unless evaluate.k, pairs.window or the like have: what its recall was is not on record"
        return [
            _least(
                theirs,
                f"the last blessed model's {metrics.RECALL}",
                slices.ALL,
                0.0,
                share * blessed.recall,
                rule,
                "gate.blessed_kept",
                column=metrics.RECALL,
            )
        ]

    def _against(self, ours: _Table, dial: float, theirs: _Table, their_dial: float) -> list[Check]:
        """The candidate against the last blessed model."""
        config = self._config
        where = "here" if their_dial == dial else f"at its own dial, {their_dial:g}"
        compared = [
            (metrics.RECALL, slices.ALL, config.recall_margin, "gate.recall_margin"),
            *((metrics.RECALL, part, config.slice_margin, "gate.slice_margin") for part in _COMPARED_SLICES),
            (metrics.RELEVANCE, slices.ALL, config.relevance_margin, "gate.relevance_margin"),
            (metrics.TAIL_SHARE, slices.ALL, config.tail_margin, "gate.tail_margin"),
        ]
        return [
            _not_below(
                ours,
                (1.0 - margin) * theirs[name, part],
                name,
                part,
                dial,
                f"the last blessed model has {theirs[name, part][0]:.4f} {where}, {margin:g} of which may be lost",
                option,
            )
            for name, part, margin, option in compared
        ]


def _changed(now: Mapping[str, Any] | None, before: Mapping[str, Any] | None) -> str:
    """Which options make one recall another, in words; empty where none does, or one isn't known."""
    if now is None or before is None:
        return ""
    return ", ".join(
        f"{name} was {before.get(name)}, is {value}" for name, value in now.items() if value != before.get(name)
    )


_COMPARED_SLICES: Final = (slices.HEAD, slices.TORSO, slices.TAIL)


def _least(
    table: _Table,
    metric: str,
    part: str,
    dial: float,
    bound: float,
    rule: str,
    option: str,
    *,
    strict: bool = False,
    column: str = "",
) -> Check:
    """A figure against a number; ``strict``: the figure itself counts, not the upper end of its interval."""
    found = estimate(table[column or metric, part])
    reached = found.value if strict or found.high is None else found.high
    return Check(metric, part, dial, found.value, bound, rule, option, reached is None or reached >= bound)


def _not_below(table: _Table, bound: _Draws, metric: str, part: str, dial: float, rule: str, option: str) -> Check:
    """A figure against another of the same draws."""
    found, lead = estimate(table[metric, part]), estimate(table[metric, part] - bound)
    reached = lead.value if lead.high is None else lead.high
    least = 0.0 if np.isnan(bound[0]) else float(bound[0])
    return Check(metric, part, dial, found.value, least, rule, option, reached is None or reached >= 0.0)
