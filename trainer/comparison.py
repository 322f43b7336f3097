"""The outcome of a comparison of models, as a value and as JSON."""

import dataclasses
import json
from typing import Final

from preprocessing.errors import UserError
from trainer.bootstrap import Estimate
from trainer.typed import typed

FORMAT_VERSION: Final = 1


@dataclasses.dataclass(frozen=True)
class Data:
    """What was evaluated on.

    Attributes:
      items: N, items of the catalogue.
      users: of the evaluated triggers; the bootstrap draws among them.
      triggers: trigger occasions.
      pairs, cold_pairs: (trigger, target) pairs with both items seen in training, and the others.
      slice_items, slice_triggers, slice_pairs: items, occasions and pairs in each slice, see `trainer.slices`.
      topic_match_independent: False where model or teacher sees the categories that judge topic match; None where
        there are no categories.
      annotated_triggers: held-out graded triggers, see `trainer.metrics.annotation_ndcg`.
    """

    items: int
    users: int
    triggers: int
    pairs: int
    cold_pairs: int
    slice_items: dict[str, int]
    slice_triggers: dict[str, int]
    slice_pairs: dict[str, int]
    topic_match_independent: bool | None
    annotated_triggers: int = 0


@dataclasses.dataclass(frozen=True)
class Point:
    """One model at one setting of the dial.

    Attributes:
      relevance_weight: the dial; 0 for a model without one.
      metrics: by name, see `trainer.metrics`.
      slices: by slice, metrics by name.
      annotation_ndcg: of the held-out annotations, its interval over their triggers; None where there are none, or the
        answers do not follow from a score.
    """

    relevance_weight: float
    metrics: dict[str, Estimate]
    slices: dict[str, dict[str, Estimate]]
    annotation_ndcg: Estimate | None = None


@dataclasses.dataclass(frozen=True)
class ModelResult:
    """One model.

    Attributes:
      name, label, kind, has_dial, co_engagement: see `trainer.names`.
      default_weight: the dial that requests get when they name none; None for a model without a dial.
      parameters: of a counted model, as they were chosen on the validation slice.
      points: in ascending order of the dial.
      area: area under the frontier of recall against the named metric, see `trainer.frontier.area`.
    """

    name: str
    label: str
    kind: str
    has_dial: bool
    co_engagement: bool
    default_weight: float | None
    parameters: dict[str, float | str]
    points: tuple[Point, ...]
    area: dict[str, Estimate]


@dataclasses.dataclass(frozen=True)
class Gain:
    """A headline row: by how many percent the subject is above another model.

    Attributes:
      over: the other model.
      at: ``dial 0``, ``default dial``, or ``recall gain``: the setting with the highest topic match (relevance where
        there are no categories) among those whose recall is `Comparison.recall_gain` percent above the other's.
      relevance_weight: the subject's dial there; None where no setting gains so much recall.
      percent: by metric, paired.
    """

    over: str
    at: str
    relevance_weight: float | None
    percent: dict[str, Estimate]


@dataclasses.dataclass(frozen=True)
class GapClosed:
    """How much of the way from a co-engagement model's relevance to content-only's the subject goes at its recall.

    Attributes:
      over: the co-engagement model.
      recall_kept: share of its recall that the subject keeps.
      relevance_weight: the subject's largest setting that does, between settings by straight line.
      share: by metric, ``(subject - over) / (content - over)`` there, paired.
      reached: share of the resamples in which any setting does.
    """

    over: str
    recall_kept: float
    relevance_weight: Estimate
    share: dict[str, Estimate]
    reached: float


@dataclasses.dataclass(frozen=True)
class AreaLead:
    """The subject's area under the frontier less another model's.

    Attributes:
      over: the other model.
      axis: the metric that recall is drawn against.
      difference, percent: paired; absolute, and relative to the other's area.
    """

    over: str
    axis: str
    difference: Estimate
    percent: Estimate


@dataclasses.dataclass(frozen=True)
class Above:
    """Whether the subject's frontier between dial 0 and `Comparison.above_until` lies strictly above another model.

    Attributes:
      over: the other model.
      axis: the metric that recall is drawn against.
      compared: settings of the other model within that reach: not more relevant than the subject gets there.
      strictly: at each of them the subject has more recall at no less relevance; None where none was compared,
        or recall is not known.
      least_lead: the least of those recall differences, paired.
    """

    over: str
    axis: str
    compared: int
    strictly: bool | None
    least_lead: Estimate


@dataclasses.dataclass(frozen=True)
class Floor:
    """Whether the subject's coverage or tail share is below the one-head model's at a setting of the dial.

    Attributes:
      metric: its name.
      relevance_weight: the setting.
      difference: subject less one head, paired.
      holds: the interval is not wholly below 0.
    """

    metric: str
    relevance_weight: float
    difference: Estimate
    holds: bool


@dataclasses.dataclass(frozen=True)
class Comparison:
    """All models on the same triggers, at the same K, with the same resamples.

    Attributes:
      k, seed, resamples: K of all metrics, seed and number of the resamples.
      data: what was evaluated on.
      models: in the order of tables.
      subject: the model that the rows below are about, the last one with a dial; None where none has one.
      best_co_engagement: the co-engagement baseline of highest recall; None where none was compared, or recall is not
        known.
      recall_gain: percent, see `Gain`.
      above_until: setting of the dial, see `Above`.
      gains, gaps, areas, above, floors: empty where a model that they need was not compared.
      files: path of each file of the comparison, relative to its directory, by what it is.
      examples_digest: SHA-256 of the manifest of the examples.
      trained: `trainer.base.model_digest` of what was trained, by the name of the training.
    """

    k: int
    seed: int
    resamples: int
    data: Data
    models: tuple[ModelResult, ...]
    subject: str | None
    best_co_engagement: str | None
    recall_gain: float
    above_until: float
    gains: tuple[Gain, ...]
    gaps: tuple[GapClosed, ...]
    areas: tuple[AreaLead, ...]
    above: tuple[Above, ...]
    floors: tuple[Floor, ...]
    files: dict[str, str] = dataclasses.field(default_factory=dict)
    examples_digest: str = ""
    trained: dict[str, str] = dataclasses.field(default_factory=dict)

    def model(self, name: str) -> ModelResult:
        """The model of that name; raises `KeyError`."""
        return {model.name: model for model in self.models}[name]


def to_json(comparison: Comparison) -> str:
    """The comparison as a JSON document."""
    document = {"format_version": FORMAT_VERSION, **dataclasses.asdict(comparison)}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def from_json(text: str, where: str) -> Comparison:
    """Reads what `to_json` wrote; ``where`` names it in faults.

    Raises:
      UserError: it is no comparison of this format.
    """
    try:
        document = json.loads(text)
        if document.pop("format_version") != FORMAT_VERSION:
            raise ValueError("another version's format")
        comparison: Comparison = typed(Comparison, document)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{where} is no comparison that can be read ({error}); run `mtmh compare` again") from None
    return comparison
