"""What the data are like: class balance, band histograms by date, class transitions."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from wusu_lib import legend
from wusu_lib.figures.captions import captioned
from wusu_lib.figures.theme import (
    BANDS,
    LINES,
    QUIET,
    SMALL,
    SPLITS,
    open_figure,
    short_count,
    styled,
    text_on,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = "osD^vP"


@styled
def class_balance(fractions: pd.DataFrame) -> "Figure":
    """Share of the pixels by class, on a log axis, one kind of marker a row of ``fractions``.

    ``fractions``: rows are what is compared (a split, a date; at most six), columns class names, values 0
    to 1 of all pixels. Classes are ordered by their mean; a class that a row does not have is drawn at the
    left edge, hollow. Raises ValueError on an unknown class name or more than six rows.
    """
    unknown = [name for name in fractions.columns if name not in legend.NAMES]
    if unknown or not 0 < len(fractions) <= len(LINES):
        raise ValueError(
            f"class_balance: unknown classes {unknown}, {len(fractions)} rows; "
            f"expected names of the legend and 1 to {len(LINES)} rows"
        )
    fractions = fractions[fractions.mean().sort_values(ascending=False).index]
    percent = 100 * fractions.to_numpy(dtype=float)
    floor = 10 ** np.floor(np.log10(percent[percent > 0].min()))
    figure = open_figure(0.3 * fractions.shape[1] + 1.0)
    axes = figure.subplots()
    shifts = 0.13 * (np.arange(len(fractions)) - (len(fractions) - 1) / 2)
    for number, (values, name) in enumerate(zip(percent, fractions.index, strict=True)):
        _balance_marks(axes, values, shifts[number], number, _words(name), floor)
    _balance_frame(axes, list(fractions.columns), floor)
    figure.legend(loc="outside upper right", ncols=min(len(fractions), 6), handletextpad=0.2)
    return captioned(
        figure,
        "classes",
        "Share of all pixels by class and split, unlabelled ground included; the axis is logarithmic.",
        "Dot plot of the share of pixels of each class in training, validation and test.",
    )


def _words(name: Any) -> str:
    """An index label as text: ("train", 15) becomes "train 15"."""
    return " ".join(str(part) for part in name) if isinstance(name, tuple) else str(name)


def _balance_marks(
    axes: "Axes", values: np.ndarray, shift: float, number: int, name: str, floor: float
) -> None:
    rows = np.arange(len(values)) + shift
    kind: dict[str, Any] = {
        "color": SPLITS.get(name, LINES[number]),
        "marker": _MARKERS[number],
        "linestyle": "",
        "markersize": 6,
    }
    seen = values > 0
    axes.plot(values[seen], rows[seen], markeredgecolor="white", markeredgewidth=0.5, label=name, **kind)
    if not seen.all():
        axes.plot(np.full((~seen).sum(), floor), rows[~seen], fillstyle="none", clip_on=False, **kind)


def _balance_frame(axes: "Axes", names: list[str], floor: float) -> None:
    """Log axis in percent, class names, and a strip of each class's own colour."""
    from matplotlib.patches import Rectangle

    kind = "all" if legend.UNLABELLED in names else "labelled"
    axes.set(
        xscale="log", xlim=(floor, 100), ylim=(len(names) - 0.5, -0.5), xlabel=f"share of {kind} pixels (%)"
    )
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0, pad=22)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    for row, name in enumerate(names):
        colour = legend.COLOURS[legend.NAMES.index(name)]
        corner = (-0.034, row - 0.32)
        style: dict[str, Any] = {"facecolor": colour, "edgecolor": QUIET, "linewidth": 0.5, "clip_on": False}
        axes.add_patch(Rectangle(corner, 0.016, 0.64, transform=axes.get_yaxis_transform(), **style))


