"""Several differences below each other, each with its 95 % interval: variants, steps, gains."""

import math
from typing import TYPE_CHECKING

import pandas as pd

from wusu_lib.figures.captions import SPLITS_IN_WORDS, captioned
from wusu_lib.figures.theme import QUIET, THIS, open_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = ("experiment", "value", "low", "high")


@styled
def intervals(rows: pd.DataFrame, what: str) -> "Figure":
    """One row a difference, its value in words at the right end; a line where there is no difference.

    ``rows``: columns experiment (the row's label), value, low, high (NaN where there is no interval).
    ``what`` names the quantity below the axis, with its unit. Without a row it says so in words. Raises
    ValueError on a missing column.
    """
    missing = [column for column in _COLUMNS if column not in rows]
    if missing:
        raise ValueError(f"intervals: columns {missing} are missing; expected {list(_COLUMNS)}")
    figure = open_figure(0.38 * len(rows) + 0.9)
    axes = figure.subplots()
    if rows.empty:
        axes.set_axis_off()
        axes.set_title("Nothing to compare with these parameters")
        return figure
    for y, row in enumerate(rows.itertuples()):
        axes.plot([row.low, row.high], [y, y], color=THIS, linewidth=2.2, solid_capstyle="butt")
        axes.plot(row.value, y, "o", color=THIS, markersize=7, markeredgecolor="white")
    axes.axvline(0, color=QUIET, linewidth=1, zorder=0)
    axes.set_yticks(range(len(rows)), rows["experiment"])
    axes.set(ylim=(len(rows) - 0.5, -0.5), xlabel=f"{what} (95 % interval)")
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(len(rows)), [_words(row) for row in rows.itertuples()])
    right.tick_params(length=0)
    right.spines["right"].set_visible(False)
    return figure


def variants(rows: pd.DataFrame, split: str, metric: str) -> "Figure":
    """``intervals`` of variants of an experiment; ``rows``: of ``variants.effects``."""
    return captioned(
        intervals(rows, f"difference in {split} {metric} to this run"),
        "variants",
        f"Variants of this experiment: difference of the {SPLITS_IN_WORDS[split]} {metric} to the run "
        "itself, with 95 % intervals. A variant left of the line is worse.",
        "Rows of points with horizontal intervals around a zero line, one for each variant.",
    )


def cleaning_gains(rows: pd.DataFrame, metric: str) -> "Figure":
    """``intervals`` of the steps of cleaning; ``rows``: of ``change.steps.gains``."""
    return captioned(
        intervals(rows, f"difference in {metric}"),
        "steps",
        "Gain of each step over the maps without it, on validation and on test: estimate and 95 % interval.",
        "Points with horizontal intervals, one row a step, and a zero line.",
    )


def over_two_stages(rows: pd.DataFrame, metric: str, baseline: str) -> "Figure":
    """``intervals`` of direct ways; ``rows``: of ``change.ways.differences``, ``baseline``: its name."""
    return captioned(
        intervals(rows, f"difference in val {metric} to {baseline}"),
        "over-two-stages",
        f"{metric} on the validation pairs: difference of each direct network to the two-stage way of "
        f"{baseline}, with its paired 95 % interval.",
        f"Dots with intervals: the difference of each direct network to the two-stage way in {metric}.",
    )


def _words(row) -> str:  # type: ignore[no-untyped-def]  # a row of pandas' itertuples
    """Value and interval, as in +0.034 [+0.010, +0.058], with a true minus."""
    ends = f" [{row.low:+.3f}, {row.high:+.3f}]" if math.isfinite(row.low) else ""
    return f"{row.value:+.3f}{ends}".replace("-", "\N{MINUS SIGN}")
