"""A training shown: the model's parts, its curves, and how calm its steps are."""

import math
from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, Rectangle
from matplotlib.ticker import MaxNLocator

from wusu_lib.pages.style import (
    QUIET,
    SMALL,
    TEXT,
    THIS,
    WIDTH,
    Group,
    Sentence,
    between,
    captioned,
    compared,
    counted,
    groups,
    legend_above,
    listed,
    open_figure,
    require,
    short_count,
    styled,
)

if TYPE_CHECKING:
    pass


# The model drawn as its parts, from the image to the class map.

_COLUMNS = ("part", "module", "parameters", "trainable", "output shape")
_STEP = 0.62  # inches from one box to the next
_BOX = 0.44  # inches, a box's height
_LEFT, _WIDE = 0.1, 4.7  # inches, the boxes
_TINTS = ("#f1f3f4", "#dceefb", "#d9f2e8", "#fdf0d5", "#fbe3d6")


@styled
def parts_figure(description: pd.DataFrame) -> Figure:
    """Block diagram of a model, top to bottom: one box a row, with parameters and output shape.

    ``description``: columns part, module, parameters (count), trainable (count), output shape (text, axes
    C,H,W), in the order in which the data pass them. The bar in a box is that part's share of all parameters.
    A row "total" becomes the line below. Raises ValueError where a column is missing or there is no row.
    """
    require(description, _COLUMNS, "parts")
    rows = description[description["part"] != "total"]
    height = _STEP * len(rows) + 0.35
    figure = open_figure(height)
    figure.set_layout_engine("none")  # the drawing fills the figure; coordinates are inches
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(height, 0))
    axes.set_axis_off()
    kinds = [str(part).split()[0] for part in rows["part"]]
    tints = {kind: _TINTS[i % len(_TINTS)] for i, kind in enumerate(dict.fromkeys(kinds))}
    for number, kind in enumerate(kinds):
        _box(axes, 0.1 + number * _STEP, rows.iloc[number], tints[kind], rows["parameters"].sum())
        if number:
            _arrow(axes, 0.1 + number * _STEP)
    total, trainable = (short_count(rows[column].sum()) or "0" for column in ("parameters", "trainable"))
    note = f"{total} parameters, {trainable} of them trained"
    axes.text(_LEFT + _WIDE, height - 0.18, note, ha="right", va="center", fontsize=9, color=TEXT)
    return captioned(
        figure,
        "model",
        "The model from the image (top) to the class scores (bottom). A bar shows the part's share of the "
        "parameters; the shape of what it passes on stands to the right.",
        f"Block diagram of the model, from top to bottom: {', '.join(rows['part'])}, with parameters and "
        "output shapes.",
    )


def _box(axes: Axes, top: float, row: pd.Series, tint: str, total: float) -> None:
    """One part: name and module, parameters and a bar of their share; to its right the output shape."""
    shape = FancyBboxPatch((_LEFT, top), _WIDE, _BOX, boxstyle="round,pad=0,rounding_size=0.06")
    shape.set(facecolor=tint, edgecolor=QUIET, linewidth=0.8)
    axes.add_patch(shape)
    middle = top + _BOX / 2
    axes.text(_LEFT + 0.1, middle, str(row["part"]), va="center", weight="bold", color=TEXT)
    axes.text(_LEFT + 1.0, middle, fill(str(row["module"]), 32), va="center", fontsize=SMALL, color=TEXT)
    maps = str(row["output shape"]).replace(" x ", " × ").replace(", ", "\n")  # a map a line
    axes.text(_LEFT + _WIDE + 0.12, middle, maps, va="center", fontsize=SMALL, color=TEXT)
    if row["parameters"]:
        _size(axes, top, row, row["parameters"] / max(total, 1))


def _size(axes: Axes, top: float, row: pd.Series, share: float) -> None:
    """A part's parameter count, whether it is frozen, and the bar of its share."""
    right = _LEFT + _WIDE - 0.1
    text = short_count(row["parameters"]) + ("" if row["trainable"] else " frozen")
    axes.text(right, top + _BOX / 2 - 0.06, text, va="center", ha="right", fontsize=9, color=TEXT)
    for length, colour in ((0.7, "white"), (0.7 * share, THIS)):
        axes.add_patch(Rectangle((right - 0.7, top + _BOX - 0.13), length, 0.06, facecolor=colour))


