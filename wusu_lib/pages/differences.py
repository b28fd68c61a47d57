"""Differences with their intervals beside what was predicted, and what such an interval is worth."""

import math
from typing import Any, Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from wusu_lib.measures.verdict import design, signs_kept
from wusu_lib.pages.style import (
    LINES,
    OUTCOMES,
    QUIET,
    SMALL,
    SPLITS_IN_WORDS,
    TEXT,
    THIS,
    Sentence,
    captioned,
    counted,
    figure_in_words,
    listed,
    named_rows,
    open_figure,
    require,
    styled,
)

_EFFECTS_COLUMNS = ("experiment", "metric", "value", "low", "high", "threshold", "outcome", "stands")
_THRESHOLD = TEXT
# Behind a text, to keep it clear of lines.
_BEHIND: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}


@styled
def effect_figure(difference: Any, prediction: Any) -> Figure:
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
        text = f"{_signed(difference.value)}  (no interval)"
    at = 0 if math.isnan(difference.value) else difference.value
    place: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "fontsize": 9}
    axes.annotate(text, (at, 0), (0, 9), **place).set_bbox(_BEHIND)
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


def _predicted(axes: Axes, threshold: float) -> None:
    """The predicted difference as a line, its side shaded."""
    edge = axes.get_xlim()[1 if threshold >= 0 else 0]
    axes.axvspan(threshold, edge, color="#e8f1f8", zorder=0)
    axes.axvline(threshold, color=_THRESHOLD, linestyle=(0, (4, 2)), linewidth=1.4)
    _name(axes, threshold, f"predicted {_signed(threshold)}", "left" if threshold >= 0 else "right")


@styled
def forest_figure(rows: pd.DataFrame) -> Figure:
    """One row an experiment: difference to its baseline with 95 % interval, predicted threshold, outcome.

    ``rows``: columns experiment, metric ("val mIoU"), value, low, high (NaN where there is no interval),
    threshold (signed: negative for a predicted fall), outcome (supported, refuted or inconclusive), stands
    (differs from 0 after Holm's adjustment: a filled dot). Each metric has its own panel and axis:
    differences of different measures cannot be held against each other. Raises ValueError on a missing
    column, an unknown outcome, or no row.
    """
    require(rows, _EFFECTS_COLUMNS, "forest")
    if unknown := set(rows["outcome"]) - set(OUTCOMES):
        raise ValueError(f"forest: outcomes {sorted(unknown)}; expected outcomes {list(OUTCOMES)}")
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


def _panel(axes: Axes, rows: pd.DataFrame, metric: str) -> None:
    """The experiments that are judged by one metric."""
    for y, row in enumerate(rows.itertuples()):
        _interval(axes, y, row.value, row.low, row.high, OUTCOMES[row.outcome], row.stands)
        axes.plot([row.threshold] * 2, [y - 0.3, y + 0.3], color=_THRESHOLD, linewidth=2)
    _limits(axes, rows[["value", "low", "high", "threshold"]].to_numpy().ravel())
    axes.axvline(0, color=QUIET, linewidth=1, zorder=0)
    words = [f"{_signed(row.value)}  {row.outcome}" for row in rows.itertuples()]  # colour is not needed
    named_rows(axes, rows["experiment"], f"difference in {metric} to the baseline (95 % interval)", words)


def _signed(value: float) -> str:
    """A difference with its sign, a true minus, three decimals: +0.034."""
    return figure_in_words(value, "+.3f").replace("-", "\N{MINUS SIGN}")


def _interval(
    axes: Axes, y: float, value: float, low: float, high: float, colour: str, filled: bool = True
) -> None:
    axes.plot([low, high], [y, y], color=colour, linewidth=2.2, solid_capstyle="butt")
    axes.plot(value, y, color=colour, **_dot(colour, filled))


def _dot(colour: str, filled: bool) -> dict[str, Any]:
    edge, face = ("white", colour) if filled else (colour, "white")
    look = {"marker": "o", "markersize": 8, "markeredgewidth": 1.6}
    return look | {"markeredgecolor": edge, "markerfacecolor": face}


def _limits(axes: Axes, values: Any) -> None:
    """Horizontal limits that hold zero and the values that are not NaN, with a margin on both sides."""
    known = [0.0, *(value for value in values if math.isfinite(value))]
    low, high = min(known), max(known)
    margin = 0.18 * ((high - low) or 0.01)
    axes.set_xlim(low - margin, high + margin)


