"""Where changed ground came from and what it became: annotated and predicted flows at one scale."""

from typing import TYPE_CHECKING

import numpy as np

from wusu_lib import legend
from wusu_lib.change.transitions import COLOURS, FIRST, N_LABELS, SECOND
from wusu_lib.figures.captions import captioned
from wusu_lib.figures.theme import QUIET, SMALL, open_figure, short_count, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GAP = 0.025  # of the taller column's pixels, between two classes
_BAR = 0.05  # width of a class's bar; the axes run from 0 to 1
_NAMED = 0.012  # share of the taller column from which a class is named


@styled
def change_flows(matrix: np.ndarray, names: tuple[str, str] = ("Annotated", "Predicted")) -> "Figure":
    """Two diagrams of flows side by side: a ribbon a transition, as wide as its pixels, same scale in both.

    ``matrix``: int64 [111, 111] by from-to label, rows truth, columns prediction. The left bars of a diagram
    are the classes at the first date, the right bars those at the second; unchanged ground is left out. A
    ribbon has the colour of its transition. Raises ValueError where nothing changed in truth and prediction.
    """
    sides = [matrix.sum(axis=1), matrix.sum(axis=0)]
    tallest = max(int(side[1:].sum()) for side in sides)
    if not tallest:
        raise ValueError("change_flows: no pixel changed, in the truth or in the prediction")
    figure = open_figure(4.6)
    classes = max(len(np.unique(at[1:N_LABELS][side[1:] > 0])) for side in sides for at in (FIRST, SECOND))
    height = tallest * (1 + _GAP * (classes - 1))
    for axes, side, name in zip(figure.subplots(1, 2), sides, names, strict=True):
        axes.set(xlim=(-0.42, 1.42), ylim=(height, -0.02 * height))
        axes.set_axis_off()
        axes.set_title(f"{name}: {short_count(side[1:].sum())} px changed", loc="center")
        _diagram(axes, side, tallest)
    return captioned(
        figure,
        "flows",
        "Flows of changed ground on the validation pairs, annotated and predicted, at the same scale. Left "
        "bars: class at the earlier date; right bars: at the later date. A ribbon is as wide as its pixels.",
        "Two flow diagrams beside each other: annotated and predicted transitions between classes.",
    )


def _diagram(axes: "Axes", pixels: np.ndarray, tallest: int) -> None:
    """One diagram; pixels [111] by label."""
    labels = np.flatnonzero(pixels[1:] > 0) + 1
    left = _bars(axes, pixels, FIRST, tallest, 0.0, "right")
    right = _bars(axes, pixels, SECOND, tallest, 1.0 - _BAR, "left")
    for label in labels:
        first, second, width = int(FIRST[label]), int(SECOND[label]), float(pixels[label])
        _ribbon(axes, left[first], right[second], width, COLOURS[label])
        left[first] += width
        right[second] += width


def _bars(
    axes: "Axes", pixels: np.ndarray, at: np.ndarray, tallest: int, x: float, side: str
) -> dict[int, float]:
    """Draw and name a column of classes; gives each class's upper end."""
    from matplotlib.patches import Rectangle

    totals = np.bincount(at[1:N_LABELS], weights=pixels[1:], minlength=legend.N_INDEX)
    top, ends = 0.0, {}
    for index in np.flatnonzero(totals):
        ends[int(index)] = top
        colour = legend.COLOURS[index]
        axes.add_patch(
            Rectangle((x, top), _BAR, totals[index], facecolor=colour, edgecolor=QUIET, linewidth=0.5)
        )
        if totals[index] >= _NAMED * tallest:
            place = (x - 0.03, "right") if side == "right" else (x + _BAR + 0.03, "left")
            axes.text(
                place[0],
                top + totals[index] / 2,
                legend.NAMES[index],
                ha=place[1],
                va="center",
                fontsize=SMALL,
            )
        top += totals[index] + _GAP * tallest
    return ends


def _ribbon(axes: "Axes", left: float, right: float, width: float, colour: str) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    start, end, middle = _BAR, 1 - _BAR, 0.5
    points = [
        (start, left),
        (middle, left),
        (middle, right),
        (end, right),
        (end, right + width),
        (middle, right + width),
        (middle, left + width),
        (start, left + width),
        (start, left),
    ]
    codes = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3, Path.CLOSEPOLY]
    axes.add_patch(PathPatch(Path(points, codes), facecolor=colour, alpha=0.75, linewidth=0))