def _arrow(axes: Axes, top: float) -> None:
    """From the box above to the one that starts at ``top``."""
    style = {"arrowstyle": "-|>", "color": QUIET, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (0.6, top), (0.6, top - (_STEP - _BOX)), arrowprops=style)


# Learning curves: loss and a figure by epoch, of a run and what it is compared with, one line a seed.

_LOSSES = {"train/loss": "Training loss", "val/loss": "Validation loss"}


@styled
def training_curves_figure(
    runs: Sequence[Any],
    baseline_runs: Sequence[Any] = (),
    names: Sequence[str] | None = None,
    metric: str = "mIoU",
) -> Figure:
    """Training loss, validation loss and a validation figure by epoch; thin lines are seeds, thick ones
    means.

    ``runs``: objects with ``history`` (DataFrame: epoch, train/loss, val/loss, val/<metric>) and
    ``parameters``. A dot marks each seed's epoch of least validation loss, if it has one. The mean is drawn
    only over epochs that every seed reached, since early stopping would otherwise bend it. Runs with an
    empty history (no epochs) are left out. Raises ValueError where a history lacks a column, or where none
    has an epoch.
    """
    shown = {**_LOSSES, f"val/{metric}": f"Validation {metric}"}
    trained = [
        ([_history(run, shown) for run in group.runs if len(run.history)], group.name, group.colour)
        for group in groups(runs, baseline_runs, names)
    ]
    if not any(histories for histories, _, _ in trained):
        raise ValueError("training_curves: no run has a history; a classifier without epochs has no curve")
    figure = open_figure(3.0)
    panels = figure.subplots(1, 3)
    panels[1].sharey(panels[0])
    for axes, (column, title) in zip(panels, shown.items(), strict=True):
        for histories, name, colour in trained:
            if histories:
                _draw_curves(axes, histories, column, name, colour)
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
        axes.grid(axis="y")
    panels[0].set_ylabel("loss (cross-entropy, nats)")
    panels[2].set_ylabel(f"{metric} (0 to 1)")
    panels[2].set_ylim(bottom=0)
    handles, _ = panels[1].get_legend_handles_labels()
    best = Line2D([], [], marker="o", ls="", color=QUIET, markersize=4.5, label="least validation loss")
    figure.legend(handles=[*handles, best], loc="outside lower center", ncols=len(handles) + 1)
    return captioned(
        figure,
        "curves",
        f"Loss and validation {metric} by epoch, {compared(baseline_runs)}. The marked epoch has the lowest "
        "validation loss; its weights are kept.",
        f"Line charts of training loss, validation loss and validation {metric} against the epoch.",
    )


def curves_of_ways_figure(ways: Mapping[str, Sequence[Any]], metric: str) -> Figure:
    """``training_curves_figure`` of two ways to train the same network; ``ways``: name -> runs."""
    first, second = ways.values()
    return captioned(
        training_curves_figure(first, second, names=tuple(ways), metric=metric),
        "curves-of-ways",
        f"Loss and validation {metric} by epoch of two ways: {' and '.join(ways)}.",
        f"Line charts of training loss, validation loss and validation {metric} for two ways.",
    )


def _history(run: Any, columns: Iterable[str]) -> pd.DataFrame:
    """A run's history by epoch. Raises ValueError naming the columns that it lacks."""
    history = run.history
    missing = [c for c in ("epoch", *columns) if c not in history]
    if missing:
        raise ValueError(f"history lacks {missing}; it has {list(history.columns)}")
    return history.set_index("epoch").sort_index()


def _draw_curves(axes: Axes, histories: list[pd.DataFrame], column: str, name: str, colour: str) -> None:
    """One group's seeds, their mean, and a dot at each seed's epoch of least validation loss."""
    for history in histories:
        series = history[column].dropna()
        axes.plot(series.index, series, color=colour, linewidth=0.8, alpha=0.6)
        if history["val/loss"].notna().any():
            best = history["val/loss"].idxmin()
            place = (best, history.loc[best, column])
            axes.plot(*place, "o", color=colour, markersize=4.5, markeredgecolor="white")
    mean = pd.concat([history[column] for history in histories], axis=1, join="inner").mean(axis=1).dropna()
    seeds = f"{name} ({len(histories)} seed{'s' if len(histories) > 1 else ''})"
    axes.plot(mean.index, mean, color=colour, label=seeds)


