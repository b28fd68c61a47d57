"""The two-stage way shown: figures, flows, transitions, errors, settings, chains of three dates."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path
from pandas.io.formats.style import Styler

from wusu_lib import legend
from wusu_lib.change import analysis
from wusu_lib.change.analysis import target_counts
from wusu_lib.change.codebook import count_chains
from wusu_lib.measures import change
from wusu_lib.measures.change import transitions
from wusu_lib.measures.verdict import signs_kept
from wusu_lib.pages.style import (
    BASELINE,
    MISSING,
    QUIET,
    SMALL,
    SPLITS_IN_WORDS,
    THIS,
    Sentence,
    captioned,
    counted,
    figure_in_words,
    legend_above,
    listed,
    named_rows,
    open_figure,
    short_count,
    styled,
    styled_table,
)
from wusu_lib.runs.results import read_beside
from wusu_lib.runs.store import Run
from wusu_lib.transitions import COLOURS, FIRST, N_LABELS, SECOND

# Figures of change runs: which transitions are found, and expected against observed errors.


@styled
def change_transitions_figure(
    found: pd.DataFrame, baseline: pd.DataFrame, names: tuple[str, str], most: int = 15
) -> Figure:
    """IoU of the ``most`` frequent true transitions, of a run and its baseline, most pixels first.

    ``found`` and ``baseline``: of ``change.transitions``; ``names``: of the two. Beside each
    transition stand its true pixels. Raises ValueError where no pixel truly changed.
    """
    changed = found[(found["label"] > 0) & (found["support"] > 0)]
    kept = changed.sort_values("support", ascending=False, kind="stable").head(most)
    if kept.empty:
        raise ValueError("change_transitions: no pixel truly changed, so there is no transition to find")
    figure = open_figure(0.3 * len(kept) + 1.0)
    axes = figure.subplots()
    rows = np.arange(len(kept))
    other = baseline.set_index("label").loc[kept["label"], "IoU"].to_numpy()
    axes.hlines(rows, other, kept["IoU"], color="#b8bcc2", linewidth=2.5, zorder=1)
    for values, name, colour in ((other, names[1], BASELINE), (kept["IoU"].to_numpy(), names[0], THIS)):
        axes.plot(values, rows, "o", color=colour, markersize=7, markeredgecolor="white", label=name)
    words = [f"{row.name_}  {short_count(row.support)}" for row in _named(kept)]
    named_rows(axes, words, "IoU on val (0 to 1); pixels beside names")
    axes.set_xlim(-0.02, 1)
    legend_above(figure, axes)
    return captioned(
        figure,
        "transitions",
        "Intersection over union of the most frequent transitions on the validation pairs, for this "
        "experiment and its baseline. True pixels stand beside each name.",
        "Dot plot of the intersection over union of each transition for two experiments.",
    )


def _named(frame: pd.DataFrame) -> list:
    return list(frame.rename(columns={"name": "name_"}).itertuples())


@styled
def change_errors_figure(rates: dict[str, pd.DataFrame]) -> Figure:
    """Rates of error by kind, expected of independent errors (hollow) and observed (filled), by split.

    ``rates``: split -> ``analysis.error_rates``. Raises ValueError without a split.
    """
    if not rates:
        raise ValueError("change_errors: no split; expected at least one, for instance val")
    rows = [(f"{name}, {split}", row) for split, frame in rates.items() for name, row in frame.iterrows()]
    figure = open_figure(0.36 * len(rows) + 1.1)
    axes = figure.subplots()
    for y, (_, row) in enumerate(rows):
        axes.annotate(
            "",
            (100 * row["observed"], y),
            (100 * row["expected"], y),
            arrowprops={"arrowstyle": "->", "color": QUIET, "shrinkA": 4, "shrinkB": 4},
        )
    at = np.arange(len(rows))
    expected, observed = ([100 * row[name] for _, row in rows] for name in ("expected", "observed"))
    axes.plot(expected, at, "o", fillstyle="none", color=THIS, markersize=8, label="expected if independent")
    axes.plot(observed, at, "o", color=THIS, markersize=8, markeredgecolor="white", label="observed")
    named_rows(axes, [name for name, _ in rows], "share of the truly unchanged or changed pixels (%)")
    axes.set_xlim(left=0)
    figure.legend(loc="outside upper right", ncols=2, fontsize=SMALL)
    return captioned(
        figure,
        "errors",
        "Errors of change when maps are compared as they are: the share expected of independent errors "
        "(hollow) and the share observed (filled).",
        "Dot plot of expected and observed error rates by kind and split.",
    )


# Where changed ground came from and what it became: annotated and predicted flows at one scale.

_GAP = 0.025  # of the taller column's pixels, between two classes
_BAR = 0.05  # width of a class's bar; the axes run from 0 to 1
_NAMED = 0.012  # share of the taller column from which a class is named


@styled
def change_flows_figure(matrix: np.ndarray, names: tuple[str, str] = ("Annotated", "Predicted")) -> Figure:
    """Two diagrams of flows side by side: a ribbon a transition, as wide as its pixels, same scale in both.

    ``matrix``: [S, 111, 111] by seed and from-to label, rows truth, columns prediction; pixels are means
    over the seeds. The left bars of a diagram
    are the classes at the first date, the right bars those at the second; unchanged ground is left out. A
    ribbon has the colour of its transition. Raises ValueError where nothing changed in truth and prediction.
    """
    sides = _mean_sides(matrix)
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


def _mean_sides(matrix: np.ndarray) -> list[np.ndarray]:
    """Pixels by label in truth and in prediction, [111] each, means over the seeds of [S, 111, 111]."""
    mean = np.reshape(matrix, (-1, N_LABELS, N_LABELS)).mean(axis=0)
    return [mean.sum(axis=1), mean.sum(axis=0)]


def _diagram(axes: Axes, pixels: np.ndarray, tallest: int) -> None:
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
    axes: Axes, pixels: np.ndarray, at: np.ndarray, tallest: int, x: float, side: str
) -> dict[int, float]:
    """Draw and name a column of classes; gives each class's upper end."""
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


