"""What mIoU does not tell, drawn: the gap between training and validation, boundaries, objects by size."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from wusu_lib.figures.captions import captioned
from wusu_lib.figures.theme import BASELINE, QUIET, TEXT, THIS, open_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIDES = (("baseline", BASELINE), ("run", THIS))
SHOWN_AT = 2  # px: the distance at which boundary classes are drawn


def _names(runs: Sequence[Any], baseline: Sequence[Any]) -> dict[str, str]:
    return {side: runs_of[0].called for side, runs_of in (("run", runs), ("baseline", baseline))}


@styled
def gap(found: pd.DataFrame, runs: Sequence[Any], baseline: Sequence[Any]) -> "Figure":
    """Training and validation mIoU and loss of run and baseline; the line between them is the gap.

    ``found``: the frame of ``overfitting.gap``.
    """
    names = _names(runs, baseline)
    figure = open_figure(2.0)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (_, row) in zip(panels, found.iterrows(), strict=True):
        for y, (side, colour) in enumerate(_SIDES):
            train, val = row[f"{side} train"], row[f"{side} val"]
            axes.plot([train, val], [y, y], color=colour, linewidth=2.5, alpha=0.5)
            axes.plot(train, y, "o", color=colour, markersize=8, fillstyle="none", markeredgewidth=1.8)
            axes.plot(val, y, "o", color=colour, markersize=8)
            axes.annotate(f"gap {row[side]:+.3f}", ((train + val) / 2, y + 0.16), ha="center", color=TEXT)
        axes.set(xlabel={"mIoU": "mIoU (0 to 1)", "loss": "loss (nats)"}[row["measure"]], ylim=(-0.5, 1.7))
        axes.set_yticks(range(2), [names[side] for side, _ in _SIDES])
        axes.margins(x=0.15)
        axes.grid(axis="x")
    handles = [_dot(QUIET, "training", "none"), _dot(QUIET, "validation", "full")]
    figure.legend(handles=handles, loc="outside upper right", ncols=2)
    return captioned(
        figure,
        "gap",
        "mIoU (left) and loss (right) on the training patches (hollow) and on the validation patches "
        "(filled), for this experiment and its baseline.",
        "Two dumbbell charts: training and validation mIoU and loss of two experiments.",
    )


def _dot(colour: str, label: str, fill: Any = "full", marker: str = "o") -> Any:
    from matplotlib.lines import Line2D

    return Line2D(
        [], [], color=colour, marker=marker, linestyle="", markersize=8, fillstyle=fill, label=label
    )


@styled
def boundary(found: pd.DataFrame, runs: Sequence[Any], baseline: Sequence[Any]) -> "Figure":
    """Left: mean boundary IoU and boundary F by distance. Right: difference of boundary F by class at 2 px.

    ``found``: the frame of ``boundaries.compare``. Bars: 95 % intervals. Beside each class stands its
    annotated boundary; classes without one are left out.
    """
    from wusu_lib.boundaries import MACRO

    names = _names(runs, baseline)
    figure = open_figure(3.6)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.2))
    mean = found[found["class"] == MACRO]
    for (measure, rows), style in zip(mean.groupby("measure"), ("-", "--"), strict=True):
        for side, colour in _SIDES:
            label = f"{names[side]}, {measure}"
            left.plot(rows["distance"], rows[side], style, marker="o", color=colour, label=label)
    left.set(xlabel="distance (px)", ylabel="mean over classes (0 to 1)", xticks=[1, 2, 3], ylim=(0, None))
    left.grid(axis="y")
    at = (found["distance"] == SHOWN_AT) & (found["measure"] == "boundary F") & found["difference"].notna()
    _differences(right, found[at & (found["class"] != MACRO)])
    right.set_xlabel(f"boundary F at {SHOWN_AT} px: {names['run']} − {names['baseline']}")
    figure.legend(loc="outside upper left", ncols=2, handlelength=3.2)
    return captioned(
        figure,
        "boundaries",
        "Left: boundary F and boundary IoU by distance, means over the classes. Right: difference of the "
        "boundary F at 2 px by class, with 95 % intervals and the length of the annotated boundary.",
        "Line chart of boundary figures against distance, and a dot plot of differences by class with "
        "intervals.",
    )


def _differences(axes: "Axes", rows: pd.DataFrame) -> None:
    """Differences with their intervals, one line a class, the largest gain on top."""
    rows = rows.sort_values("difference")
    y = np.arange(len(rows))
    axes.axvline(0, color=QUIET, linewidth=1)
    axes.hlines(y, rows["low"], rows["high"], color=THIS, linewidth=2)
    axes.plot(rows["difference"], y, "o", color=THIS, markeredgecolor="white", markersize=7)
    axes.set_yticks(y, [f"{c} ({n:,} px)" for c, n in zip(rows["class"], rows["pixels"], strict=True)])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


@styled
def objects(found: pd.DataFrame, runs: Sequence[Any], baseline: Sequence[Any]) -> "Figure":
    """Share of buildings found by ground area, and of road pixels found by the road's width.

    ``found``: the frame of ``objects.compare``. Beside each size stands how many are annotated.
    """
    names = _names(runs, baseline)
    figure = open_figure(2.9)
    panels = figure.subplots(1, 2)
    titles = {"building": "Buildings found", "road": "Road pixels found"}
    for axes, (kind, rows) in zip(panels, found.groupby("kind"), strict=True):
        y = np.arange(len(rows))
        axes.hlines(y, rows["run"], rows["baseline"], color="#b8bcc2", linewidth=2.5, zorder=1)
        for side, colour in _SIDES:
            axes.plot(rows[side], y, "o", color=colour, markersize=8, markeredgecolor="white")
        sizes = rows["size"].str.replace("m2", "m²")
        axes.set_yticks(y, [f"{s} ({n:,})" for s, n in zip(sizes, rows["number"], strict=True)])
        axes.set(title=titles[str(kind)], xlim=(-0.03, 1.03), xlabel="recall (0 to 1)")
        axes.invert_yaxis()
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
    handles = [_dot(THIS, names["run"]), _dot(BASELINE, names["baseline"])]
    figure.legend(handles=handles, loc="outside upper right", ncols=2)
    return captioned(
        figure,
        "objects",
        "Share of the buildings found, by ground area, and of the road pixels found, by the road's width. "
        "In brackets: how many are annotated. A building is found if at least half of its pixels are.",
        "Two dot plots of recall by size for two experiments: buildings and roads.",
    )
