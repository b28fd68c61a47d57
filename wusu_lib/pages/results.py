"""Results by class: the study's ten columns beside what it reported, IoU by class, confusions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from wusu_lib.legend import LabelSpace
from wusu_lib.measures.classes import classes, merge, scores
from wusu_lib.pages.style import (
    MISSING,
    QUIET,
    SMALL,
    SPLITS_IN_WORDS,
    Sentence,
    captioned,
    compared,
    counted,
    figure_in_words,
    groups,
    heat_frame,
    judged_in,
    legend_above,
    listed,
    named_rows,
    open_figure,
    pooled_by_seed,
    pooled_of_run,
    styled,
    styled_table,
    text_on,
    them,
)

# What the study reported: its printed figures, which of them cannot be right, what they compare with.
#
# Each row is a single training run, so no spread is known, and model choice and report used the same
# validation set. The figures are shown as reported; one that cannot be right is flagged, never corrected.

REPORTED = ("loss", "acc", "pixel_acc", "mIoU", "F1")
TEN_COLUMNS = tuple(f"{split}/{figure}" for split in ("train", "val") for figure in REPORTED)

# train loss, acc (macro), pixel_acc (micro), mIoU, F1 (both macro), then the same of validation
_PRINTED = {
    "exp02": (0.448, 0.7543, 0.8218, 0.6679, 0.77, 0.5286, 1.109, 0.6717, 0.3918, 0.537),
    "exp04": (0.2681, 0.8258, 0.8508, 0.7433, 0.8446, 1.031, 0.5645, 0.6792, 0.4129, 0.5609),
    "exp05": (0.2805, 0.7986, 0.8275, 0.7114, 0.8196, 0.9295, 0.5097, 0.6812, 0.38, 0.5111),
    "exp06": (0.3955, 0.7999, 0.8436, 0.7177, 0.8235, 0.7985, 0.5439, 0.7155, 0.4253, 0.5553),
    "exp07": (0.6002, 0.7206, 0.7944, 0.6287, 0.5298, 0.7438, 0.5034, 0.7294, 0.4114, 0.5298),
    "exp08": (0.377, 0.8342, 0.8436, 0.7477, 0.8509, 0.652, 0.5242, 0.7504, 0.4306, 0.5468),
}

_SWAPPED = "an accuracy cannot be 1.109; val/loss 0.5286 and val/acc 1.109 look swapped"
_FLAGS = [
    ("exp02", "val/loss", _SWAPPED),
    ("exp02", "val/acc", _SWAPPED),
    ("exp07", "train/F1", "repeats val/F1; a mean F1 cannot be below the mean IoU (0.6287)"),
]

_TWELVE = (
    "12 classes, unlabelled ground counted as one of them: compare with background='class' only. "
    "Validation patches were drawn at random from the test half, so they may share pixels with test patches."
)
_EXP06 = (
    " The study's text says that every validation metric improved; "
    "its own val/acc and val/F1 are below exp04's."
)
_MERGED = (
    "Merged classes (High and Low building; River and Lake), 10 outputs: "
    "not comparable with 11 or 12 classes."
)


def reported_figures() -> pd.DataFrame:
    """The ten columns as printed (COLUMNS; losses, and metrics on the 0-1 scale), one row an experiment.

    Experiments 1 and 3 have no printed figures. acc is macro accuracy, pixel_acc micro, mIoU and F1 macro.
    """
    return pd.DataFrame.from_dict(_PRINTED, orient="index", columns=list(TEN_COLUMNS)).rename_axis(
        "experiment"
    )


def reported_flags() -> pd.DataFrame:
    """Printed figures that cannot be right: experiment, column, value, reason."""
    printed = reported_figures()
    rows = [(name, column, printed.loc[name, column], reason) for name, column, reason in _FLAGS]
    return pd.DataFrame(rows, columns=["experiment", "column", "value", "reason"])


def reported_comparability() -> pd.Series:
    """What each experiment's figures can be compared with, one text an experiment."""
    merged = ("exp07", "exp08")
    notes = {name: _MERGED if name in merged else _TWELVE for name in _PRINTED}
    notes["exp06"] += _EXP06
    return pd.Series(notes, name="comparability").rename_axis("experiment")