def _ribbon(axes: Axes, left: float, right: float, width: float, colour: str) -> None:
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


# Tables of the pages on change, as pandas Stylers.

CHAIN_SOURCES = ("annotation", "each date by itself", "all dates together")


def pooled_figures(runs: Sequence, split: str) -> pd.Series:
    """Every change figure of a split, pooled over its pairs, mean over the runs (seeds)."""
    kept = [
        change.scores(run.matrices[(run.confusion["split"] == split).to_numpy()].sum(axis=0)) for run in runs
    ]
    return pd.DataFrame(kept).mean()


def figures_table(sides: Mapping[str, Sequence], splits: Sequence[str] = ("val", "test")) -> Styler:
    """Every change figure (rows) by split and side (columns): name -> runs. Binary runs lack the semantic."""
    found = {
        (SPLITS_IN_WORDS[split], name): pooled_figures(runs, split)
        for split in splits
        for name, runs in sides.items()
    }
    frame = pd.DataFrame(found).reindex(list(change.FIGURES))
    frame.index.name = "figure"
    return styled_table(frame, "change").format(precision=3, na_rep=MISSING)


def trials_table(runs: Sequence[Run], figure: str) -> Styler:
    """What each setting gave on validation, one row a trial; the chosen ones are marked."""
    rows = [{"seed": run.seed, **trial} for run in runs for trial in run.record["trials"]]
    if not rows:
        return styled_table(pd.DataFrame({"step": ["nothing was chosen"]}), "trials", index=False)
    frame = pd.DataFrame(rows)
    best = frame.groupby(["seed", "step"])["figure"].transform("max") == frame["figure"]
    words = {"tolerance": "width of a sliver, px", "smoothing": "prior's smoothing, px"}
    frame["step"] = frame["step"].replace(words | {"unit_share": "share of change in smaller areas"})
    frame["chosen"] = best.map({True: "yes", False: ""})
    frame = frame.rename(columns={"figure": f"val {figure}"}).drop(columns=["seed"] if len(runs) == 1 else [])
    return (
        styled_table(frame, "trials", index=False)
        .format("{:g}", subset=["value"])
        .format(precision=4, subset=[f"val {figure}"])
    )


def chain_counts(exp, runs: Sequence[Run]) -> pd.DataFrame:
    """``analysis.summarise_chains`` by split and ``CHAIN_SOURCES``, means over the runs."""
    train = count_chains(exp.table[exp.table["split"] == "train"])
    by_run = [read_beside(run, "chains") for run in runs]
    rows = {
        (split, source): pd.DataFrame(
            [analysis.summarise_chains(found[i, j], train) for found in by_run]
        ).mean()
        for i, split in enumerate(analysis.SPLITS)
        for j, source in enumerate(CHAIN_SOURCES)
    }
    return pd.DataFrame(rows).T


def three_dates_table(exp, runs: Sequence[Run]) -> Styler:
    """Chains over three dates: how many pixels change, return to their class, and do so implausibly."""
    counted = chain_counts(exp, runs).drop(columns=["unseen", "unseen_share"])
    frame = counted.rename(index=SPLITS_IN_WORDS, level=0).rename_axis(["split", "class maps"]).reset_index()
    whole = ["pixels", "changed", "returning", "implausible"]
    frame = frame.rename(columns={"implausible_share": "implausible, share of changed"})
    return (
        styled_table(frame, "chains", index=False)
        .format("{:,.0f}", subset=whole)
        .format("{:.1%}", subset=["implausible, share of changed"], na_rep=MISSING)
    )