def curves_sentence(runs: Sequence, baseline: Sequence = ()) -> Sentence:
    """Epochs, best epoch, the gap between training and validation loss at it, and which patches say so.

    The seeds of an experiment are told together.
    """
    trained = [run for run in [*runs, *baseline] if not run.history.empty]
    names = list(dict.fromkeys(run.called for run in trained))
    told = [_curves([run for run in trained if run.called == name]) for name in names]
    return Sentence(" ".join([*told, *_followed(trained)]))


def _followed(runs: Sequence) -> list[str]:
    """That the curves are of a part of the validation patches, where they are."""
    found = set()
    for run in runs:
        some, every = run.parameters.get("followed", 0), (run.confusion["split"] == "val").sum()
        if 0 < some < every:
            found.add(f"The curves are of {some:,} of the {every:,} validation patches, evenly spread.")
    return sorted(found)


def _curves(runs: Sequence) -> str:
    """The trainings of one experiment in two sentences."""
    epochs = [len(run.history) for run in runs]
    best = pd.DataFrame([run.history.loc[run.history["val/loss"].idxmin()] for run in runs])
    losses, gaps = best["val/loss"], best["val/loss"] - best["train/loss"]
    seeds = listed([str(run.seed) for run in runs])
    return (
        f"**{runs[0].called}** (seed{'s' if len(runs) > 1 else ''} {seeds}) trained for "
        f"{between(epochs, '{:g}')} epoch{'s' if max(epochs) > 1 else ''}. The validation loss was lowest "
        f"after epoch {between(best['epoch'], '{:g}')}, at {between(losses, '{:.3f}')}; less the training "
        f"loss of that epoch, that is {between(gaps, '{:+.3f}')}."
    )


# How calm a training is: step losses around their trend and spikes of the gradient norm, with intervals.
#
# Two measures of one run, from the loss and the gradient norm of each optimiser step:
#
# - **loss variance**: mean square of ``loss - trend``, in nats squared. The trend is the running median of 21
#   steps, which a single wild step does not move (Tukey 1977, Exploratory Data Analysis). On the scale of the
#   loss itself, not of its logarithm: batches differ by about as many nats early as late, so a relative
#   measure would call the training with the lower loss the less calm one.
# - **gradient spikes**: share of the steps whose gradient norm exceeds ``SPIKE`` times its running median.
#
# A run and its baseline that share seed and data see the same batches in the same order, and most of the
# variance comes from the batches: some are harder. So the two are compared step by step. The interval of
# the ratio of the variances and of the difference of the shares is the percentile interval of a moving-
# block bootstrap over steps, the same blocks for both (Kuensch 1989, Ann. Stat. 17(3), doi
# 10.1214/aos/1176347265), of n^(1/3) steps a block (Hall, Horowitz and Jing 1995, Biometrika 82(3), doi
# 10.1093/biomet/82.3.561). With several seeds, seeds are drawn with replacement too. ``shared`` is the
# squared correlation of the two runs' deviations: the part of the variance that the batches explain.

HALF_WINDOW = 10  # steps on each side of the one whose trend is asked for
SPIKE = 2.0  # times the running median
RESAMPLES = 5000
LEVEL = 0.95
COLUMNS = ["measure", "run", "baseline", "effect", "estimate", "low", "high", "steps", "seeds", "shared"]


class Deviations(NamedTuple):
    """Deviations at each step that has a whole window, [n]: loss minus trend (nats), spikes (0 or 1)."""

    loss: np.ndarray
    spikes: np.ndarray


def running_median(values: np.ndarray, half: int = HALF_WINDOW) -> np.ndarray:
    """Median of each value and ``half`` neighbours on each side: [n] -> [n - 2 half]."""
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(values, dtype=float), 2 * half + 1)
    return np.median(windows, axis=1)


