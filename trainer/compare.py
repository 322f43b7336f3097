"""Compares models: the same triggers, K, judge and resamples for all of them."""

import dataclasses
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trainer import headline, metrics, slices
from trainer.annotated import count_triggers, ndcg_by_trigger
from trainer.bootstrap import Bootstrap, Estimate, estimate
from trainer.comparison import Comparison, Data, ModelResult, Point
from trainer.config import EvaluateConfig
from trainer.evaluate import Judge
from trainer.headline import AXES, Compared, ModelDraws
from trainer.names import MTMH, ModelName
from trainer.recommender import Recommender, lists_along_dial
from trainer.statistics import COLUMNS, SLICED, Tally, UserSums

logger = logging.getLogger("mtmh.compare")

GRID: Final = tuple(step / 20 for step in range(21))
"""Settings of the dial that frontiers are drawn through."""
RECALL_GAIN: Final = 14.4
"""Percent of recall that the paper reports over its baselines (arXiv:2506.06239)."""
_ABOVE_UNTIL: Final = 0.5
_MOST_CLUSTERS: Final = 20_000
"""Where more triggers than this have annotations, several are drawn together; bounds the memory."""


@dataclasses.dataclass(frozen=True)
class Contender:
    """A model to compare.

    Attributes:
      model: its name, and what people call it.
      recommender: what answers.
      default_weight: the dial when a request names none; None for a model without a dial.
      parameters: of a counted model, as they were chosen on the validation slice.
    """

    model: ModelName
    recommender: Recommender
    default_weight: float | None = None
    parameters: Mapping[str, float | str] = dataclasses.field(default_factory=dict)


def compare(contenders: Iterable[Contender], judge: Judge, config: EvaluateConfig, seed: int) -> Comparison:
    """Scores every contender at every setting of its dial, with intervals, slices and what one gains over another.

    Args:
      contenders: in the order of tables, each model once; one is let go before the next is asked for.
      judge: what answers are judged by.
      config: K, the tail, number of resamples.
      seed: of the resamples.

    Raises:
      UserError: there is nothing to evaluate on.
    """
    tally = Tally(judge, config)
    bootstrap = Bootstrap(tally.num_clusters, config.bootstrap_resamples, seed)
    annotated = count_triggers(judge.annotations)
    of_annotations = Bootstrap(min(annotated, _MOST_CLUSTERS), config.bootstrap_resamples, seed)
    compared: dict[str, ModelDraws] = {}
    results: list[ModelResult] = []
    for contender in contenders:
        compared[contender.model.name] = draws = _draws(contender, tally, bootstrap)
        results.append(_result(contender, draws, judge, of_annotations))
        recall = results[-1].points[0].metrics[metrics.RECALL].value
        shown = "unknown" if recall is None else f"{recall:.4f}"
        logger.info("scored %s: recall@%d %s", contender.model.label, config.k, shown)
        del contender  # else it would live until the next one is made
    subject = _subject(compared)
    return Comparison(
        k=config.k,
        seed=seed,
        resamples=config.bootstrap_resamples,
        data=_data(tally, annotated),
        models=tuple(results),
        subject=subject.model.name if subject else None,
        best_co_engagement=headline.best_co_engagement(compared),
        recall_gain=RECALL_GAIN,
        above_until=_ABOVE_UNTIL,
        gains=headline.gains(subject, compared, RECALL_GAIN) if subject else (),
        gaps=headline.gaps_closed(subject, compared) if subject else (),
        areas=headline.area_leads(subject, compared) if subject else (),
        above=headline.strictly_above(subject, compared, _ABOVE_UNTIL) if subject else (),
        floors=headline.floors(subject, compared) if subject else (),
    )


def _subject(compared: Compared) -> ModelDraws | None:
    """MTMH, else the last model with a dial."""
    with_dial = [draws for draws in compared.values() if len(draws.weights) > 1]
    return compared.get(MTMH) or (with_dial[-1] if with_dial else None)


def _draws(contender: Contender, tally: Tally, bootstrap: Bootstrap) -> ModelDraws:
    weights: tuple[float, ...] = (0.0,)
    if contender.recommender.has_dial:
        weights = tuple(sorted({*GRID, contender.default_weight or 0.0}))
    lists = lists_along_dial(contender.recommender, tally.trigger, k=tally.config.k, weights=weights)
    table = bootstrap.along_dial(tally.sums(lists))
    values: dict[tuple[str, str], NDArray[np.float64]] = {
        column: table[:, :, place] for place, column in enumerate(COLUMNS)
    }
    num_items = len(tally.judge.interaction_count)
    covered = [bootstrap.coverage(shown, tally.times, num_items) for shown in lists]
    values[metrics.COVERAGE, slices.ALL] = np.stack(covered)
    on_grid = np.isin(weights, GRID)
    default_weight = contender.default_weight if contender.recommender.has_dial else None
    return ModelDraws(contender.model, default_weight, weights, on_grid, values)


def _result(contender: Contender, draws: ModelDraws, judge: Judge, of_annotations: Bootstrap) -> ModelResult:
    graded = _annotation_ndcg(contender.recommender, draws.weights, judge, of_annotations)
    return ModelResult(
        **dataclasses.asdict(draws.model),
        default_weight=draws.default_weight,
        parameters=dict(contender.parameters),
        points=tuple(
            Point(
                weight,
                {name: estimate(draws.at(name, weight)) for name in metrics.METRICS},
                {part: {name: estimate(draws.values[name, part][place]) for name in SLICED} for part in slices.SLICES},
                graded[place],
            )
            for place, weight in enumerate(draws.weights)
        ),
        area={axis: estimate(draws.area(axis)) for axis in AXES},
    )


def _annotation_ndcg(
    recommender: Recommender, weights: Sequence[float], judge: Judge, bootstrap: Bootstrap
) -> list[Estimate | None]:
    """The mean of `ndcg_by_trigger` at each setting of the dial; None where it can not be told."""
    of_triggers = [ndcg_by_trigger(recommender, judge.annotations, weight) for weight in weights]
    if not len(of_triggers[0]):
        return [None] * len(weights)
    cluster = np.arange(len(of_triggers[0])) % bootstrap.clusters
    above = [np.bincount(cluster, weights=values).astype(np.float64) for values in of_triggers]
    below = [np.bincount(cluster).astype(np.float64)] * len(weights)
    draws = bootstrap.metrics(UserSums(np.stack(above, axis=1), np.stack(below, axis=1)))
    return [estimate(column) for column in draws.T]


def _data(tally: Tally, annotated: int) -> Data:
    judge = tally.judge
    counts = np.bincount(slices.item_slices(judge.interaction_count), minlength=len(slices.SLICES))
    return Data(
        items=len(judge.interaction_count),
        users=tally.num_users,
        triggers=len(judge.triggers.trigger),
        pairs=tally.num_pairs,
        cold_pairs=tally.num_cold_pairs,
        slice_items={name: int(count) for name, count in zip(slices.SLICES, counts, strict=True)},
        slice_triggers=tally.occasions,
        slice_pairs=tally.pairs,
        topic_match_independent=judge.topic_match_independent if judge.categories.nnz else None,
        annotated_triggers=annotated,
    )
