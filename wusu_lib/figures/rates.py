"""Rates counted in simulations, with the interval of each count, against what varies between them."""

from typing import TYPE_CHECKING

import pandas as pd

from wusu_lib.figures.captions import captioned
from wusu_lib.figures.theme import LINES, QUIET, SMALL, open_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MARKERS = ("o", "s", "^")
_DODGE = 0.08  # of the step between two places, so that intervals do not hide each other


@styled
def rates(rows: pd.DataFrame, across: str, by: str, xlabel: str, ylabel: str, line: float) -> "Figure":
    """One line a group: rate with its 95 % interval, at evenly spaced places.

    ``rows``: columns rate, low, high (0 to 1), ``across`` (the places) and ``by`` (the groups). ``line``: a
    rate to hold against, drawn dashed. Raises ValueError on a missing column or no row.
    """
    expected = [across, by, "rate", "low", "high"]
    missing = [column for column in expected if column not in rows]
    if missing or rows.empty:
        what = f"columns {missing} are missing" if missing else "there is no row"
        raise ValueError(f"rates: {what}; expected at least one row with columns {expected}")
    figure = open_figure(3.2)
    axes = figure.subplots()
    places = {value: i for i, value in enumerate(sorted(rows[across].unique()))}
    for number, (name, part) in enumerate(rows.groupby(by, sort=False)):
        x = part[across].map(places) + _DODGE * (number - (rows[by].nunique() - 1) / 2)
        ends = [100 * (part["rate"] - part["low"]), 100 * (part["high"] - part["rate"])]
        look = {"color": LINES[number], "marker": _MARKERS[number % 3], "capsize": 3, "label": name}
        axes.errorbar(x, 100 * part["rate"], ends, **look)
    axes.axhline(100 * line, color=QUIET, linestyle=(0, (4, 2)), linewidth=1.2)
    axes.annotate(
        f"{line:.0%}", (1, 100 * line), (3, 0), ("axes fraction", "data"), "offset points",
        va="center", fontsize=SMALL, color=QUIET,
    )  # fmt: skip
    axes.set_xticks(list(places.values()), [f"{value:g}" for value in places])
    axes.set(xlabel=xlabel, ylabel=ylabel, ylim=(0, 102))
    axes.grid(axis="y")
    figure.legend(loc="outside upper left", ncols=3)
    return figure


def false_differences(rows: pd.DataFrame) -> "Figure":
    """``rates`` of ``compare.simulation.by_length``."""
    across, what = "length over which errors are alike (m)", "false differences (% of pairs)"
    return captioned(
        rates(rows, "length", "resampled", across, what, 0.05),
        "lengths",
        "Pairs of equal methods whose interval leaves out 0, with the 95 % interval of each count, by the "
        "length over which errors are alike. Dashed: the promised 5 %.",
        "Two lines over the lengths: the rate of false differences for blocks and for single images.",
    )


def found_gains(rows: pd.DataFrame) -> "Figure":
    """``rates`` of ``compare.simulation.by_gain``."""
    return captioned(
        rates(rows, "gain", "ground", "planted gain (mIoU)", "found (% of pairs)", 0.8),
        "gains",
        "Pairs in which the better method is found to be better, by the planted gain of mIoU, on all of the "
        "test folder and on the validation half. Dashed: 80 %.",
        "Two lines over the planted gain: how often it is found on the whole folder and on the half.",
    )


def with_seeds(rows: pd.DataFrame) -> "Figure":
    """``rates`` of ``compare.simulation.by_seeds``."""
    what = "interval leaves out 0 (% of pairs)"
    return captioned(
        rates(rows, "seeds", "methods", "seeds of each method", what, 0.05),
        "seeds",
        "Equal methods whose interval leaves out 0, and better methods that are found, by the number of "
        "seeds. Dashed: the promised 5 % for equal methods.",
        "Two lines over the number of seeds: false differences and found gains.",
    )
