"""The patches where a confident prediction contradicts the labels most."""

from typing import TYPE_CHECKING, Any

import numpy as np

from wusu_lib.figures.captions import captioned
from wusu_lib.figures.imagery import class_image, read_image, rgb, rows_of, shrink, stretch
from wusu_lib.figures.maps import _extent, _grid
from wusu_lib.figures.theme import SMALL, open_figure, styled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OUTLINE = "#111111"
NOTHING = "No region contradicts the labels with confidence."


@styled
def disagreement(run: Any, table: "pd.DataFrame", ranking: "pd.DataFrame", n: int = 4) -> "Figure":
    """The ``n`` patches with the heaviest regions of ``ranking``: image, labels, prediction, contradiction.

    ``ranking``: the frame of ``disagreement.ranked``. The last column has the confidence (dark = sure) where
    labels and prediction differ; a frame marks the patch's heaviest region, its rank and classes stand below.
    An empty ranking is said in words.
    """
    from wusu_lib import disagreement as found

    if ranking.empty:
        return captioned(_nothing(), "contradictions", NOTHING, NOTHING)
    first = ranking.drop_duplicates("patch").head(n)
    rows = rows_of(table, first["patch"].tolist())
    images = [read_image(path) for path in rows["image"]]
    low, high = stretch(images)
    drawn = [found.maps(run, table, patch) for patch in rows["patch"]]
    present = np.unique(np.concatenate([m.ravel() for maps in drawn for m in maps[:2]]))
    titles = ("Image", "Labels", "Prediction", "Contradiction")
    figure, grid = _grid(len(rows), titles, present, classes=run.labels.classes, small_print=True)
    for axes, image, maps, (rank, region) in zip(grid, images, drawn, first.iterrows(), strict=True):
        truth, predicted, confidence = maps
        axes[0].imshow(shrink(rgb(image, low, high), len(rows)), extent=_extent(truth))
        axes[1].imshow(class_image(truth, run.labels.classes), extent=_extent(truth))
        axes[2].imshow(class_image(predicted, run.labels.classes), extent=_extent(truth))
        against = np.where((truth > 0) & (truth != predicted), confidence / 255, np.nan)
        axes[3].imshow(against, extent=_extent(truth), cmap="Oranges", vmin=0, vmax=1)
        for panel in axes:
            _frame(panel, region)
        names = run.labels.names
        words = f"rank {rank + 1}: {names[region['truth']]} → {names[region['predicted']]}"
        axes[0].set_xlabel(region["patch"], fontsize=SMALL, labelpad=2)
        axes[2].set_xlabel(words, fontsize=SMALL, labelpad=2)
    return captioned(
        figure,
        "contradictions",
        "The validation patches with the heaviest contradictions: image, labels, prediction, and the "
        "confidence (dark is sure) where labels and prediction differ. The frame marks the heaviest region.",
        "Rows of image patches with labels, prediction and a map of confident contradictions.",
    )


def _nothing() -> "Figure":
    figure = open_figure(0.8)
    axes = figure.subplots()
    axes.set_axis_off()
    axes.text(0.5, 0.5, NOTHING, ha="center", va="center", transform=axes.transAxes)
    return figure


def _frame(axes: "Axes", region: "pd.Series") -> None:
    from matplotlib.patches import Rectangle

    size = (region["right"] - region["left"], region["bottom"] - region["top"])
    axes.add_patch(
        Rectangle((region["left"], region["top"]), *size, fill=False, edgecolor="white", linewidth=2.4)
    )
    axes.add_patch(
        Rectangle((region["left"], region["top"]), *size, fill=False, edgecolor=OUTLINE, linewidth=1.1)
    )
