"""Pairs of dates side by side: both images, the annotated change, and the change that runs find."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from wusu_lib import legend
from wusu_lib.change.matrices import binary_confusion
from wusu_lib.change.measures import counts, score
from wusu_lib.change.pairs import true_labels
from wusu_lib.change.transitions import N_LABELS, SECOND, UNCHANGED_COLOUR, UNLABELLED
from wusu_lib.figures.captions import captioned
from wusu_lib.figures.imagery import read_image, rgb, rows_of, shrink, stretch
from wusu_lib.figures.theme import QUIET, SMALL, VERMILION, WIDTH, bare, open_figure, styled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_UNCHANGED, _CHANGED = legend.N_INDEX, legend.N_INDEX + 1  # beside the class indices, in the maps shown
_NAMES = (*legend.NAMES, "Unchanged", "Changed")
_COLOURS = (*legend.COLOURS, UNCHANGED_COLOUR, VERMILION)
_GAP, _LEGEND_ROW, _UNDER = 0.08, 0.2, 0.14  # inches


@styled
def change_maps(
    pairs: "pd.DataFrame", shown: Sequence[str], runs: Mapping[str, Any] | None = None
) -> "Figure":
    """One row a pair: its two images, the annotated change, and the change that each run finds.

    ``pairs``: table of pairs (``change.pairs.pairs``); ``shown``: keys of some; ``runs``: title -> anything
    with ``prediction(pair)`` -> from-to labels uint8 [H,W] (0 and 1 of a run whose matrices are 2 x 2).
    Ground that changed is drawn in the colour of the class that it became. Under each found map stands its F1
    of changed ground on this pair. The legend lists only what occurs. Raises ValueError on an unknown pair.
    """
    runs = runs or {}
    rows = rows_of(pairs, shown)
    images = [[read_image(row.image1), read_image(row.image2)] for row in rows.itertuples()]
    low, high = stretch([image for both in images for image in both])
    truths = [true_labels(row) for row in rows.itertuples()]
    found = [[run.prediction(pair) for run in runs.values()] for pair in rows["patch"]]
    maps = [
        [_became(truth), *(_became(f, _binary(run)) for f, run in zip(each, runs.values(), strict=True))]
        for truth, each in zip(truths, found, strict=True)
    ]
    present = np.unique(np.concatenate([m.ravel() for row in maps for m in row]))
    titles = ("First date", "Second date", "Annotated", *runs)
    figure, grid = _grid(len(rows), titles, present, bool(runs))
    for axes, name, both, truth, each, row in zip(
        grid, rows["patch"], images, truths, found, maps, strict=True
    ):
        for panel, image in zip(axes[:2], both, strict=True):
            panel.imshow(shrink(rgb(image, low, high), 2 * len(rows)), extent=_extent(truth))
        for panel, index in zip(axes[2:], row, strict=True):
            panel.imshow(_coloured(index), extent=_extent(truth))
        for panel, labels in zip(axes[3:], each, strict=True):
            panel.set_xlabel(_agreement(truth, labels), fontsize=SMALL, color=QUIET, labelpad=2)
        axes[0].set_xlabel(name, fontsize=SMALL, labelpad=2)
    return captioned(figure, "maps" if runs else "data", _caption(tuple(runs)), _alternative(tuple(runs)))


def _caption(ways: Sequence[str]) -> str:
    """Of the annotated change alone, or with what some ways found."""
    if not ways:
        return (
            "Validation pairs: the two dates in natural colour with one stretch, and the annotated change. "
            "Changed ground has the colour of the class that it became; unchanged ground is grey, unlabelled "
            "ground nearly white."
        )
    found = ", ".join(f"the change found {way[0].lower()}{way[1:]}" for way in ways)
    return (
        f"Validation pairs: the two dates, the annotated change, {found}. Changed ground has the colour "
        "of the class that it became. Under each map stands its F1 of changed ground."
    )


def _alternative(ways: Sequence[str]) -> str:
    found = f" and the change found by {len(ways)} ways" if ways else ""
    return f"Rows of two images of the same place at two dates, beside a map of what changed{found}."


def _binary(run: Any) -> bool:
    """Whether a run tells changed from unchanged and nothing else."""
    return run.matrices.shape[-1] == 2


def _became(labels: np.ndarray, binary: bool = False) -> np.ndarray:
    """From-to labels as what is drawn: class index that ground changed to, unchanged, changed, unlabelled."""
    changed = (labels > 0) & (labels < N_LABELS)
    index = np.where(changed, _CHANGED if binary else SECOND[labels], _UNCHANGED)
    return np.where(labels == UNLABELLED, 0, index)


def _coloured(index: np.ndarray) -> np.ndarray:
    """What is drawn in its colours, uint8 [H,W,3]."""
    from matplotlib.colors import to_rgb

    return np.array([np.round(np.multiply(to_rgb(c), 255)) for c in _COLOURS], dtype=np.uint8)[index]


def _agreement(truth: np.ndarray, labels: np.ndarray) -> str:
    """F1 of changed ground in words."""
    changed = binary_confusion((truth > 0) & (truth < N_LABELS), labels, truth != UNLABELLED)
    reached = float(score(counts(changed), "F1"))
    return "no change" if np.isnan(reached) else f"F1 {reached:.2f}"


def _extent(labels: np.ndarray) -> tuple[int, int, int, int]:
    """Left, right, bottom, top in pixels: maps of one place share it, whatever their array's size."""
    return 0, labels.shape[1], labels.shape[0], 0


def _grid(
    rows: int, titles: Sequence[str], present: np.ndarray, noted: bool
) -> "tuple[Figure, list[list[Axes]]]":
    """A figure of ``rows`` x ``len(titles)`` square panels with one legend of what is ``present``."""
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor=_COLOURS[i], edgecolor=QUIET, linewidth=0.5, label=_label(i))
        for i in present.tolist()
    ]
    side = min((WIDTH - 0.1) / len(titles) - _GAP, 2.0)
    under = _UNDER if noted else _UNDER / 2
    lines = -(-len(handles) // 4)
    figure = open_figure(rows * (side + _GAP + under) + 0.5 + lines * _LEGEND_ROW)
    grid = figure.subplots(rows, len(titles), squeeze=False)
    for axes in grid.flat:
        bare(axes)
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title)
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)), handlelength=1.2)
    return figure, grid.tolist()


def _label(index: int) -> str:
    """Name in the legend: changed ground by what it became."""
    return f"to {_NAMES[index].lower()}" if 0 < index < _UNCHANGED else _NAMES[index]