def ten_columns_table(runs: Sequence, baseline: Sequence = ()) -> Styler:
    """The study's ten columns: this experiment, its baseline, and what the study reported.

    The study reported on the experiments as they are defined, so a variant has no such row.

    Mean over the seeds; with several seeds ± their standard deviation. Training and validation, metrics
    pooled over the patches of the split, both sides in one label space (the loss stays that of the training).
    Reported figures that are not plausible carry a dagger.
    """
    labels = judged_in(runs, baseline)
    rows = {group[0].called: ten_row(group, labels) for group in (runs, baseline) if len(group)}
    for name in list(rows):
        if name in reported_figures().index:
            rows[f"{name}, reported"] = reported_row(name)
    frame = by_split(pd.DataFrame(rows).T)
    frame.index.name = f"background: {labels.background}" + (", classes merged" if labels.merged else "")
    return styled_table(frame, "ten")


def by_split(frame: pd.DataFrame) -> pd.DataFrame:
    """The ten columns under two headings, train and val, so that they fit a page."""
    ordered = frame[list(TEN_COLUMNS)]
    ordered.columns = pd.MultiIndex.from_tuples([tuple(c.split("/")) for c in TEN_COLUMNS])
    return ordered


def ten_row(runs: Sequence, labels: LabelSpace) -> dict[str, str]:
    """One row: the ten figures of some runs that differ in their seed only, judged in ``labels``."""
    scores = pd.DataFrame(
        [
            {f"{split}/{c}": v for split in ("train", "val") for c, v in run.scores(split, labels).items()}
            for run in runs
        ]
    )
    mean, spread = scores.mean(), scores.std()
    return {c: _with_spread(mean[c], spread[c]) for c in TEN_COLUMNS}


def _with_spread(mean: float, spread: float) -> str:
    if np.isnan(mean):
        return MISSING
    return f"{mean:.3f}" if np.isnan(spread) else f"{mean:.3f} ± {spread:.3f}"


def reported_row(name: str) -> dict[str, str]:
    """One row of the study's figures as printed, daggers on the implausible ones."""
    row, flags = reported_figures().loc[name], reported_flags()
    doubtful = set(flags.loc[flags["experiment"] == name, "column"])
    return {c: f"{row[c]:g}" + (" †" if c in doubtful else "") for c in TEN_COLUMNS}


# What a model gets right and wrong by class: per-class IoU of two experiments, and the confusion matrix.


@styled
def class_iou_figure(
    runs: Sequence[Any],
    baseline_runs: Sequence[Any] = (),
    names: Sequence[str] | None = None,
    split: str = "val",
) -> Figure:
    """IoU of each class, classes by falling support: small dots are seeds, large ones their mean.

    ``runs``: objects with ``confusion`` (DataFrame with a column split, N rows), ``matrices`` (int64
    [N,12,12], rows truth, columns prediction) and ``labels``. IoU is of the pooled matrix of ``split``.
    Beside each name stands its share of the pixels that count. A class without truth is marked: it has no
    IoU, or 0 where it was predicted all the same. Both sides are judged in one label space. Raises
    ValueError where a run has no matrix of ``split``.
    """
    sides, space = groups(runs, baseline_runs, names), judged_in(runs, baseline_runs)
    matrices = [merge(pooled_by_seed(side.runs, split), space) for side in sides]
    kept = list(space.scored)
    support = matrices[-1][0][kept].sum(axis=1)
    order = np.argsort(-support, kind="stable")
    names_shown = [space.names[kept[i]] for i in order]
    figure = open_figure(0.31 * len(order) + 1.0)
    axes = figure.subplots()
    _iou_frame(axes, names_shown, support[order] / max(support.sum(), 1), split)
    means = []
    for (_, name, colour), stack in zip(sides, matrices, strict=True):
        values = _iou(stack, space)[:, order]
        means.append(_iou_dots(axes, values, name, colour))
    if len(means) == 2:
        axes.hlines(np.arange(len(order)), means[0], means[1], color="#b8bcc2", linewidth=2.5, zorder=1)
    legend_above(figure, axes)
    return captioned(
        figure,
        "classes",
        f"Intersection over union of each class on the {SPLITS_IN_WORDS[split]} patches, "
        f"{compared(baseline_runs)}. Classes are sorted by their number of annotated pixels.",
        "Dot plot of the intersection over union of each class.",
    )


def _iou(matrices: np.ndarray, space: LabelSpace) -> np.ndarray:
    """IoU [seeds, classes] of matrices [seeds, 12, 12], as the results table has it."""
    return np.stack([classes(m, space)["IoU"].to_numpy(dtype=float) for m in matrices])


def _mean_scores(runs: Sequence, split: str, space: LabelSpace) -> "pd.Series[float]":
    """The four figures of each run's pooled matrix of a split, averaged over the runs."""
    return pd.DataFrame(scores(pooled_by_seed(runs, split), space)).mean()


