"""Pictures of a comparison: the frontier of recall against relevance and against topic match."""

import contextlib
import io
from collections.abc import Iterator
from typing import Any, Final

from tfx_pipeline.label_places import place_labels
from trainer import metrics
from trainer.comparison import Comparison, ModelResult, Point
from trainer.names import CONTENT, MODELS

_ANNOTATED: Final = (0.0, 0.25, 0.5, 1.0)
"""Settings of the dial that are named in the picture."""
_TITLES: Final = {
    metrics.RELEVANCE: "relevance (teacher cosine)",
    metrics.TOPIC_MATCH: "topic match (category Jaccard)",
}
# Okabe and Ito's palette, told apart with any colour vision.
_SUBJECT: Final = "#0072B2"
_DIALS: Final = ("#E69F00", "#CC79A7", "#56B4E9")
_ONE_HEAD: Final = "#D55E00"
_CONTENT: Final = "#009E73"
_COUNTED: Final = "#5A5A5A"
_STYLE: Final = {
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": "#333333",
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "svg.hashsalt": "mtmh",  # the same picture has the same bytes
}


def frontier_png(comparison: Comparison, dots_per_inch: int = 150) -> bytes:
    """The frontiers as a PNG."""
    return _rendered(comparison, "png", dpi=dots_per_inch, metadata={"Software": None})


def frontier_svg(comparison: Comparison) -> str:
    """The frontiers as an ``<svg>`` element, to stand in a web page."""
    text = _rendered(comparison, "svg", metadata={"Date": None, "Creator": None}).decode("utf-8")
    return text[text.index("<svg") :]


def _rendered(comparison: Comparison, kind: str, **options: Any) -> bytes:
    with _figure(comparison) as figure:
        stream = io.BytesIO()
        figure.savefig(stream, format=kind, facecolor="white", **options)
        return stream.getvalue()


@contextlib.contextmanager
def _figure(comparison: Comparison) -> Iterator[Any]:
    """The drawn figure, a panel for each axis that the data can tell; closed in the end."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    axes = [axis for axis in _TITLES if any(_drawable(model, axis) for model in comparison.models)]
    axes = axes or [metrics.RELEVANCE]
    with rc_context(_STYLE):
        figure = Figure(figsize=(6.6 * len(axes), 5.4), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(
            "recall against relevance: curves as the dial goes from 0 to 1, bars are 95 % intervals",
            x=0.01, ha="left", fontsize=9.5, color="#555555",
        )  # fmt: skip
        drawn = []
        for place, axis in enumerate(axes):
            panel = figure.add_subplot(1, len(axes), place + 1)
            panel.set_xlabel(f"{_TITLES[axis]} @{comparison.k}")
            panel.set_ylabel(f"recall@{comparison.k}")
            panel.margins(0.1)
            labels = [label for model in comparison.models for label in _draw_model(panel, comparison, model, axis)]
            drawn.append((panel, labels))
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # settled, and labels inside the panels are not to move it
        for panel, labels in drawn:
            place_labels(figure, panel, labels)
        yield figure


def _drawable(model: ModelResult, axis: str) -> list[Point]:
    return [
        point
        for point in model.points
        if point.metrics[axis].value is not None and point.metrics[metrics.RECALL].value is not None
    ]


def _draw_model(panel: Any, comparison: Comparison, model: ModelResult, axis: str) -> list[tuple[str, Any, str, bool]]:
    """Draws a curve or a point with its intervals; what is still to be labelled: text, place, colour, emphasis."""
    points = _drawable(model, axis)
    if not points:
        return []
    colour, subject = _colour(comparison, model), model.name == comparison.subject
    place = {point.relevance_weight: _place(point, axis) for point in points}
    marked = [point for point in points if not model.has_dial or point.relevance_weight in _ANNOTATED]
    _draw_intervals(panel, marked, axis, colour)
    if not model.has_dial:
        marker = "o" if model.kind == MODELS[CONTENT].kind else "D"
        panel.plot(*place[points[0].relevance_weight], marker, color=colour, markersize=6.5, zorder=4)
        return [(model.label, place[points[0].relevance_weight], colour, False)]
    panel.plot(*zip(*place.values(), strict=True), "-", color=colour, linewidth=2.6 if subject else 1.6, zorder=3)
    panel.plot(
        *zip(*(place[point.relevance_weight] for point in marked), strict=True),
        "o", color=colour, markersize=5.5 if subject else 4.0, linestyle="none", zorder=4,
    )  # fmt: skip
    labels = [(f"{point.relevance_weight:g}", place[point.relevance_weight], colour, False) for point in marked]
    name = model.label
    if model.default_weight is not None and model.default_weight in place:
        panel.plot(
            *place[model.default_weight], "o", markersize=10.5, markerfacecolor="none", markeredgecolor=colour,
            markeredgewidth=1.6, zorder=5,
        )  # fmt: skip
        name += f" (ring: default dial {model.default_weight:g})"
    middle = points[len(points) // 6].relevance_weight
    return (
        [(name, place[middle], colour, True), *labels] if subject else [*labels, (name, place[middle], colour, False)]
    )


def _draw_intervals(panel: Any, points: list[Point], axis: str, colour: str) -> None:
    for point in points:
        across, up = point.metrics[axis], point.metrics[metrics.RECALL]
        style = {"color": colour, "alpha": 0.3, "linewidth": 3.0, "solid_capstyle": "butt", "zorder": 2}
        if across.low is not None and across.high is not None:
            panel.plot([across.low, across.high], [up.value, up.value], **style)
        if up.low is not None and up.high is not None:
            panel.plot([across.value, across.value], [up.low, up.high], **style)


def _place(point: Point, axis: str) -> tuple[float, float]:
    return point.metrics[axis].value or 0.0, point.metrics[metrics.RECALL].value or 0.0


def _colour(comparison: Comparison, model: ModelResult) -> str:
    if model.name == comparison.subject:
        return _SUBJECT
    if model.has_dial:
        others = [other.name for other in comparison.models if other.has_dial and other.name != comparison.subject]
        return _DIALS[others.index(model.name) % len(_DIALS)]
    if model.name == CONTENT:
        return _CONTENT
    return _COUNTED if model.kind == MODELS[CONTENT].kind else _ONE_HEAD