# Sentences about two-stage change: source, figures, steps, transitions, targets, errors, chains.


def two_stage_source_sentence(runs: Sequence) -> Sentence:
    """Whose maps are compared, and how far the change masks agree with the class masks."""
    record = runs[0].record
    masks = [
        f"{found['agreement']:.1%} of the pixels of the {kind.upper()} masks"
        for kind, found in record["annotation"].items()
    ]
    return Sentence(
        f"The maps are those of **{record['source']['experiment']}**. Truth is made of the class masks of "
        f"both dates; through the learnt [code book](codes.ipynb) it agrees with {listed(masks)}."
    )


def two_stage_figures_sentence(runs: Sequence, baseline: Sequence) -> Sentence:
    """F1 of change and Fscd in both conventions, against the baseline, on the validation pairs."""
    mine, theirs = pooled_figures(runs, "val"), pooled_figures(baseline, "val")
    names = ("BCD F1", "Fscd per date", "Fscd from-to")
    words = [f"{n} is {figure_in_words(mine[n])} against {figure_in_words(theirs[n])}" for n in names]
    right, found = (figure_in_words(mine[f"BCD {name}"], ".0%") for name in ("precision", "recall"))
    return Sentence(
        f"On the validation pairs {listed(words)} of **{baseline[0].called}**. Of the pixels "
        f"that are claimed to have changed, {right} did; of those that changed, "
        f"{found} are claimed. The two conventions differ because a "
        "transition has to be right at both dates at once."
    )


def two_stage_settings_sentence(runs: Sequence) -> Sentence:
    """The chosen settings, and whether a choice lies at the end of what was tried; alike seeds together."""
    seeds: dict[str, list[str]] = {}
    for run in runs:
        seeds.setdefault(_chosen(run), []).append(str(run.seed))
    if len(seeds) == 1:
        return Sentence(next(iter(seeds)))
    return Sentence(" ".join(f"Seed {listed(own)}: {text}" for text, own in seeds.items()))


def _chosen(run: Run) -> str:
    """One run's settings."""
    stated, chosen, best = run.parameters, run.record["settings"], _best(run.record["trials"])
    share = best.get("unit_share", stated["unit_shares"][0])
    text = (
        f"Slivers are up to {counted(chosen['tolerance'], 'pixel')} wide, smaller areas may hold "
        f"{share:.1%} of a class's true change, and the prior is smoothed by "
        f"{chosen['smoothing']:,.0f} pixels."
    )
    tried = {"tolerance": "tolerances", "smoothing": "smoothings", "unit_share": "unit_shares"}
    ends = [
        step.replace("_", " ")
        for step, name in tried.items()
        if step in best and len(stated[name]) > 1 and best[step] in (min(stated[name]), max(stated[name]))
    ]
    verb = "lies" if len(ends) == 1 else "lie"
    return f"{text} The best {listed(ends)} {verb} at an end of what was tried." if ends else text


def _best(trials: list[dict]) -> dict[str, float]:
    """Value with the highest figure by step."""
    found: dict[str, dict] = {}
    for trial in trials:
        if trial["step"] not in found or trial["figure"] > found[trial["step"]]["figure"]:
            found[trial["step"]] = trial
    return {step: trial["value"] for step, trial in found.items()}


def two_stage_gains_sentence(gains: pd.DataFrame) -> Sentence:
    """Which steps help, which harm and which leave it open, by split; and MAP decoding against argmax."""
    words = []
    for split, part in gains.groupby("split", sort=False):
        kinds = {
            "surely raised the figure": part["low"] > 0,
            "surely lowered it": part["high"] < 0,
            "may do either, as zero lies inside the interval": (part["low"] <= 0) & (part["high"] >= 0),
            "have no interval": part["low"].isna(),
        }
        said = [f"{int(which.sum())} {verb}" for verb, which in kinds.items() if which.any()]
        words.append(f"Of {len(part)} steps on {SPLITS_IN_WORDS[str(split)]}, {listed(said)}.")
    decoded = gains[(gains["step"] == "map")]
    moved = [f"{_difference(row)} on {SPLITS_IN_WORDS[row.split]}" for row in decoded.itertuples()]
    return Sentence(
        f"{' '.join(words)} Decoding two dates together instead of taking each date's likeliest class "
        f"changes the figure: {listed(moved)}. The settings were chosen on validation, so its gains are "
        "flattered; those on test are not."
    )