def half_window(steps: int) -> int:
    """Half of the trend's window for so many steps: ``HALF_WINDOW``, less where they are few."""
    return min(HALF_WINDOW, steps // 7)


def deviations(steps: pd.DataFrame, n: int | None = None) -> Deviations:
    """Deviations of the first ``n`` steps (all) of a run's ``steps``: columns train/loss, gradient_norm."""
    loss, norm = (steps[column].to_numpy(float)[:n] for column in ("train/loss", "gradient_norm"))
    half = half_window(len(loss))
    inner = slice(half, len(loss) - half)
    spikes = norm[inner] > SPIKE * running_median(norm, half)
    return Deviations(loss[inner] - running_median(loss, half), spikes.astype(float))


def compare_stability(runs: Sequence[Any], baseline: Sequence[Any], seed: int = 0) -> pd.DataFrame:
    """One row a measure: its value for the runs and the baseline, and the effect with its interval.

    Columns: measure ("loss variance", "gradient spikes"), run, baseline (values, mean over seeds), effect
    ("ratio" run / baseline for the variance, "difference" run - baseline for the spikes), estimate, low, high
    (95 %), steps (a seed), seeds, shared (0 to 1). The steps are those that both trainings made; NaN where
    they are fewer than 15. ``runs`` and ``baseline``: objects with ``seed`` and ``steps``. Raises ValueError
    where their seeds differ.
    """
    pairs = _pairs(runs, baseline)
    length = min(len(side.steps) for pair in pairs for side in pair)
    if half_window(length) < 2:
        names = (("loss variance", "ratio"), ("gradient spikes", "difference"))
        return pd.DataFrame(
            [{"measure": m, "effect": e, "seeds": len(pairs)} for m, e in names], columns=COLUMNS
        )
    sides = [[deviations(side.steps, length) for side in pair] for pair in pairs]
    squares = np.array([[d.loss**2 for d in pair] for pair in sides])  # [S, 2, n]
    spikes = np.array([[d.spikes for d in pair] for pair in sides])
    draws = _resample(np.stack([squares, spikes]), np.random.default_rng(seed))  # [R, 2 measures, 2 sides]
    shared = np.mean([np.corrcoef(a.loss, b.loss)[0, 1] ** 2 for a, b in sides])
    common = {"steps": squares.shape[-1], "seeds": len(pairs), "shared": shared}
    ratio = {"measure": "loss variance", "effect": "ratio"}
    difference = {"measure": "gradient spikes", "effect": "difference"}
    rows = [
        ratio | _row(squares.mean(axis=(0, 2)), draws[:, 0], np.divide) | common,
        difference | _row(spikes.mean(axis=(0, 2)), draws[:, 1], np.subtract) | common,
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _pairs(runs: Sequence[Any], baseline: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Run and baseline of each seed."""
    mine, theirs = ({run.seed: run for run in side} for side in (runs, baseline))
    if not mine or mine.keys() != theirs.keys():
        raise ValueError(
            f"seeds: the runs have {sorted(mine)}, the baseline {sorted(theirs)}; expected the same"
        )
    return [(mine[seed], theirs[seed]) for seed in sorted(mine)]


def _resample(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Means of resampled steps and seeds: [measures, S, 2, n] -> [RESAMPLES, measures, 2]."""
    n_seeds, n = values.shape[1], values.shape[-1]
    block = max(1, round(n ** (1 / 3)))
    blocks = -(-n // block)
    windows = np.lib.stride_tricks.sliding_window_view(values, block, axis=-1)
    sums = windows.sum(axis=-1)  # [.., n - block + 1]
    picked = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=RESAMPLES) / n_seeds  # [R, S]
    total = np.zeros((RESAMPLES, len(values), 2))
    for number in range(n_seeds):
        starts = rng.integers(sums.shape[-1], size=(RESAMPLES, blocks))
        means = sums[:, number][..., starts].sum(axis=-1) / (blocks * block)  # [measures, 2, R]
        total += picked[:, number, None, None] * np.moveaxis(means, -1, 0)
    return total


def _row(values: np.ndarray, draws: np.ndarray, effect: np.ufunc) -> dict[str, Any]:
    """Both sides' values [2], the effect and its interval from draws [R, 2]."""
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    low, high = np.quantile(effect(draws[:, 0], draws[:, 1]), tails)
    return {"run": values[0], "baseline": values[1], "estimate": effect(*values), "low": low, "high": high}


# The steps of a training: loss around its trend, and gradient norms, of a run and its baseline.

_PANELS = (("train/loss", "step loss (nats)"), ("gradient_norm", "gradient norm"))


@styled
def step_losses_figure(
    runs: Sequence[Any], baseline_runs: Sequence[Any] = (), names: Sequence[str] | None = None
) -> Figure:
    """Loss (above) and gradient norm (below, log axis) of each optimiser step, each with its running median.

    ``runs``: objects with ``steps`` (DataFrame: step, train/loss, gradient_norm) and ``parameters``. Thin:
    the steps, a line a seed; thick: their running median (``running_median``). Dots: gradient norms
    above ``SPIKE`` times the median. Raises ValueError without runs.
    """
    figure = open_figure(4.6)
    panels = figure.subplots(2, 1, sharex=True)
    for group in groups(runs, baseline_runs, names):
        for axes, (column, _) in zip(panels, _PANELS, strict=True):
            for number, run in enumerate(group.runs):
                _draw_steps(axes, run, column, group, first=number == 0)
    for axes, (_, label) in zip(panels, _PANELS, strict=True):
        axes.set_ylabel(label)
        axes.grid(axis="y")
    panels[1].set(yscale="log", xlabel="step of the optimiser")
    panels[1].yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panels[1].yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    legend_above(figure, panels[0])
    return captioned(
        figure,
        "steps",
        "Loss (above) and gradient norm (below, logarithmic axis) of each step of the optimiser, with their "
        f"running medians over {2 * HALF_WINDOW + 1} steps. Dots mark gradient norms above "
        f"{SPIKE:g} times the running median.",
        "Two line charts over the steps of the trainings: loss with its trend, gradient norm with its "
        "running median.",
    )


def _draw_steps(axes: Axes, run: Any, column: str, group: Group, first: bool) -> None:
    """One run's steps and their running median; norms far above it are dots."""
    step, values = run.steps["step"].to_numpy(), run.steps[column].to_numpy(float)
    axes.plot(step, values, color=group.colour, linewidth=0.6, alpha=0.5)
    half = half_window(len(values))
    if half < 1:
        return
    inner = slice(half, len(values) - half)
    median = running_median(values, half)
    axes.plot(step[inner], median, color=group.colour, linewidth=2.2, label=group.name if first else None)
    if column == "gradient_norm":
        wild = values[inner] > SPIKE * median
        axes.plot(
            step[inner][np.flatnonzero(wild)], values[inner][wild], "o", color=group.colour, markersize=3.5
        )


def stability_sentence(found: pd.DataFrame, runs: Sequence, baseline: Sequence) -> Sentence:
    """Whether the step losses vary less than the baseline's, and how many gradient norms are spikes.

    ``found``: the frame of ``compare_stability``.
    """

    loss, spikes = found.iloc[0], found.iloc[1]
    name, base = (side[0].called for side in (runs, baseline))
    if math.isnan(loss["estimate"]):
        return Sentence("The trainings have too few steps to tell how calm they are.")
    seeds = f", {counted(int(loss['seeds']), 'seed')}"
    digits = _apart_from_one(loss["low"], loss["high"])
    interval = f"95 % interval {loss['low']:.{digits}f} to {loss['high']:.{digits}f}"
    points = [f"{100 * spikes[column]:+.1f}" for column in ("estimate", "low", "high")]
    return Sentence(
        f"Around its trend the step loss of **{name}** has a standard deviation of {loss['run'] ** 0.5:.3f} "
        f"nats, that of **{base}** {loss['baseline'] ** 0.5:.3f}. The ratio of the variances is "
        f"{loss['estimate']:.2f} ({interval}, {counted(int(loss['steps']), 'step')}{seeds}): "
        f"{_calmer(loss, name, base)} {loss['shared']:.0%} of the variance is common to both trainings. They "
        "saw the same batches, so this part comes from the batches. The gradient norm exceeds "
        f"{SPIKE:g} times its running median in {spikes['run']:.1%} of the steps, against "
        f"{spikes['baseline']:.1%} (difference {points[0]} points, 95 % interval {points[1]} to {points[2]})."
    )


def _apart_from_one(*ends: float) -> int:
    """As many digits, from two on, as it takes for no printed end to be 1 that is not."""
    return next((n for n in range(2, 16) if all(round(x, n) != 1 for x in ends if x != 1)), 16)


def _calmer(loss: pd.Series, name: str, base: str) -> str:
    if loss["high"] < 1:
        return f"the training of {name} is calmer."
    if loss["low"] > 1:
        return f"the training of {name} is less calm."
    return f"these steps do not show a difference in calmness between {name} and {base}."
