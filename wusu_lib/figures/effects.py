"""Differences between experiments with their intervals, beside what was predicted."""

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from wusu_lib.figures.captions import SPLITS_IN_WORDS, captioned
from wusu_lib.figures.theme import OUTCOMES, QUIET, SMALL, TEXT, THIS, open_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = ("experiment", "metric", "value", "low", "high", "threshold", "outcome", "stands")
_THRESHOLD = TEXT
_BEHIND: dict[str, Any] = {
    "facecolor": "white",
    "edgecolor": "none",
    "alpha": 0.8,
    "pad": 1,
}  # keeps text clear of lines


@styled
def effect(difference: Any, prediction: Any) -> "Figure":
    """One measured difference with its 95 % interval, the predicted threshold, and the line of no effect.

    ``difference``: value, low, high (NaN where there is no interval), metric, split. ``prediction``:
    direction ("rises" or "falls"), threshold (0 to 1), baseline (its name). The shaded side is what was
    predicted; a comparison without a prediction has a baseline only, and no threshold is drawn.
    """
    figure = open_figure(1.55)
    axes = figure.subplots()
    _interval(axes, 0, difference.value, difference.low, difference.high, THIS)
    text = f"{_signed(difference.value)}  [{_signed(difference.low)}, {_signed(difference.high)}]"
    if not math.isfinite(difference.low):
        text = f"{_signed(difference.value)}  (no interval: one block)"
    place: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "fontsize": 9}
    axes.annotate(text, (difference.value, 0), (0, 9), **place).set_bbox(_BEHIND)
    threshold = _threshold(prediction)
    shown = [] if threshold is None else [threshold]
    _limits(axes, [difference.value, difference.low, difference.high, *shown])
    axes.axvline(0, color=QUIET, linewidth=1)
    _name(axes, 0, "no effect", "left" if threshold is not None and threshold < 0 else "right")
    if threshold is not None:
        _predicted(axes, threshold)
    axes.set(ylim=(-0.6, 0.9), yticks=[])
    axes.set_xlabel(
        f"difference in {difference.split} {difference.metric} to {prediction.baseline} (95 % interval)"
    )
    axes.spines["left"].set_visible(False)
    caption = (
        f"Difference of the {SPLITS_IN_WORDS[difference.split]} {difference.metric} to "
        f"{prediction.baseline}: estimate and 95 % interval."
    )
    if threshold is None:
        return captioned(figure, "effect", caption, "Point with a horizontal interval, and a zero line.")
    return captioned(
        figure,
        "effect",
        f"{caption} The dashed line is the predicted difference.",
        "Point with a horizontal interval, a zero line and a dashed line at the predicted difference.",
    )


def _threshold(prediction: Any) -> float | None:
    """The predicted difference with its sign; None where nothing was predicted."""
    size = getattr(prediction, "threshold", None)
    return size if size is None or prediction.direction == "rises" else -size


def _predicted(axes: "Axes", threshold: float) -> None:
    """The predicted difference as a line, its side shaded."""
    edge = axes.get_xlim()[1 if threshold >= 0 else 0]
    axes.axvspan(threshold, edge, color="#e8f1f8", zorder=0)
    axes.axvline(threshold, color=_THRESHOLD, linestyle=(0, (4, 2)), linewidth=1.4)
    _name(axes, threshold, f"predicted {_signed(threshold)}", "left" if threshold >= 0 else "right")


@styled
def forest(rows: pd.DataFrame) -> "Figure":
    """One row an experiment: difference to its baseline with 95 % interval, predicted threshold, outcome.

    ``rows``: columns experiment, metric ("val mIoU"), value, low, high (NaN where there is no interval),
    threshold (signed: negative for a predicted fall), outcome (supported, refuted or inconclusive), stands
    (differs from 0 after Holm's adjustment: a filled dot). Each metric has its own panel and axis:
    differences of different measures cannot be held against each other. Raises ValueError on a missing
    column, an unknown outcome, or no row.
    """
    _check(rows)
    panels = list(rows.groupby("metric", sort=False))
    sizes = [len(part) + 1.6 for _, part in panels]
    figure = open_figure(0.42 * sum(sizes) + 0.5)
    grid = figure.subplots(len(panels), squeeze=False, height_ratios=sizes)
    for axes, (metric, part) in zip(grid[:, 0], panels, strict=True):
        _panel(axes, part, metric)
    figure.legend(handles=_handles(rows), loc="outside upper left", ncols=3)
    return captioned(
        figure,
        "forest",
        "Difference of each experiment to its baseline, with its 95 % interval. The tick is the difference "
        "that was predicted. A filled dot differs from 0 after Holm's adjustment. Each metric has an axis "
        "of its own.",
        "Forest plot: one row an experiment with estimate, interval and predicted difference, one panel a "
        "metric.",
    )


