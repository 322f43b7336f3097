"""The tables of a comparison."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from tfx_pipeline.sheets import Sheet
from tfx_pipeline.tables import annotation_judge, relevance_judge, topic_judge
from trainer import metrics, slices
from trainer.bootstrap import Estimate
from trainer.comparison import Comparison, ModelResult, Point
from trainer.headline import AXES

_NAMES: Final = {
    metrics.RECALL: "recall",
    metrics.NDCG: "NDCG",
    metrics.MRR: "MRR",
    metrics.RECALL_COLD: "cold recall",
    metrics.RELEVANCE: "relevance",
    metrics.TOPIC_MATCH: "topic match",
    metrics.COVERAGE: "coverage",
    metrics.TAIL_SHARE: "tail share",
    metrics.POPULAR_SHARE: "popular share",
    metrics.NOVELTY: "novelty, bits",
    metrics.DIVERSITY: "diversity",
}
_MAIN: Final = (
    metrics.RECALL, metrics.NDCG, metrics.MRR, metrics.RELEVANCE, metrics.TOPIC_MATCH, metrics.RECALL_COLD,
)  # fmt: skip
_SPREAD: Final = (
    metrics.COVERAGE, metrics.TAIL_SHARE, metrics.POPULAR_SHARE, metrics.NOVELTY, metrics.DIVERSITY,
)  # fmt: skip
UNKNOWN: Final = "–"


def comparison_sheets(comparison: Comparison) -> dict[str, Sheet]:
    """All tables by what they are about, in the order of reading; what a comparison has no figures for is left out."""
    made: dict[str, tuple[object, Callable[[Comparison], Sheet]]] = {
        "metrics": (True, _main),
        "spread": (True, _spread),
        "recall_by_slice": (True, _recall_by_slice),
        "relevance_by_slice": (True, _relevance_by_slice),
        "graded": (comparison.data.annotated_triggers, _graded),
        "gains": (comparison.gains, _headline),
        "gaps": (comparison.gaps, _gaps),
        "areas": (comparison.subject, _frontiers),
        "floors": (comparison.floors, _floors),
    }
    return {name: make(comparison) for name, (some, make) in made.items() if some}


def summary(comparison: Comparison) -> str:
    """What was evaluated on, in a line."""
    data = comparison.data
    users, intervals = "one user", "no intervals, as one user says nothing of how users differ"
    if data.users > 1:
        users = f"{data.users:,} users"
        intervals = (
            f"± and [ ]: 95 % bootstrap intervals over users, {comparison.resamples:,} resamples, paired where models "
            "are compared"
        )
    return (
        f"{data.triggers:,} triggers of {users} after the split, {data.pairs:,} (trigger, target) pairs, "
        f"{data.cold_pairs:,} with an item unseen in training; {data.items:,} items; {intervals}"
    )


# --- cells --------------------------------------------------------------------------------------------------------


def plus_minus(estimate: Estimate) -> str:
    """A share and half the width of its interval: ``0.203±.004``."""
    if estimate.value is None:
        return UNKNOWN
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f}"
    half = f"{(estimate.high - estimate.low) / 2.0:.3f}"
    return f"{estimate.value:.3f}±{half.removeprefix('0')}"


def plain(estimate: Estimate) -> str:
    """A share without its interval."""
    return UNKNOWN if estimate.value is None else f"{estimate.value:.3f}"


def percent(estimate: Estimate) -> str:
    """A gain in percent with its interval: ``+15.4 [+12.1, +18.8]``."""
    return _with_bounds(estimate, lambda value: f"{value:+.1f}")


def _share(estimate: Estimate) -> str:
    return _with_bounds(estimate, lambda value: f"{100 * value:.0f}") if estimate.value is not None else UNKNOWN


def _difference(estimate: Estimate) -> str:
    return _with_bounds(estimate, lambda value: f"{value:+.4f}")


def _with_bounds(estimate: Estimate, shown: Callable[[float], str]) -> str:
    if estimate.value is None:
        return UNKNOWN
    if estimate.low is None or estimate.high is None:
        return shown(estimate.value)
    return f"{shown(estimate.value)} [{shown(estimate.low)}, {shown(estimate.high)}]"


def _dial(weight: float | None) -> str:
    return UNKNOWN if weight is None else f"{weight:.2f}".rstrip("0").rstrip(".") or "0"


# --- tables -------------------------------------------------------------------------------------------------------


def _rows(comparison: Comparison, *more: float) -> Iterator[tuple[ModelResult, Point, tuple[str, str]]]:
    """Models at dial 0 and at their default, for a model with a dial also at ``more``; with the cells that name it."""
    for model in comparison.models:
        shown = {0.0, model.default_weight or 0.0, *(more if model.has_dial else ())}
        for point in model.points:
            if point.relevance_weight in shown:
                yield model, point, (model.label, _dial(point.relevance_weight) if model.has_dial else "")


def _judges(comparison: Comparison) -> tuple[str, ...]:
    return relevance_judge(), topic_judge(comparison.data.topic_match_independent)


def _main(comparison: Comparison) -> Sheet:
    rows = tuple(
        (*named, *(plus_minus(point.metrics[name]) for name in _MAIN)) for _, point, named in _rows(comparison, 1.0)
    )
    header = ("model", "dial", *(_NAMES[name] for name in _MAIN))
    chosen = tuple(
        f"{model.label}: {', '.join(f'{name} {value}' for name, value in model.parameters.items())}"
        for model in comparison.models
        if model.parameters
    )
    notes = _judges(comparison) + (("chosen on the validation slice: " + " / ".join(chosen),) if chosen else ())
    return Sheet(f"what the models retrieve, K = {comparison.k}", header, rows, notes)


def _spread(comparison: Comparison) -> Sheet:
    rows = tuple(
        (*named, *(plus_minus(point.metrics[name]) for name in _SPREAD)) for _, point, named in _rows(comparison, 1.0)
    )
    header = ("model", "dial", *(_NAMES[name] for name in _SPREAD))
    notes = (
        "share of the catalogue retrieved at all, of slots that go to the less engaged items and to the head; novelty: "
        "mean -log2 of an item's share of interactions",
        "diversity: mean 1 - teacher cosine within a list",
    )
    return Sheet(f"how widely they retrieve, K = {comparison.k}", header, rows, notes)


def _recall_by_slice(comparison: Comparison) -> Sheet:
    data = comparison.data
    sizes = "items / triggers / pairs: " + ", ".join(
        f"{part} {data.slice_items[part]:,} / {data.slice_triggers[part]:,} / {data.slice_pairs[part]:,}"
        for part in slices.SLICES
    )
    rows = tuple(
        (*named, *(plus_minus(point.slices[part][metrics.RECALL]) for part in slices.SLICES))
        for _, point, named in _rows(comparison)
    )
    return Sheet("recall by slice of the trigger", ("model", "dial", *slices.SLICES), rows, (sizes,))


def _relevance_by_slice(comparison: Comparison) -> Sheet:
    rows = tuple(
        (*named, *(plain(point.slices[part][axis]) for axis in AXES for part in slices.SLICES))
        for _, point, named in _rows(comparison)
    )
    header = tuple(f"{_NAMES[axis].split()[0]}\n{part}" for axis in AXES for part in slices.SLICES)
    title = "relevance, topic match by slice of the trigger"
    return Sheet(title, ("model", "dial", *header), rows, _judges(comparison))


def _graded(comparison: Comparison) -> Sheet:
    rows = tuple(
        (*named, plus_minus(point.annotation_ndcg))
        for _, point, named in _rows(comparison, 1.0)
        if point.annotation_ndcg is not None
    )
    triggers = comparison.data.annotated_triggers
    notes = (annotation_judge(), f"{triggers:,} triggers, ± over them" if triggers > 1 else "of one trigger")
    return Sheet("how held-out annotations are ranked", ("model", "dial", "annotation NDCG"), rows, notes)


def _headline(comparison: Comparison) -> Sheet:
    subject = comparison.model(comparison.subject or "")
    rows, bar = [], f"{comparison.recall_gain:+g} %"
    for gain in comparison.gains:
        wanted = f"recall ≥ {bar}"
        setting = {"dial 0": "0", "default dial": f"{_dial(gain.relevance_weight)} (default)"}.get(gain.at)
        if setting is None:
            setting = f"{_dial(gain.relevance_weight)} ({wanted})" if gain.percent else f"none has {wanted}"
        cells = (percent(gain.percent[name]) if gain.percent else UNKNOWN for name in (metrics.RECALL, *AXES))
        rows.append((comparison.model(gain.over).label, setting, *cells))
    header = ("over", "at dial", *(f"{_NAMES[name]}, %" for name in (metrics.RECALL, *AXES)))
    notes = (f"{bar} recall: what the paper (arXiv:2506.06239) reports over its baselines", *_judges(comparison))
    return Sheet(f"headline: {subject.label} over", header, tuple(rows), notes, words=2)


def _gaps(comparison: Comparison) -> Sheet:
    rows = tuple(
        (
            comparison.model(gap.over).label,
            f"{100 * gap.recall_kept:g} %",
            _dial(gap.relevance_weight.value),
            *(_share(gap.share[axis]) for axis in AXES),
        )
        for gap in comparison.gaps
    )
    header = ("way from", "recall kept", "dial", *(f"{_NAMES[axis]}, % of the way" for axis in AXES))
    notes = ("the largest dial that keeps this share of the model's recall, between settings by straight line",)
    title = "at equal recall: how much of the way to content only"
    return Sheet(title, header, rows, notes + _judges(comparison))


def _frontiers(comparison: Comparison) -> Sheet:
    area = "area: hypervolume of (recall, relevance) and of (recall, topic match) that the dial's settings dominate"
    if not comparison.areas:  # there is no other model
        own = tuple((model.label, *(_four_digits(model.area[axis]) for axis in AXES)) for model in comparison.models)
        header = ("model", *(f"{_NAMES[axis]}\narea" for axis in AXES))
        return Sheet("frontier: area under it", header, own, (area, *_judges(comparison)))
    leads = {(lead.over, lead.axis): lead for lead in comparison.areas}
    above = {(row.over, row.axis): row.strictly for row in comparison.above}
    words = {True: "yes", False: "no", None: UNKNOWN}
    rows = []
    for model in comparison.models:
        cells: list[str] = []
        for axis in AXES:
            lead = leads.get((model.name, axis))
            gained = percent(lead.percent) if lead else ""
            cells += [_four_digits(model.area[axis]), gained, words[above[model.name, axis]] if lead else ""]
        rows.append((model.label, *cells))
    subject = comparison.model(comparison.subject or "").label
    header = ("model", *(title for axis in AXES for title in (f"{_NAMES[axis]}\narea", f"{subject}, %", "above")))
    notes = (
        area,
        f"above: {subject} has strictly more recall at every relevance of the model that its dial reaches up to "
        f"{comparison.above_until:g}",
    )
    return Sheet("frontier: area under it, and how much larger", header, tuple(rows), notes + _judges(comparison))


def _floors(comparison: Comparison) -> Sheet:
    rows = []
    for metric in dict.fromkeys(row.metric for row in comparison.floors):
        settings = [row for row in comparison.floors if row.metric == metric]
        least = min(settings, key=lambda row: row.difference.value or 0.0)
        held = sum(row.holds for row in settings)
        rows.append(
            (_NAMES[metric], f"{held} of {len(settings)}", _dial(least.relevance_weight), _difference(least.difference))
        )
    subject, title = comparison.model(comparison.subject or ""), "coverage and tail share against one head"
    header = ("", "settings that hold", "least at dial", f"{subject.label} less one head")
    return Sheet(title, header, tuple(rows), ("a setting holds where the interval is not wholly below 0",))


def _four_digits(estimate: Estimate) -> str:
    return UNKNOWN if estimate.value is None else f"{estimate.value:.4f}"


def headline_sentences(comparison: Comparison) -> Sequence[str]:
    """The headline in words: over the best co-engagement baseline, and over one head, at dial 0 and by default."""
    lines = []
    for gain in comparison.gains:
        if gain.percent and gain.at != "recall gain":
            parts = [
                f"{_NAMES[name]} {gain.percent[name].value:+.1f} %"
                for name in (metrics.RECALL, *AXES)
                if gain.percent[name].value is not None
            ]
            subject, over = comparison.model(comparison.subject or ""), comparison.model(gain.over)
            best = ", the best co-engagement baseline" if gain.over == comparison.best_co_engagement else ""
            dial = _dial(gain.relevance_weight)
            lines.append(f"{subject.label} at dial {dial} over {over.label}{best}: {', '.join(parts)}")
    return list(dict.fromkeys(lines))
