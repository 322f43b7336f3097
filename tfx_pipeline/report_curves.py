"""Training curves for the report: what the trainings left of their epochs, and a picture of it.

Read from the checkpoints' ``state.json``, not from TensorBoard's event files: it is one small document that every
training writes, ``trainer.tensorboard`` or not.
"""

import dataclasses
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tfx_pipeline.sheets import Sheet
from tfx_pipeline.workdir import Workdir
from trainer.names import MODELS, RELEVANCE_ONLY

_STATE: Final = "checkpoints/{stage}/state.json"
_TRAINING, _FINAL = "training", "final"
_LOSSES: Final = {
    "train/loss": ("joint", "#222222"),
    "train/loss_engagement": ("engagement", "#0072B2"),
    "train/loss_relevance": ("relevance", "#009E73"),
    "train/loss_align": ("alignment", "#CC79A7"),
    "train/loss_annotations": ("annotations", "#E69F00"),
}
_VALIDATION: Final = {
    "validation_engagement_head/recall": ("recall, dial 0", "#0072B2"),
    "validation_engagement_head/relevance": ("relevance, dial 0", "#0072B2"),
    "validation_relevance_head/recall": ("recall, dial 1", "#009E73"),
    "validation_relevance_head/relevance": ("relevance, dial 1", "#009E73"),
}
_STYLE: Final = {
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "axes.axisbelow": True,
    "svg.hashsalt": "mtmh",  # the same picture has the same bytes
}

Series = tuple[float, ...]
"""A value an epoch; NaN where it is not known."""


@dataclasses.dataclass(frozen=True)
class History:
    """The epochs of one training.

    Attributes:
      model: its name.
      label: for people.
      best_epoch: the epoch, from 1, that was chosen on the validation slice; 0 without one.
      losses: by tag, of the first stage, which the validation slice judges.
      final_losses: by tag, of the stage that also learns from the validation slice.
      validation: metrics on the validation slice by tag without K.
    """

    model: str
    label: str
    best_epoch: int
    losses: dict[str, Series]
    final_losses: dict[str, Series]
    validation: dict[str, Series]


def read_histories(workdir: Workdir) -> list[History]:
    """The trainings in the work directory in the order of tables; one without readable epochs is left out."""
    order = [*MODELS, RELEVANCE_ONLY]
    found = sorted(
        (path.name for path in (workdir.root / "training").glob("*")),
        key=lambda name: (order.index(name) if name in order else len(order), name),
    )
    histories = []
    for name in found:
        best_epoch, first = _epochs(workdir.training(name), _TRAINING)
        _, final = _epochs(workdir.training(name), _FINAL)
        validation = {
            tag.partition("@")[0]: _series(first, tag)
            for tag in dict.fromkeys(tag for epoch in first for tag in epoch)
            if tag.partition("@")[0] in _VALIDATION
        }
        history = History(
            name,
            MODELS[name].label if name in MODELS else name.replace("_", " "),
            best_epoch,
            {tag: _series(first, tag) for tag in _LOSSES if any(tag in epoch for epoch in first)},
            {tag: _series(final, tag) for tag in _LOSSES if any(tag in epoch for epoch in final)},
            validation,
        )
        if history.losses or history.final_losses:
            histories.append(history)
    return histories


def _epochs(training: Path, stage: str) -> tuple[int, list[dict[str, Any]]]:
    """Best epoch and records of a stage; none where there is no state that can be read."""
    try:
        state = json.loads((training / _STATE.format(stage=stage)).read_text(encoding="utf-8"))["state"]
        return int(state["best_epoch"]), [dict(record) for record in state["history"]]
    except (OSError, ValueError, KeyError, TypeError):
        return 0, []


def _series(epochs: Sequence[dict[str, Any]], tag: str) -> Series:
    values = (epoch.get(tag) for epoch in epochs)
    return tuple(float(value) if isinstance(value, int | float) else math.nan for value in values)


def curves_sheet(histories: Sequence[History]) -> Sheet:
    """A row a training: its epochs, and where the chosen one stands."""
    rows = []
    for history in histories:
        epochs = len(next(iter(history.losses.values()), ()))
        place = history.best_epoch - 1
        cells = (_at(history.validation.get(tag, ()), place) for tag in _VALIDATION)
        final = len(next(iter(history.final_losses.values()), ()))
        rows.append((history.label, str(epochs), str(history.best_epoch or "–"), str(final or "–"), *cells))
    header = ("model", "epochs", "chosen", "final epochs", *(label for label, _ in _VALIDATION.values()))
    return Sheet("the chosen epochs, on the validation slice", header, tuple(rows))


def _at(series: Series, place: int) -> str:
    known = 0 <= place < len(series) and not math.isnan(series[place])
    return f"{series[place]:.3f}" if known else "–"


def curves_svg(history: History) -> str:
    """Losses, and metrics on the validation slice, by epoch, as an ``<svg>`` element."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with rc_context(_STYLE):
        figure = Figure(figsize=(12.6, 3.2), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, 3)
        for tag, (label, colour) in _LOSSES.items():
            _draw(panels[0], history.losses.get(tag, ()), label, colour)
            shown = None if tag in history.losses else label
            _draw(panels[0], history.final_losses.get(tag, ()), shown, colour, final=True)
        for tag, (label, colour) in _VALIDATION.items():
            _draw(
                panels[2 if tag.endswith("/relevance") else 1],
                history.validation.get(tag, ()),
                label.partition(", ")[2],
                colour,
            )
        titles = ("losses (hollow: final stage)", "recall, validation slice", "relevance, validation slice")
        for panel, title in zip(panels, titles, strict=True):
            panel.set_title(title, loc="left", fontsize=9.5, color="#555555")
            panel.set_xlabel("epoch")
            panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            if history.best_epoch and history.losses:
                panel.axvline(history.best_epoch, color="#888888", linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
            if panel.get_legend_handles_labels()[0]:
                panel.legend(frameon=False, fontsize=8.5)
            else:
                panel.text(0.5, 0.5, "not measured", transform=panel.transAxes, ha="center", color="#777777")
        stream = io.BytesIO()
        figure.savefig(stream, format="svg", facecolor="white", metadata={"Date": None, "Creator": None})
    text = stream.getvalue().decode("utf-8")
    return text[text.index("<svg") :]


def _draw(panel: Any, series: Series, label: str | None, colour: str, *, final: bool = False) -> None:
    if any(not math.isnan(value) for value in series):
        panel.plot(
            range(1, len(series) + 1), series, ":" if final else "-", color=colour, label=label, marker="o",
            markersize=4.0, markerfacecolor="white" if final else colour, linewidth=1.6,
        )  # fmt: skip