def _name(axes: Axes, x: float, text: str, side: str) -> None:
    """A vertical line's name, beside its lower end, on the side given."""
    shift = 4 if side == "left" else -4  # points; text aligned left stands right of the line
    place: dict[str, Any] = {"textcoords": "offset points", "ha": side, "fontsize": SMALL, "color": QUIET}
    axes.annotate(text, (x, -0.55), (shift, 2), **place)


def _handles(rows: pd.DataFrame) -> list[Any]:
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


# Several differences below each other, each with its 95 % interval: variants, steps, gains.

_INTERVALS_COLUMNS = ("experiment", "value", "low", "high")


@styled
def intervals_figure(rows: pd.DataFrame, what: str) -> Figure:
    """One row a difference, its value in words at the right end; a line where there is no difference.

    ``rows``: columns experiment (the row's label), value, low, high (NaN where there is no interval).
    ``what`` names the quantity below the axis, with its unit. Without a row it says so in words. Raises
    ValueError on a missing column.
    """
    require(rows, _INTERVALS_COLUMNS, "intervals", empty=True)
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
    words = [_words(row) for row in rows.itertuples()]
    named_rows(axes, rows["experiment"], f"{what} (95 % interval)", words)
    return figure


def variants_figure(rows: pd.DataFrame, split: str, metric: str) -> Figure:
    """``intervals_figure`` of variants of an experiment; ``rows``: of ``experiment.variant_effects``."""
    return captioned(
        intervals_figure(rows, f"difference in {split} {metric} to this run"),
        "variants",
        f"Variants of this experiment: difference of the {SPLITS_IN_WORDS[split]} {metric} to the run "
        "itself, with 95 % intervals. A variant left of the line is worse.",
        "Rows of points with horizontal intervals around a zero line, one for each variant.",
    )


def cleaning_gains_figure(rows: pd.DataFrame, metric: str) -> Figure:
    """``intervals_figure`` of the steps of cleaning; ``rows``: of ``analysis.step_gains``."""
    return captioned(
        intervals_figure(rows, f"difference in {metric}"),
        "steps",
        "Gain of each step over the maps without it, on validation and on test: estimate and 95 % interval.",
        "Points with horizontal intervals, one row a step, and a zero line.",
    )


def over_two_stages_figure(rows: pd.DataFrame, metric: str, baseline: str) -> Figure:
    """``intervals_figure`` of direct ways; ``rows``: of ``analysis.method_differences`` to ``baseline``."""
    return captioned(
        intervals_figure(rows, f"difference in val {metric} to {baseline}"),
        "over-two-stages",
        f"{metric} on the validation pairs: difference of each direct network to the two-stage way of "
        f"{baseline}, with its paired 95 % interval.",
        f"Dots with intervals: the difference of each direct network to the two-stage way in {metric}.",
    )


def _words(row) -> str:  # type: ignore[no-untyped-def]  # a row of pandas' itertuples
    """Value and interval, as in +0.034 [+0.010, +0.058], with a true minus."""
    ends = f" [{row.low:+.3f}, {row.high:+.3f}]" if math.isfinite(row.low) else ""
    return f"{figure_in_words(row.value, '+.3f')}{ends}".replace("-", "\N{MINUS SIGN}")


# Which of several differences are surely above zero, which below, and which may be either.


def differences_sentence(rows: pd.DataFrame, metric: str, baseline: str, noun: str) -> Sentence:
    """Which sides beat the baseline on one figure, which fall behind, and where the interval holds zero.

    ``rows`` as of ``comparison.differences``; ``noun``: what is counted in n_patches, "patch" or "pair".
    """
    if rows.empty:
        return Sentence("There is nothing to compare with these parameters.")
    better, worse = rows[rows["low"] > 0], rows[rows["high"] < 0]
    none = rows[rows["low"].isna()]
    unclear = rows.drop([*better.index, *worse.index, *none.index])
    parts = [
        f"{_each(part)} {'has' if len(part) == 1 else 'have'} a {side} {metric} than {baseline}"
        for part, side in ((better, "higher"), (worse, "lower"))
        if len(part)
    ]
    if len(unclear):
        parts.append(f"for {_each(unclear)} the interval holds zero, so nothing can be said")
    if len(none):
        parts.append(f"for {_each(none)} there is no interval")
    text, n = "; ".join(parts), rows.iloc[0]
    return Sentence(
        f"{text[:1].upper()}{text[1:]}. Each difference rests on {counted(int(n['n_patches']), noun)} in "
        f"{counted(int(n['n_blocks']), 'block')} and {counted(int(n['n_seeds']), 'seed')}."
    )


