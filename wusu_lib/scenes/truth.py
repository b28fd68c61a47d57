"""How many of the true changes were found, where the truth is known."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from wusu_lib.change.transitions import UNLABELLED
from wusu_lib.legend import Scheme
from wusu_lib.scenes.targets import label_targets, resolve

if TYPE_CHECKING:
    import geopandas

HALF = 0.5  # share of its pixels from which on an object counts as found, or as right


def judge(
    truth: np.ndarray,
    changes: "geopandas.GeoDataFrame",
    targets: Sequence[str],
    minimum: float,
    classes: Scheme = "all",
) -> pd.DataFrame:
    """One row a target: true, found, reported and right objects; ``reported`` leaves out what has no truth.

    ``truth``: from-to labels uint8 [H, W]; ``changes``: polygons in pixel coordinates. A true object is an
    area of at least ``minimum`` pixels (8 neighbours) that changed to the target. It is found if at least
    half of it lies in polygons of that target; a reported object is right if at least half of its labelled
    pixels are truly such a change.
    """
    from scipy import ndimage

    chosen = resolve(targets, classes)
    wanted = label_targets(chosen)[truth]
    rows = {}
    for number, name in enumerate(chosen, start=1):
        mine = _drawn(changes[changes["target"] == name], truth.shape)
        area, _ = ndimage.label(wanted == number, structure=np.ones((3, 3)))
        size, covered = _sizes(area), _sizes(area, mine > 0)
        large = size >= max(minimum, 1)
        labelled = truth != UNLABELLED
        reported, right = _sizes(mine, labelled), _sizes(mine, wanted == number)
        rows[name] = {
            "true": int(large.sum()),
            "found": int((large & (covered >= HALF * size)).sum()),
            "reported": int((reported > 0).sum()),
            "right": int(((reported > 0) & (right >= HALF * reported)).sum()),
        }
    return pd.DataFrame(rows).T.rename_axis("target")


def _sizes(numbers: np.ndarray, where: np.ndarray | None = None) -> np.ndarray:
    """Pixels of each numbered area from 1 on, of those in ``where``."""
    counted = numbers.ravel() if where is None else numbers[where]
    return np.bincount(counted, minlength=int(numbers.max()) + 1)[1:]


def _drawn(changes: "geopandas.GeoDataFrame", shape: tuple[int, ...]) -> np.ndarray:
    """Number of the object in each pixel, int32 [H, W]; 0 = none."""
    from rasterio.features import rasterize

    pairs = list(zip(changes.geometry, changes["object"], strict=True))
    return rasterize(pairs, out_shape=shape, dtype="int32") if pairs else np.zeros(shape, dtype=np.int32)
