"""Several ways of finding change, figure by figure."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from wusu_lib.figures.captions import captioned
from wusu_lib.figures.theme import LINES, SMALL, open_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = ("way", "figure", "value", "low", "high")
_ACROSS = 3  # panels in a row


@styled
def change_ways(rows: pd.DataFrame) -> "Figure":
    """One panel a figure, in it one line a way: its value with the 95 % interval.

    ``rows``: columns way, figure, value, low, high (of ``change.ways.intervals``); a way without a figure has
    no mark in its panel. Raises ValueError on a missing column or no row.
    """
    missing = [column for column in _COLUMNS if column not in rows]
    if missing or rows.empty:
        what = f"columns {missing} are missing" if missing else "there is no row"
        raise ValueError(f"change_ways: {what}; expected at least one row with columns {list(_COLUMNS)}")
    names, ways = list(dict.fromkeys(rows["figure"])), list(dict.fromkeys(rows["way"]))
    across = min(_ACROSS, len(names))
    down = -(-len(names) // across)
    figure = open_figure(down * (0.28 * len(ways) + 0.6))
    panels = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
    for axes, name in zip(panels, names, strict=False):
        _draw(axes, rows[rows["figure"] == name], ways)
        axes.set_title(name)
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    panels[0].set_yticks(range(len(ways)), ways)
    panels[0].set_ylim(len(ways) - 0.5, -0.5)
    return captioned(
        figure,
        "figures",
        "Figures of change on the validation pairs with their 95 % intervals from the block bootstrap. A "
        "way without classes has no mark under the figures that need them.",
        f"Panels of dots with intervals: {len(ways)} ways of finding change by {', '.join(names)}.",
    )


def _draw(axes: "Axes", rows: pd.DataFrame, ways: list[str]) -> None:
    """One figure of all ways; the value stands above its mark."""
    for row in rows.itertuples():
        y = ways.index(row.way)
        colour = LINES[y % len(LINES)]
        axes.plot([row.low, row.high], [y, y], color=colour, linewidth=2.2, solid_capstyle="butt")
        axes.plot(row.value, y, "o", color=colour, markersize=6, markeredgecolor="white")
        place: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "fontsize": SMALL}
        value = f"{row.value:.2f}".replace("-", "\N{MINUS SIGN}")
        axes.annotate(value, (row.value, y), (0, 5), **place)
    lowest = min(0.0, rows["low"].min()) if rows["low"].notna().any() else 0.0
    axes.set_xlim(lowest, max(rows[["value", "high"]].max().max() * 1.1, lowest + 0.05))
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
