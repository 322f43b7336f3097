"""Puts labels beside points of a picture where they hide neither each other nor what is drawn."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_DISTANCES: Final = (9.0, 16.0, 26.0, 40.0, 58.0, 80.0)
"""From the point to the label, in points."""
_DIRECTIONS: Final = (0, 30, -30, 60, -60, 90, -90, 120, -120, 150, -150, 180)
"""In degrees, the best first."""
_WAYS: Final = [(distance, angle) for distance in _DISTANCES for angle in _DIRECTIONS]
_LEADER: Final = 20.0
"""From this distance on a thin line leads to the point."""

Label = tuple[str, tuple[float, float], str, bool]
"""Text, the point in data coordinates, colour, and whether it is emphasised."""


def place_labels(figure: Any, panel: Any, labels: Sequence[Label]) -> None:
    """Adds the labels to a panel, the first ones first; each takes the first free place around its point.

    The figure's layout has to be settled, and the panel's limits too.
    """
    renderer = figure.canvas.get_renderer()
    pixels = figure.dpi / 72.0
    reach = 4.0 * pixels
    obstacles = np.array([(x - reach, y - reach, x + reach, y + reach) for x, y in _drawn(panel)]).reshape(-1, 4)
    frame = panel.get_window_extent(renderer)
    for text, place, colour, emphasised in labels:
        at = panel.transData.transform(place)
        note = panel.annotate(
            text, place, xytext=(0, 0), textcoords="offset points", color=colour, zorder=6,
            fontsize=10.5 if emphasised else 8.5, fontweight="bold" if emphasised else "normal",
            ha="center", va="center",
        )  # fmt: skip
        size = note.get_window_extent(renderer)
        width, height = size.width + 2.0 * pixels, size.height
        boxes = np.array([_box(at, way, width, height, pixels) for way in _WAYS])
        place_of_best = int(np.argmin(_hidden(boxes, obstacles, frame)))
        best, box = _WAYS[place_of_best], boxes[place_of_best]
        obstacles = np.vstack([obstacles, box])
        centre = (0.5 * (box[0] + box[2]), 0.5 * (box[1] + box[3]))
        note.set_position(((centre[0] - at[0]) / pixels, (centre[1] - at[1]) / pixels))
        if best[0] >= _LEADER:
            edge = (min(max(at[0], box[0]), box[2]), min(max(at[1], box[1]), box[3]))
            panel.annotate(
                "", place, xytext=((edge[0] - at[0]) / pixels, (edge[1] - at[1]) / pixels),
                textcoords="offset points", zorder=1,
                arrowprops={"arrowstyle": "-", "color": colour, "alpha": 0.5, "linewidth": 0.7},
            )  # fmt: skip


_Box = tuple[float, float, float, float]
"""Left, low, right, high, in pixels."""
_Boxes = NDArray[np.float64]
"""[n, 4]."""


def _drawn(panel: Any) -> list[tuple[float, float]]:
    """Pixels of what is drawn: all vertices, and the way between them in steps."""
    found: list[tuple[float, float]] = []
    for line in panel.get_lines():
        vertices = panel.transData.transform(line.get_xydata())
        found += [(float(x), float(y)) for x, y in vertices]
        if line.get_linestyle() not in ("none", "None"):
            for (x, y), (to_x, to_y) in itertools.pairwise(vertices):
                steps = int(math.hypot(to_x - x, to_y - y) / 6.0)
                found += [(x + (to_x - x) * s / steps, y + (to_y - y) * s / steps) for s in range(1, steps)]
    return found


def _box(at: Any, way: tuple[float, float], width: float, height: float, pixels: float) -> _Box:
    """The label's box when its nearest side is ``way`` (distance, angle) from the point."""
    across, up = math.cos(math.radians(way[1])), math.sin(math.radians(way[1]))
    x = at[0] + across * (way[0] * pixels + 0.5 * width)
    y = at[1] + up * (way[0] * pixels + 0.5 * height)
    return x - 0.5 * width, y - 0.5 * height, x + 0.5 * width, y + 0.5 * height


def _hidden(boxes: _Boxes, obstacles: _Boxes, frame: Any) -> NDArray[np.int64]:
    """How many things each box hides; being out of the frame is worse than anything."""
    left, low, right, high = (side[:, np.newaxis] for side in boxes.T)
    their_left, their_low, their_right, their_high = obstacles.T
    hides = (left < their_right) & (their_left < right) & (low < their_high) & (their_low < high)
    outside = (boxes[:, :2] < [frame.x0, frame.y0]).any(axis=1) | (boxes[:, 2:] > [frame.x1, frame.y1]).any(axis=1)
    found: NDArray[np.int64] = hides.sum(axis=1) + 1000 * outside
    return found
