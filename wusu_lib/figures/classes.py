"""What a model gets right and wrong by class: per-class IoU of two experiments, and the confusion matrix."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from wusu_lib import legend, metrics
from wusu_lib.figures.captions import SPLITS_IN_WORDS, captioned, compared
from wusu_lib.figures.groups import groups, pooled
from wusu_lib.figures.theme import QUIET, SMALL, open_figure, styled, text_on
from wusu_lib.legend import Background, Scheme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@styled
def class_iou(
    runs: Sequence[Any],
    baseline_runs: Sequence[Any] = (),
    names: Sequence[str] | None = None,
    split: str = "val",
    background: Background = "ignore",
    classes: Scheme = "all",
) -> "Figure":
    """IoU of each class, classes by falling support: small dots are seeds, large ones their mean.

    ``runs``: objects with ``confusion`` (DataFrame with a column split, N rows) and ``matrices`` (int64
    [N,12,12], rows truth, columns prediction). IoU is of the pooled matrix of ``split``. Beside each name
    stands its share of the pixels that count. A class without truth is marked: it has no IoU, or 0 where it
    was predicted all the same. ``classes="merged"``: the matrices are merged first, of both sides. Raises
    ValueError where a run has no matrix of ``split``.
    """
    sides = groups(runs, baseline_runs, names)
    matrices = [np.stack([pooled(run, split) for run in side.runs]) for side in sides]
    matrices = [metrics.merge(stack, classes) for stack in matrices]
    kept = list(legend.scored(background, classes))
    support = matrices[-1][0][kept].sum(axis=1)
    order = np.argsort(-support, kind="stable")
    names_shown = [legend.names(classes)[kept[i]] for i in order]
    figure = open_figure(0.31 * len(order) + 1.0)
    axes = figure.subplots()
    _iou_frame(axes, names_shown, support[order] / max(support.sum(), 1), split)
    means = []
    for (_, name, colour), stack in zip(sides, matrices, strict=True):
        values = _iou(stack, background, classes)[:, order]
        means.append(_iou_dots(axes, values, name, colour))
    if len(means) == 2:
        axes.hlines(np.arange(len(order)), means[0], means[1], color="#b8bcc2", linewidth=2.5, zorder=1)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside upper right", ncols=2)
    return captioned(
        figure,
        "classes",
        f"Intersection over union of each class on the {SPLITS_IN_WORDS[split]} patches, "
        f"{compared(baseline_runs)}. Classes are sorted by their number of annotated pixels.",
        "Dot plot of the intersection over union of each class.",
    )


def _iou(matrices: np.ndarray, background: Background, classes: Scheme) -> np.ndarray:
    """IoU [seeds, classes] of matrices [seeds, 12, 12], as the results table has it."""
    return np.stack([metrics.classes(m, background, classes)["IoU"].to_numpy(dtype=float) for m in matrices])


def _iou_frame(axes: "Axes", names: list[str], shares: np.ndarray, split: str) -> None:
    rows = np.arange(len(names))
    axes.set_yticks(rows, [f"{n}  {s:.1%}" if s else n for n, s in zip(names, shares, strict=True)])
    axes.set(xlim=(-0.02, 1), ylim=(len(names) - 0.5, -0.5), xlabel=f"IoU on {split} (0 to 1)")
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    for row in rows[shares == 0]:
        axes.annotate("absent from the truth", (0.03, row), va="center", color=QUIET, fontsize=SMALL)


def _iou_dots(axes: "Axes", values: np.ndarray, name: str, colour: str) -> np.ndarray:
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
def confusion_matrix(
    runs: Sequence[Any], split: str = "val", background: Background = "ignore", classes: Scheme = "all"
) -> "Figure":
    """Heat map of a confusion matrix, each row as percent of its class's truth pixels.

    ``runs``: as for ``class_iou``; their matrices of ``split`` are summed. With ``background="ignore"``
    pixels unlabelled in the truth are left out; labelled pixels that were predicted as unlabelled keep
    their column. With ``"class"`` unlabelled is a class like the others. ``classes="merged"``: the matrices
    are merged first. A row without truth says so. Raises ValueError where a run has no matrix of ``split``.
    """
    matrix = metrics.merge(np.sum([pooled(run, split) for run in runs], axis=0), classes)
    rows = list(legend.scored(background, classes))
    support = matrix[rows].sum(axis=1)
    columns = rows if rows[0] == 0 or not matrix[1:, 0].any() else [0, *rows]
    counts = matrix[np.ix_(rows, columns)]
    percent = np.divide(
        100 * counts, support[:, None], where=support[:, None] > 0, out=np.full(counts.shape, np.nan)
    )
    names = legend.names(classes)
    return captioned(
        _heat_map(percent, [names[i] for i in rows], [names[i] for i in columns], split),
        "confusion",
        f"Confusion matrix of the {SPLITS_IN_WORDS[split]} patches. A row holds the pixels of one annotated "
        "class and sums to 100 %; a column is what the model predicted.",
        "Heat map of annotated against predicted classes in percent of the annotated pixels.",
    )


def _heat_map(percent: np.ndarray, rows: list[str], columns: list[str], split: str) -> "Figure":
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
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right")
    axes.set_yticks(range(len(rows)), rows)
    axes.set(xlabel=f"Prediction on {split}", ylabel="Truth")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(shown, ax=axes, shrink=0.6, aspect=30, pad=0.01)
    bar.set_label("percent of the class's pixels")
    bar.outline.set_visible(False)
    return figure
