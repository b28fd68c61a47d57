"""Images and class maps side by side: examples, the dates of one place, predictions beside the truth."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from wusu_lib import legend
from wusu_lib.figures.captions import captioned
from wusu_lib.figures.imagery import (
    class_image,
    read_image,
    read_index,
    rgb,
    rows_of,
    shrink,
    stretch,
    swatches,
)
from wusu_lib.figures.theme import QUIET, SMALL, VERMILION, WIDTH, bare, open_figure, styled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CORRECT, WRONG = "#a6cee3", VERMILION
_GAP = 0.08  # inches between panels
_LEGEND_ROW = 0.2  # inches


@styled
def patch_examples(table: "pd.DataFrame", patches: Sequence[str]) -> "Figure":
    """One row a patch: natural colour, colour infrared, labels; one stretch and one legend for all.

    ``table``: patch table (columns patch, image, mask). Raises ValueError on a patch that the table lacks.
    """
    rows = rows_of(table, patches)
    images, labels = _read(rows)
    low, high = stretch(images)
    titles = ("Natural colour", "Colour infrared (NIR, R, G)", "Labels")
    figure, grid = _grid(len(rows), titles, np.unique(np.concatenate([x.ravel() for x in labels])))
    for axes, name, image, index in zip(grid, rows["patch"], images, labels, strict=True):
        axes[0].imshow(shrink(rgb(image, low, high), 2 * len(rows)), extent=_extent(index))
        infrared = rgb(image, low, high, "infrared")
        axes[1].imshow(shrink(infrared, 2 * len(rows)), extent=_extent(index))
        axes[2].imshow(class_image(index), extent=_extent(index))
        axes[0].set_ylabel(name)
    return captioned(
        figure,
        "data",
        "Validation patches with their labels. Left: natural colour. Middle: near infrared, red and green "
        "shown as red, green and blue, so that plants are red. Right: the annotated classes; pale grey is "
        "unlabelled.",
        "Three columns of image patches: natural colour, colour infrared, annotated classes.",
    )


@styled
def dates(table: "pd.DataFrame", site: str) -> "Figure":
    """The images of one site by date above their labels; one stretch, so that radiometry can be compared.

    ``table``: patch table (columns site, date, image, mask). Raises ValueError on a site that it lacks.
    """
    rows = table[table["site"] == site].sort_values("date")
    if rows.empty:
        raise ValueError(f"site {site!r} is not in the table; it has such as {', '.join(table['site'][:3])}")
    images, labels = _read(rows)
    low, high = stretch(images)
    titles = [f"20{date:02d}" for date in rows["date"]]
    figure, grid = _grid(2, titles, np.unique(np.concatenate([x.ravel() for x in labels])))
    for top, bottom, image, index, mask in zip(*grid, images, labels, rows["mask"], strict=True):
        top.imshow(shrink(rgb(image, low, high), len(rows)), extent=_extent(index))
        bottom.imshow(class_image(index), extent=_extent(index))
        if not isinstance(mask, str):
            bottom.text(
                0.5, 0.5, "no labels", transform=bottom.transAxes, ha="center", va="center", color=QUIET
            )
    grid[0][0].set_ylabel("Image")
    grid[1][0].set_ylabel("Labels")
    figure.suptitle(f"Site {site}", x=0.01, ha="left")
    return captioned(
        figure,
        "dates",
        "One place at its dates. Above: natural colour, the same stretch for all dates. Below: the "
        "annotated classes; pale grey is unlabelled.",
        "The dates of one place: image above, annotated classes below.",
    )


def _named(run: Any, fallback: str) -> str:
    """The experiment's name that a run's parameters give."""
    return str(getattr(run, "parameters", {}).get("name", fallback))


@styled
def predictions(
    run: Any,
    table: "pd.DataFrame",
    patches: Sequence[str],
    baseline: Any = None,
    names: Sequence[str] = (),
) -> "Figure":
    """One row a patch: image, truth, prediction (of the baseline too, if given), errors.

    ``run`` and ``baseline``: with ``prediction(patch)`` -> class index uint8 [H,W] and ``labels``. ``names``:
    titles for run and baseline; without them the experiments' names, where the runs know them. Under each
    prediction stands its share of correct pixels among the labelled ones. The legend lists only the classes
    that occur. Labels and predictions stand in one label space, merged where either run's is.
    """
    rows = rows_of(table, patches)
    images, truths = _read(rows)
    space = run.labels if baseline is None else run.labels.judged_with(baseline.labels)
    truths = [space.merge_index(truth) for truth in truths]
    low, high = stretch(images)
    names = tuple(names) or (_named(run, "Prediction"), _named(baseline, "Baseline"))
    sources = [(run, names[0])] if baseline is None else [(baseline, names[1]), (run, names[0])]
    maps = [[space.merge_index(source.prediction(patch)) for source, _ in sources] for patch in rows["patch"]]
    present = np.unique(np.concatenate([x.ravel() for row in [truths, *maps] for x in row]))
    figure, grid = _grid(
        len(rows), ("Image", "Truth", *(n for _, n in sources), "Errors"), present, True, space.classes
    )
    for axes, name, image, truth, row in zip(grid, rows["patch"], images, truths, maps, strict=True):
        axes[0].imshow(shrink(rgb(image, low, high), len(rows)), extent=_extent(truth))
        for panel, index in zip(axes[1:-1], [truth, *row], strict=True):
            panel.imshow(class_image(index, space.classes), extent=_extent(truth))
        for panel, index in zip(axes[2:-1], row, strict=True):
            panel.set_xlabel(_agreement(truth, index), fontsize=SMALL, color=QUIET, labelpad=2)
        axes[-1].imshow(_errors(truth, row[-1]), extent=_extent(truth))
        axes[0].set_xlabel(name, fontsize=SMALL, labelpad=2)
    return captioned(
        figure,
        "maps",
        f"Validation patches: image, annotation, {_judged(baseline)}, and where this model is right, wrong "
        "or, on unlabelled ground, cannot be judged.",
        "Rows of image patches with annotation, predictions and an error map.",
    )


def _judged(baseline: Any) -> str:
    """Whose predictions are drawn, in words for a caption."""
    own = "this model's prediction"
    return own if baseline is None else f"the baseline's prediction, {own}"


def _read(rows: "pd.DataFrame") -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Images [4,H,W] and class indices [H,W] of the rows of a patch table."""
    images = [read_image(path) for path in rows["image"]]
    return images, [read_index(m, i.shape[1:]) for m, i in zip(rows["mask"], images, strict=True)]