def _check(rows: pd.DataFrame) -> None:
    missing = [column for column in _COLUMNS if column not in rows]
    unknown = set(rows["outcome"]) - set(OUTCOMES) if not missing else set()
    if missing or unknown or rows.empty:
        what = (
            f"columns {missing} are missing"
            if missing
            else f"outcomes {sorted(unknown)}"
            if unknown
            else "no row"
        )
        raise ValueError(f"forest: {what}; expected columns {list(_COLUMNS)}, outcomes {list(OUTCOMES)}")


def _panel(axes: "Axes", rows: pd.DataFrame, metric: str) -> None:
    """The experiments that are judged by one metric."""
    for y, row in enumerate(rows.itertuples()):
        _interval(axes, y, row.value, row.low, row.high, OUTCOMES[row.outcome], row.stands)
        axes.plot([row.threshold] * 2, [y - 0.3, y + 0.3], color=_THRESHOLD, linewidth=2)
    _limits(axes, rows[["value", "low", "high", "threshold"]].to_numpy().ravel())
    axes.axvline(0, color=QUIET, linewidth=1, zorder=0)
    axes.set_yticks(range(len(rows)), rows["experiment"])
    axes.set(ylim=(len(rows) - 0.5, -0.5), xlabel=f"difference in {metric} to the baseline (95 % interval)")
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    _right_labels(axes, rows)


def _signed(value: float) -> str:
    """A difference with its sign, a true minus, three decimals: +0.034."""
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def _interval(
    axes: "Axes", y: float, value: float, low: float, high: float, colour: str, filled: bool = True
) -> None:
    axes.plot([low, high], [y, y], color=colour, linewidth=2.2, solid_capstyle="butt")
    axes.plot(value, y, color=colour, **_dot(colour, filled))


def _dot(colour: str, filled: bool) -> dict[str, Any]:
    edge, face = ("white", colour) if filled else (colour, "white")
    return {
        "marker": "o",
        "markersize": 8,
        "markeredgecolor": edge,
        "markerfacecolor": face,
        "markeredgewidth": 1.6,
    }


def _limits(axes: "Axes", values: Any) -> None:
    """Horizontal limits that hold zero and the values that are not NaN, with a margin on both sides."""
    known = [0.0, *(value for value in values if math.isfinite(value))]
    low, high = min(known), max(known)
    margin = 0.18 * ((high - low) or 0.01)
    axes.set_xlim(low - margin, high + margin)


def _name(axes: "Axes", x: float, text: str, side: str) -> None:
    """A vertical line's name, beside its lower end, on the side given."""
    shift = 4 if side == "left" else -4  # points; text aligned left stands right of the line
    place: dict[str, Any] = {"textcoords": "offset points", "ha": side, "fontsize": SMALL, "color": QUIET}
    axes.annotate(text, (x, -0.55), (shift, 2), **place)


def _right_labels(axes: "Axes", rows: pd.DataFrame) -> None:
    """Difference and outcome in words at the right end of each row, so that colour is not needed."""
    right = axes.secondary_yaxis("right")
    words = [f"{_signed(row.value)}  {row.outcome}" for row in rows.itertuples()]
    right.set_yticks(range(len(rows)), words)
    right.tick_params(length=0)
    right.spines["right"].set_visible(False)


def _handles(rows: pd.DataFrame) -> list[Any]:
    from matplotlib.lines import Line2D

    lines = [
        Line2D([], [], color=colour, label=outcome, **_dot(colour, True))
        for outcome, colour in OUTCOMES.items()
        if outcome in set(rows["outcome"])
    ]
    names = {True: "differs from 0 after Holm", False: "does not differ after Holm"}
    dots = [
        Line2D([], [], ls="", label=name, **_dot(_THRESHOLD, filled))
        for filled, name in names.items()
        if filled in set(rows["stands"])
    ]
    predicted = Line2D([], [], color=_THRESHOLD, marker="|", markersize=11, mew=2, ls="", label="predicted")
    return [*lines, *dots, predicted]