@styled
def band_histograms(statistics: Any) -> "Figure":
    """Histogram of each band's counts (0 to 255) by date: how far apart the dates' radiometry is.

    ``statistics``: ``bands`` int64 [date, band, 256] and ``dates`` [date] (two-digit years), as
    measured. Each histogram is a share of that date's pixels; a tick on the axis marks its mean.
    """
    figure = open_figure(4.4)
    grid = figure.subplots(2, 2, sharex=True, sharey=True)
    counts = np.arange(256)
    for band, axes in enumerate(grid.flat):
        for date, histogram, colour in zip(statistics.dates, statistics.bands[:, band], LINES, strict=False):
            share = 100 * histogram / max(histogram.sum(), 1)
            mean = float((histogram * counts).sum() / max(histogram.sum(), 1))
            axes.plot(counts, share, color=colour, linewidth=1.4, label=f"20{int(date):02d}")
            marker: dict[str, Any] = {"marker": "^", "markersize": 7, "clip_on": False, "zorder": 3}
            axes.plot(mean, 0, color=colour, transform=axes.get_xaxis_transform(), **marker)
        axes.set_title(BANDS[band])
        axes.set(xlim=(0, 255), ylim=(0, None), xticks=range(0, 256, 50))
        axes.grid(axis="y")
    figure.supxlabel("count (0 to 255; the triangle is the mean)", fontsize=10)
    figure.supylabel("share of pixels (% per count)", fontsize=10)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=len(labels))
    return captioned(
        figure,
        "bands",
        "Distribution of the counts of each band at each date, training images only.",
        "Four panels with the histograms of blue, green, red and near infrared by date.",
    )


@styled
def from_to(counts: pd.DataFrame) -> "Figure":
    """Heat map of class transitions: pixels of each class (rows) that became each class (columns).

    ``counts``: pixels, rows the earlier class and columns the later one, both class names. Colour is log of
    the changed pixels; pixels that kept their class (the diagonal) are many more, so they are written but
    not coloured. Cells give pixels in short form (1.2k = 1,200). Where nothing changed, or nothing is
    labelled at two dates, the figure says so in words.
    """
    values = counts.to_numpy(dtype=float)
    same = counts.index.to_numpy()[:, None] == counts.columns.to_numpy()[None, :]
    figure = open_figure(6.1)
    axes = figure.subplots()
    _transitions(axes, values, same)
    axes.set_xticks(range(values.shape[1]), counts.columns, rotation=45, ha="right")
    axes.set_yticks(range(values.shape[0]), counts.index)
    axes.set(xlabel="Later class", ylabel="Earlier class")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if axes.images:
        bar = figure.colorbar(axes.images[0], ax=axes, shrink=0.6, aspect=30, pad=0.01)
        bar.set_label("changed pixels")
        bar.outline.set_visible(False)
    return captioned(
        figure,
        "fromto",
        "Pixels of the training patches by class at the earlier date (rows) and the later date (columns), "
        "all intervals together. Unchanged ground stands in grey on the diagonal.",
        "Heat map of the transitions between classes.",
    )


def _transitions(axes: "Axes", values: np.ndarray, same: np.ndarray) -> None:
    """Cells of the heat map; those of unchanged pixels stay white with grey text."""
    from matplotlib.colors import LogNorm

    changed = np.where(same | (values <= 0), np.nan, values)
    if np.isfinite(changed).any():
        low, high = np.nanmin(changed), np.nanmax(changed)
        shown = axes.imshow(changed, cmap="YlGnBu", norm=LogNorm(low, max(high, low * 10)), aspect="auto")
    else:
        axes.set(xlim=(-0.5, values.shape[1] - 0.5), ylim=(values.shape[0] - 0.5, -0.5))
        axes.set_title("No pixel changed its class" if values.sum() else "No ground is labelled at two dates")
    for (row, column), value in np.ndenumerate(values):
        kept = same[row, column]
        ink = QUIET if kept or value <= 0 else text_on(shown.cmap(shown.norm(value)))
        axes.text(column, row, short_count(value), ha="center", va="center", color=ink, fontsize=SMALL)