def variants_sentence(effects: pd.DataFrame, metric: str = "mIoU") -> Sentence:
    """``differences_sentence`` of variants of an experiment (``experiment.variant_effects``) to the run."""
    return differences_sentence(effects, metric, "the run itself", "patch")


def _each(rows: pd.DataFrame) -> str:
    """The sides with their differences."""
    words = [
        f"*{row.experiment}* ({figure_in_words(row.value, f'+.{signs_kept(row.value)}f')})"
        for row in rows.itertuples()
    ]
    return listed([word.replace("-", "\N{MINUS SIGN}") for word in words])


LEAST_GAIN = 0.02  # of the metric: what a design is asked to find


def design_sentence(exp: Any) -> Sentence:
    """What the experiment's blocks and seeds can find, known before anything is trained.

    The true difference that is asked about is twice the predicted one, and at least ``LEAST_GAIN``.
    """
    asked, judged = exp.comparison, exp.table[exp.table["split"] == exp.comparison.split]
    threshold = getattr(asked, "threshold", 0.0)
    blocks = judged.loc[judged["mask"].notna(), "block"].tolist()
    return Sentence(design(blocks, len(exp.seeds), asked.metric, max(LEAST_GAIN, 2 * threshold), threshold))


def verdict_sentence(verdict) -> Sentence:
    """The verdict in one sentence, its outcome in bold."""
    return Sentence(f"> {verdict.sentence}")


# Rates counted in simulations, with the interval of each count, against what varies between them.

_MARKERS = ("o", "s", "^")
_DODGE = 0.08  # of the step between two places, so that intervals do not hide each other


@styled
def rates_figure(rows: pd.DataFrame, across: str, by: str, xlabel: str, ylabel: str, line: float) -> Figure:
    """One line a group: rate with its 95 % interval, at evenly spaced places.

    ``rows``: columns rate, low, high (0 to 1), ``across`` (the places) and ``by`` (the groups). ``line``: a
    rate to hold against, drawn dashed. Raises ValueError on a missing column or no row.
    """
    require(rows, [across, by, "rate", "low", "high"], "rates")
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


def false_differences_figure(rows: pd.DataFrame) -> Figure:
    """``rates_figure`` of ``simulation.by_length``."""
    across, what = "length over which errors are alike (m)", "false differences (% of pairs)"
    return captioned(
        rates_figure(rows, "length", "counted", across, what, 0.05),
        "lengths",
        "Pairs of equal methods whose interval leaves out 0, with the 95 % interval of each count, by the "
        "length over which errors are alike. Dashed: the promised 5 %.",
        "Two lines over the lengths: the rate of false differences for blocks and for single images.",
    )


def false_differences_by_rarity_figure(rows: pd.DataFrame) -> Figure:
    """``rates_figure`` of ``simulation.by_rarity``."""
    across, what = "share of the ground that lacks the rarest class", "false differences (% of pairs)"
    return captioned(
        rates_figure(rows, "lacking", "ground", across, what, 0.05),
        "rarity",
        "Pairs of equal methods whose interval leaves out 0, by how much of the ground lacks the rarest "
        "class. Dashed: the promised 5 %.",
        "Two lines, the whole test folder and its validation half, over shares of ground without the class.",
    )


def found_gains_figure(rows: pd.DataFrame) -> Figure:
    """``rates_figure`` of ``simulation.by_gain``."""
    return captioned(
        rates_figure(rows, "gain", "ground", "planted gain (mIoU)", "found (% of pairs)", 0.8),
        "gains",
        "Pairs in which the better method is found to be better, by the planted gain of mIoU, on all of the "
        "test folder and on the validation half. Dashed: 80 %.",
        "Two lines over the planted gain: how often it is found on the whole folder and on the half.",
    )


def with_seeds_figure(rows: pd.DataFrame) -> Figure:
    """``rates_figure`` of ``simulation.by_seeds``."""
    what = "interval leaves out 0 (% of pairs)"
    return captioned(
        rates_figure(rows, "seeds", "methods", "seeds of each method", what, 0.05),
        "seeds",
        "Equal methods whose interval leaves out 0, and better methods that are found, by the number of "
        "seeds. Dashed: the promised 5 % for equal methods.",
        "Two lines over the number of seeds: false differences and found gains.",
    )