def _extent(index: np.ndarray) -> tuple[int, int, int, int]:
    """Left, right, bottom, top in pixels: maps of one place share it, whatever their array's size."""
    return 0, index.shape[1], index.shape[0], 0


def _grid(
    rows: int,
    titles: Sequence[str],
    present: np.ndarray,
    errors: bool = False,
    classes: legend.Scheme = "all",
    small_print: bool = False,
) -> "tuple[Figure, list[list[Axes]]]":
    """A figure of ``rows`` x ``len(titles)`` square panels with one legend of the classes ``present``."""
    handles = swatches(present, classes)
    if errors:
        handles += _error_swatches()
    columns = 4 if errors else 5
    side = (WIDTH - 0.25) / len(titles) - _GAP
    lines = -(-len(handles) // columns)
    under = 0.14 if errors or small_print else 0.0  # room for the small print under a panel
    figure = open_figure(rows * (side + _GAP + under) + 0.45 + lines * _LEGEND_ROW)
    grid = figure.subplots(rows, len(titles), squeeze=False)
    for axes in grid.flat:
        bare(axes)
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title)
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(columns, len(handles)), handlelength=1.2
    )
    return figure, grid.tolist()


def _error_swatches() -> list[Any]:
    from matplotlib.patches import Patch

    return [Patch(facecolor=c, label=name) for c, name in ((CORRECT, "correct"), (WRONG, "wrong"))]


def _errors(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """RGB floats [H,W,3]: correct, wrong, or unlabelled in the truth."""
    from matplotlib.colors import to_rgb

    table = np.array([to_rgb(c) for c in (legend.UNLABELLED_COLOUR, CORRECT, WRONG)])
    return table[np.where(truth == 0, 0, np.where(truth == prediction, 1, 2))]


def _agreement(truth: np.ndarray, prediction: np.ndarray) -> str:
    """Share of the labelled pixels on which ``prediction`` is right, in words."""
    labelled = truth > 0
    if not labelled.any():
        return "no labels"
    return f"{(truth == prediction)[labelled].mean():.0%} correct"