def _difference(row) -> str:  # type: ignore[no-untyped-def]  # a row of pandas' itertuples
    """A difference with its interval, or that there is none."""
    if np.isnan(row.value):
        return figure_in_words(row.value)
    n = signs_kept(row.value, row.low, row.high)
    ends = "no interval" if np.isnan(row.low) else f"{row.low:+.{n}f} to {row.high:+.{n}f}"
    return f"{row.value:+.{n}f} ({ends})"


def change_flows_sentence(matrix: np.ndarray) -> Sentence:
    """How much changed in truth and prediction, and the largest flow of each."""
    sides = dict(zip(("Annotated", "Predicted"), _mean_sides(matrix), strict=True))
    names = transitions(matrix)["name"]
    words = []
    for side, pixels in sides.items():
        total, top = int(pixels[1:].sum()), int(pixels[1:].argmax()) + 1
        largest = f"; the largest flow is {names[top].lower()} ({pixels[top] / total:.0%})" if total else ""
        share = figure_in_words(pixels[1:].sum() / pixels.sum() if pixels.any() else np.nan, ".1%")
        words.append(f"{side} change covers {share} of the labelled ground{largest}.")
    return Sentence(" ".join(words))


def change_transitions_sentence(matrix: np.ndarray) -> Sentence:
    """How many transitions occur, how many are found at all, and the best of them."""
    table = transitions(matrix).iloc[1:]
    real = table[table["support"] > 0]
    found = real[real["IoU"] > 0]
    invented = table[(table["support"] == 0) & (table["predicted"] > 0)]
    best = [
        f"{row.name_.lower()} ({row.IoU:.2f})"
        for row in _named(found.sort_values("IoU", ascending=False).head(3))
    ]
    named = f" The best are {listed(best)}." if best else ""
    return Sentence(
        f"{counted(len(real), 'transition')} of 110 occur in the annotation of the validation pairs, and "
        f"{len(found)} of them are found on some pixel.{named} {counted(len(invented), 'transition')} "
        "that the annotation does not have "
        f"{'is' if len(invented) == 1 else 'are'} claimed on {int(invented['predicted'].sum()):,} pixels."
    )


def change_targets_sentence(runs: Sequence, pairs: pd.DataFrame) -> Sentence:
    """How much of each target is found, and how much of what is claimed is none, over all of the pairs."""
    words = []
    by_seed = [target_counts([run], pairs) for run in runs]
    for target in by_seed[0].index:
        counts = pd.DataFrame([each.loc[target] for each in by_seed])
        real, claimed = int(counts.iloc[0][["found", "missed"]].sum()), counts["found"] + counts["false"]
        if not real:
            words.append(f"{target}: none in the annotation, {claimed.mean():,.0f} pixels claimed.")
            continue
        share = (counts["found"] / claimed.where(claimed > 0)).mean()  # over the seeds that claim any
        right = "; none is claimed" if np.isnan(share) else f"; {share:.0%} of what is claimed is right"
        words.append(f"{target}: {counts['found'].mean() / real:.0%} of {real:,} pixels are found{right}.")
    return Sentence("Over all validation pairs. " + " ".join(words))


def change_errors_sentence(runs: Sequence) -> Sentence:
    """False and missed change against what independent errors would give, and how errors go together."""
    counts = analysis.joint_errors(runs, "val")
    rates, shared = analysis.error_rates(counts), analysis.error_dependence(counts)
    words = [
        f"{name} is observed on {row['observed']:.1%}, expected on {row['expected']:.1%}"
        for name, row in rates.iloc[:2].iterrows()
    ]
    return Sentence(
        f"On the validation pairs {listed(words)} of the pixels concerned. On unchanged ground, "
        f"{shared['wrong_first']:.0%} of the pixels are wrong at the first date and "
        f"{shared['wrong_second']:.0%} at the second; the correlation of the two errors is "
        f"{shared['correlation']:.2f}. Of the pixels wrong at the first date, {shared['repeated']:.0%} have "
        "the same wrong class at the second and so make no false change."
    )


def three_dates_sentence(exp, runs: Sequence) -> Sentence:
    """Implausible chains before and after decoding all dates together, beside the annotation's."""
    frame = chain_counts(exp, runs)
    words = []
    for split in analysis.SPLITS:
        truth, before, after = (round(frame.loc[(split, s), "implausible"]) for s in CHAIN_SOURCES)
        words.append(
            f"On {SPLITS_IN_WORDS[split]}, {before:,} pixels follow an implausible chain when each date is "
            f"mapped by itself, {after:,} after decoding all dates together; the annotation has {truth:,}."
        )
    return Sentence(" ".join(words))
