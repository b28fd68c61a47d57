"""Maps of new buildings, excavations and roads beside the images: what was found, missed and invented."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from wusu_lib.change.pairs import true_labels
from wusu_lib.change.targets import is_target
from wusu_lib.figures.captions import captioned
from wusu_lib.figures.imagery import read_image, rgb, shrink, stretch
from wusu_lib.figures.theme import BLUE, GREEN, VERMILION, WIDTH, bare, open_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HIT, MISS, FALSE = GREEN, VERMILION, BLUE
_FADED = 0.55  # how far the image under the map is taken towards white


@styled
def change_targets(run: Any, pairs: pd.DataFrame, shown: dict[str, str]) -> "Figure":
    """One row a target: image at both dates, and where it was found (hit), missed or falsely claimed.

    ``run``: ``prediction(pair)`` -> from-to labels uint8 [H, W]. ``pairs``: of ``change.pairs``. ``shown``:
    target -> pair, as of ``change.targets.largest``. Ground unlabelled at either date is not judged.
    Raises ValueError where nothing is to be shown.
    """
    if not shown:
        raise ValueError("change_targets: no target occurs in these pairs, so there is nothing to show")
    rows = {row.patch: row for row in pairs.itertuples()}
    side = WIDTH / 3
    figure = open_figure(side * len(shown) + 0.5)
    grid = figure.subplots(len(shown), 3, squeeze=False)
    for panels, (target, patch) in zip(grid, shown.items(), strict=True):
        row = rows[patch]
        images = [read_image(path) for path in (row.image1, row.image2)]
        low, high = stretch(images)
        pictures = [rgb(image, low, high) for image in images]
        judged = _judged(pictures[1], true_labels(row), run.prediction(patch), target)
        for axes, picture in zip(panels, [*pictures, judged], strict=True):
            axes.imshow(shrink(picture, 3 * len(shown)), extent=(0, picture.shape[1], picture.shape[0], 0))
            bare(axes)
        panels[0].set_ylabel(f"{target}\n{patch}")
        panels[0].set_title(f"20{row.date1}")
        panels[1].set_title(f"20{row.date2}")
        panels[2].set_title("Judged")
    _legend(figure)
    return captioned(
        figure,
        "targets",
        "New building, new excavation and new road: image before, image after, and what was found (green), "
        "missed (orange) or falsely claimed (blue) on the labelled ground. One stretch for the two images "
        "of a row.",
        "Rows of image pairs with a map of hits, misses and false alarms.",
    )


def _judged(picture: np.ndarray, truth: np.ndarray, prediction: np.ndarray, target: str) -> np.ndarray:
    """The later image, faded and grey, with hits, misses and false alarms in colour: [H, W, 3]."""
    from matplotlib.colors import to_rgb

    grey = np.repeat(picture.mean(axis=2, keepdims=True), 3, axis=2)
    shown = grey + (1 - grey) * _FADED
    wanted, claimed, known = is_target(truth, target), is_target(prediction, target), truth != 255
    for where, colour in (
        (wanted & claimed, HIT),
        (wanted & ~claimed, MISS),
        (claimed & ~wanted & known, FALSE),
    ):
        shown[where] = to_rgb(colour)
    return shown


def _legend(figure: "Figure") -> None:
    from matplotlib.patches import Patch

    entries = (("found", HIT), ("missed", MISS), ("false alarm", FALSE))
    handles = [Patch(facecolor=colour, label=name) for name, colour in entries]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