def _iou_frame(axes: Axes, names: list[str], shares: np.ndarray, split: str) -> None:
    words = [f"{n}  {s:.1%}" if s else n for n, s in zip(names, shares, strict=True)]
    named_rows(axes, words, f"IoU on {split} (0 to 1)")
    axes.set_xlim(-0.02, 1)
    for row in np.flatnonzero(shares == 0):
        axes.annotate("absent from the truth", (0.03, row), va="center", color=QUIET, fontsize=SMALL)


def _iou_dots(axes: Axes, values: np.ndarray, name: str, colour: str) -> np.ndarray:
    """Dots of one group's IoU [seeds, classes]; returns the mean over the seeds that have one, else NaN."""
    rows = np.arange(values.shape[1])
    found = np.isfinite(values).sum(axis=0)
    mean = np.divide(np.nansum(values, axis=0), found, out=np.full(found.shape, np.nan), where=found > 0)
    axes.plot(
        values.T, np.tile(rows, (len(values), 1)).T, "o", color=colour, markersize=3.5, alpha=0.6, zorder=2
    )
    axes.plot(mean, rows, "o", color=colour, markersize=8, markeredgecolor="white", label=name, zorder=3)
    return mean


@styled
def confusion_matrix_figure(runs: Sequence[Any], split: str = "val") -> Figure:
    """Heat map of a confusion matrix, each row as percent of its class's truth pixels.

    ``runs``: as for ``class_iou_figure``; the percentages of each seed's pooled matrix of ``split`` are
    averaged, in their label space. Where it ignores unlabelled ground, pixels unlabelled in the truth are
    left out; labelled pixels that were predicted as unlabelled keep their column. Else unlabelled is a class
    like the others. A row without truth says so. Raises ValueError where a run has no matrix of ``split``.
    """
    space = judged_in(runs)
    percent = 100 * _shares(runs, split, space)
    rows = list(space.scored)
    columns = rows if rows[0] == 0 or not np.nansum(percent[1:, 0]) else [0, *rows]
    percent = percent[np.ix_(rows, columns)]
    names = space.names
    return captioned(
        _heat_map(percent, [names[i] for i in rows], [names[i] for i in columns], split),
        "confusion",
        f"Confusion matrix of the {SPLITS_IN_WORDS[split]} patches. A row holds the pixels of one annotated "
        "class and sums to 100 %; a column is what the model predicted.",
        "Heat map of annotated against predicted classes in percent of the annotated pixels.",
    )


def _shares(runs: Sequence[Any], split: str, space: LabelSpace) -> np.ndarray:
    """What each class's true pixels are predicted as, [12, 12], averaged over the runs; NaN without truth."""
    matrices = merge(pooled_by_seed(runs, split), space)
    truth = matrices.sum(axis=2, keepdims=True)
    return np.divide(matrices, truth, where=truth > 0, out=np.full(matrices.shape, np.nan)).mean(axis=0)


