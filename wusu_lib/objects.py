"""What becomes of small objects: buildings found by ground area, road pixels found by the road's width.

A **building** is a connected region (4 neighbours) of Low or High building in the labels; it counts as found
if at least half of its pixels are predicted as a building of either kind. Regions that touch the patch's edge
are left out: their size is not known. **Road** pixels are counted by local width: twice the distance of the
nearest ridge of the distance transform to the nearest pixel that is no road, less one. The patch is mirrored
at its edge, so that a road that leaves it keeps its width. Both are recalls: what is predicted where nothing
is annotated shows in the IoU. One pixel is 1 m, as in WUSU.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from wusu_lib import labels, legend
from wusu_lib.blockwise import Figure, by_seed, effect, ratio

BUILDING = legend.MERGED[0].members
ROAD = legend.NAMES.index("Road")
AREAS = (0, 50, 100, 200, 400)  # m2, lower ends of the bins
WIDTHS = (0, 4, 8, 12)  # m, lower ends
FOUND = 0.5
PAD = 32  # px of mirrored ground around a patch


def buildings(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Buildings found and buildings there by bin of area, int64 [2, 5], of class indices [H, W]."""
    from scipy.ndimage import label

    regions, n = label(np.isin(truth, BUILDING))
    area = np.bincount(regions.ravel(), minlength=n + 1)[1:]
    hits = np.bincount(regions[np.isin(predicted, BUILDING)], minlength=n + 1)[1:]
    edge = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    whole = ~np.isin(np.arange(1, n + 1), edge)
    return _binned(area[whole], (hits >= FOUND * area)[whole], AREAS)


def roads(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Road pixels found and there by bin of local width, int64 [2, 4], of class indices [H, W]."""
    road = truth == ROAD
    return _binned(local_width(road)[road], (predicted == ROAD)[road], WIDTHS)


def local_width(road: np.ndarray) -> np.ndarray:
    """Width in px at each pixel of a mask [H, W], that of the nearest ridge; 0 outside."""
    from scipy.ndimage import distance_transform_edt, maximum_filter

    pad = min(PAD, *road.shape)
    around = np.pad(road, pad, mode="symmetric")
    if around.all() or not road.any():
        return np.where(road, float(max(road.shape)), 0.0)
    depth = distance_transform_edt(around)
    ridge = around & (depth == maximum_filter(depth, 3))
    nearest = distance_transform_edt(~ridge, return_distances=False, return_indices=True)
    width = np.where(around, 2 * depth[tuple(nearest)] - 1, 0.0)
    return width[pad : pad + road.shape[0], pad : pad + road.shape[1]]


def _binned(size: np.ndarray, found: np.ndarray, edges: Sequence[int]) -> np.ndarray:
    """Found and all things by bin of their size, int64 [2, bins]."""
    which = np.digitize(size, edges[1:])
    return np.stack([np.bincount(which[keep], minlength=len(edges)) for keep in (found, slice(None))])


def compare(runs: Sequence[Any], baseline: Sequence[Any], table: pd.DataFrame) -> pd.DataFrame:
    """Recall by size on the validation patches: one row a kind and bin.

    Columns: kind ("building" or "road"), size ("under 50 m2", ...), number (buildings, or road pixels, a
    seed), run, baseline (0 to 1), difference, low, high (95 %, paired block bootstrap), blocks, seeds. NaN
    where nothing of that size is annotated. Raises ValueError where seeds differ.
    """
    sides = by_seed(runs, baseline)
    rows = sides[0][0].confusion
    rows = rows[rows["split"] == "val"].sort_values("patch")
    truths = {patch: labels.index(table, patch) for patch in rows["patch"]}
    found = []
    for kind, count, edges, unit in (("building", buildings, AREAS, "m2"), ("road", roads, WIDTHS, "m")):
        counted = [
            [np.stack([count(t, run.prediction(p)) for p, t in truths.items()]) for run in side]
            for side in sides
        ]
        for number, size in enumerate(_sizes(edges, unit)):
            of = Figure("recall", partial(_recall, number))
            there = {"kind": kind, "size": size, "number": int(counted[0][0][:, 1, number].sum())}
            found.append(there | effect(counted, rows["block"].tolist(), of))
    return pd.DataFrame(found)


def _recall(number: int, pooled: np.ndarray) -> np.ndarray:
    """Recall of one bin of pooled counts [..., 2, bins]."""
    return ratio(pooled[..., 0, number], pooled[..., 1, number])


def _sizes(edges: Sequence[int], unit: str) -> list[str]:
    """The bins in words."""
    middle = [f"{low} to {high} {unit}" for low, high in pairwise(edges[1:])]
    return [f"under {edges[1]} {unit}", *middle, f"{edges[-1]} {unit} and more"]