# Computed sentences of the simulations' page, each about one table of ``measures.simulation``.

PROMISED = 0.05


def noise_level_sentence(measured: dict[str, float]) -> Sentence:
    """What the assumed errors amount to."""
    return Sentence(
        f"With these settings the made methods have an mIoU of {measured['mIoU']:.2f}. Two equal methods "
        f"differ on one image by {100 * measured['image']:.1f} points of pixel accuracy (standard deviation)."
        f" The trainings of one method differ by {measured['seeds']:.4f} of mIoU. What single blocks show of "
        f"the difference in mIoU differs by {measured['block']:.3f}."
    )


def lengths_sentence(rows: pd.DataFrame) -> Sentence:
    """Up to which length the interval keeps its promise, and what counting single images does."""
    blocks, images = (
        rows[rows["counted"] == kind].sort_values("length") for kind in ("blocks", "single images")
    )
    least, most = images["rate"].min(), images["rate"].max()
    return Sentence(
        f"{_promise(blocks, [f'{at:.0f} m' for at in blocks['length']])} Counting single images finds a "
        f"difference between equal methods in {least:.0%} to {most:.0%} of the pairs."
    )


def rarity_sentence(rows: pd.DataFrame) -> Sentence:
    """Up to how much of the ground may lack the rarest class."""
    parts = []
    for ground, part in rows.groupby("ground", sort=False):
        part = part.sort_values("lacking")
        said = _promise(part, [f"a share of {at:.0%}" for at in part["lacking"]])
        parts.append(f"On the {ground}: {said[0].lower()}{said[1:]}")
    return Sentence(" ".join(parts))


def _promise(rows: pd.DataFrame, places: list[str]) -> str:
    """Where the promise is kept, from the first place on; where it first is not, or cannot be told."""
    judged = [judge(int(row.count), int(row.pairs)) for row in rows.itertuples()]
    n = next((i for i, kind in enumerate(judged) if kind != "kept"), len(judged))
    words = []
    if n:
        most = rows["high"].iloc[:n].max()
        words.append(
            f"Up to {places[n - 1]}, no count of false differences is larger than a rate of 5 % allows (99 % "
            f"binomial bound), and a rate above {most:.1%} is unlikely at each (95 % intervals)."
        )
    if n < len(judged):
        at = rows.iloc[n]
        rate = f"{at['rate']:.1%} of {at['pairs']} pairs (95 % interval {at['low']:.1%} to {at['high']:.1%})"
        kind = "the promise is broken" if judged[n] == "broken" else "there are too few pairs to say"
        words.append(f"At {places[n]} {kind}: {rate}.")
    return " ".join(words)


def gains_sentence(rows: pd.DataFrame, gain: float = 0.02) -> Sentence:
    """How often a gain is found, at each size, and what was to be expected before."""
    at = rows[rows["gain"] == gain]
    words = [
        f"{_rate(row)} on the {row.ground} ({row.sites} sites; computed beforehand: {row.computed:.0%})"
        for row in at.itertuples()
    ]
    return Sentence(f"A gain of {gain:g} is found in {' and in '.join(words)}.")


def seeds_sentence(rows: pd.DataFrame) -> Sentence:
    """What seeds do for equal methods and for the better one."""
    parts = []
    for number, part in rows.groupby("seeds"):
        equal, better = (part[part["methods"] == kind].iloc[0] for kind in ("equal", "one better"))
        noun = "seed" if number == 1 else "seeds"
        parts.append(
            f"With {number} {noun}, equal methods seem to differ in {equal['rate']:.1%} of the pairs, and "
            f"the better one is found in {better['rate']:.0%}."
        )
    return Sentence(" ".join(parts))


def judge(count: int, pairs: int, promised: float = PROMISED) -> Literal["kept", "broken", "unclear"]:
    """Whether so many false differences are as promised.

    broken: a true rate of ``promised`` gives so many or more in less than 1 % of the studies. kept: not so,
    and a rate of twice the promise is outside the exact 95 % interval. unclear: too few pairs for either.
    """
    from scipy.stats import binom, binomtest

    if count > binom.ppf(0.99, pairs, promised):
        return "broken"
    high = binomtest(count, pairs).proportion_ci(0.95).high
    return "kept" if high < 2 * promised else "unclear"


def _rate(row) -> str:
    return f"{row.rate:.1%} of {row.pairs} pairs (95 % interval {row.low:.1%} to {row.high:.1%})"