def _heat_map(percent: np.ndarray, rows: list[str], columns: list[str], split: str) -> Figure:
    """Percentages as coloured, annotated cells; rows and columns are class names."""
    figure = open_figure(6.1)
    axes = figure.subplots()
    shown = axes.imshow(percent, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for (row, column), value in np.ndenumerate(percent):
        if value >= 0.5:
            ink = text_on(shown.cmap(value / 100))
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", color=ink, fontsize=9)
        elif np.isnan(value) and column == 0:
            axes.text(-0.4, row, "absent from the truth", va="center", color=QUIET, fontsize=SMALL)
    axes.set(xlabel=f"Prediction on {split}", ylabel="Truth")
    heat_frame(figure, axes, rows, columns, "percent of the class's pixels")
    return figure


# Sentences about results: curves, tables, classes, confusions, verdict.


def ten_columns_sentence(runs: Sequence, baseline: Sequence) -> Sentence:
    """Which of the validation figures rose and which fell, and the gap to training."""
    space = judged_in(runs, baseline)
    mine, theirs = (_mean_scores(side, "val", space) for side in (runs, baseline))
    names = ("acc", "pixel_acc", "mIoU", "F1")
    rose = [n for n in names if mine[n] > theirs[n]]
    fell = [n for n in names if mine[n] < theirs[n]]
    name = runs[0].called
    base = baseline[0].called
    moves = [f"{side} in {listed(n)}" for side, n in (("higher", rose), ("lower", fell)) if n]
    how = f"{listed(moves)} than" if moves else "no better and no worse than"
    train = _mean_scores(runs, "train", space)["mIoU"]
    return Sentence(
        f"On the validation patches **{name}** is {how} **{base}**. Its mIoU is "
        f"{figure_in_words(mine['mIoU'])}, against {figure_in_words(theirs['mIoU'])}. On its training "
        f"patches it is {figure_in_words(train)}{_gap(float(train - mine['mIoU']))}. "
        f"{absent(pooled_by_seed(runs, 'val'), space)}{unseen(runs, space)}"
    )


def _gap(gap: float) -> str:
    """The difference between training and validation mIoU in words; empty where there is none."""
    if np.isnan(gap):
        return ""
    return f", {abs(gap):.3f} {'more' if gap >= 0 else 'less'} than on the validation patches"


def absent(matrix: np.ndarray, space: LabelSpace) -> str:
    """Names the classes without annotated pixels, which the figures say nothing about."""
    table = classes(matrix, space)
    missing = table.loc[table["support"] == 0]
    names = missing["name"].str.lower().tolist()
    if not names:
        return "All classes occur among the annotated pixels."
    # a class that nobody annotated has an IoU only if it was predicted, and that IoU is 0
    claimed = missing.loc[missing["IoU"].notna(), "name"].str.lower().tolist()
    counts = f" Predicted all the same, and counted as 0 in the means: {listed(claimed)}." if claimed else ""
    return (
        f"No pixel is annotated as {listed(names, 'or')}, so the figures say nothing about {them(names)}."
        f"{counts}"
    )


def unseen(runs: Sequence, space: LabelSpace) -> str:
    """Names the classes that validation asks for and training never showed; empty where there are none."""
    train, val = (merge(pooled_by_seed(runs, split), space).sum(axis=(0, 2)) for split in ("train", "val"))
    kept = space.annotated().scored
    names = [space.names[i].lower() for i in kept if val[i] and not train[i]]
    words = f" No training pixel is annotated as {listed(names, 'or')}, so no run could learn {them(names)}."
    return words if names else ""


def _mean_table(runs: Sequence, space: LabelSpace) -> pd.DataFrame:
    """``measures.classes.classes`` of the validation patches with the IoU of each seed averaged."""
    each = [classes(pooled_of_run(run, "val"), space) for run in runs]
    return each[0].assign(IoU=np.mean([table["IoU"] for table in each], axis=0))


def class_iou_sentence(runs: Sequence, baseline: Sequence) -> Sentence:
    """Best and worst class, largest gain and largest loss against the baseline."""
    space = judged_in(runs, baseline)
    mine, theirs = (_mean_table(side, space) for side in (runs, baseline))
    seen = mine[mine["support"] > 0]
    if seen.empty:
        return Sentence("No pixel is annotated on the validation patches, so no class has an IoU.")
    best, worst = seen.loc[seen["IoU"].idxmax()], seen.loc[seen["IoU"].idxmin()]
    change = (mine["IoU"] - theirs["IoU"])[seen.index]
    text = (
        f"Best is {best['name'].lower()} with an IoU of {best['IoU']:.2f}, "
        f"worst {worst['name'].lower()} with {worst['IoU']:.2f}. "
    )
    base = baseline[0].called
    gaining = int((change > 0).sum())
    gains = f"{gaining} of {counted(len(seen), 'class')} {'gains' if gaining == 1 else 'gain'} against {base}"
    ends = [("gain", change.idxmax(), 1), ("loss", change.idxmin(), -1)]
    largest = [
        f"the largest {word} is {change[i]:+.2f} ({mine.loc[i, 'name'].lower()})"
        for word, i, sign in ends
        if sign * change[i] > 0
    ]
    return Sentence(f"{text}{'; '.join([gains, *largest])}.")


def confusion_sentence(runs: Sequence, pairs: int = 3) -> Sentence:
    """The most frequent confusions, in percent of the annotated class."""
    space = judged_in(runs)
    share, names = np.nan_to_num(_shares(runs, "val", space)), space.names
    first = space.scored[0]
    np.fill_diagonal(share, 0)
    share[:first] = 0
    order = np.argsort(-share, axis=None, kind="stable")[:pairs]
    found = [
        f"{share[t, p]:.0%} of {names[t].lower()} is predicted as {names[p].lower()}"
        for t, p in zip(*np.unravel_index(order, share.shape), strict=True)
        if share[t, p] > 0
    ]
    return Sentence(f"The most frequent confusions: {listed(found)}." if found else "No pixel is confused.")
