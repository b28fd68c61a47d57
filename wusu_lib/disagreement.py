"""Where a model contradicts the labels with confidence: regions, ranked, as candidates for label errors.

A region is a connected set (4 neighbours) of labelled validation pixels that the model gives one class and
the annotator another, with a confidence of at least ``SURE``. Its weight is the sum of its confidence: area
times mean confidence, in px. High ranks are either label errors or the model's confident mistakes; looking at
them is the point of the ranking (confident learning: Northcutt, Jiang and Chuang 2021, J. Artif. Intell. Res.
70, doi 10.1613/jair.1.12125, ranks whole examples so).

On the mini city the label errors made on purpose are known (``synthetic.planted``), so that it can be counted
how many of the mislabelled objects the ranking finds. Objects left unlabelled cannot contradict anything.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wusu_lib import labels, legend

SURE = 0.5
SMALLEST = 10  # px
COVERED = 0.5  # share of a planted object that a region must cover to have found it
TOP = 100
COLUMNS = ["patch", "weight", "pixels", "confidence", "truth", "predicted", "top", "left", "bottom", "right"]


def regions(truth: np.ndarray, predicted: np.ndarray, confidence: np.ndarray) -> tuple[np.ndarray, int]:
    """Number of each pixel's region (0 = none) [H, W] and how many there are.

    truth, predicted: class indices [H, W]; confidence: uint8 [H, W], 255 = certain.
    """
    from scipy.ndimage import label

    against = (truth > 0) & (truth != predicted) & (confidence >= 255 * SURE)
    numbers, n = np.zeros(truth.shape, dtype=np.int64), 0
    kind = np.where(against, truth.astype(np.int64) * legend.N_INDEX + predicted, 0)
    for value in np.unique(kind[against]):
        found, count = label(kind == value)
        numbers[found > 0] = found[found > 0] + n
        n += count
    return numbers, n


def ranked(run: Any, table: pd.DataFrame) -> pd.DataFrame:
    """All regions of ``SMALLEST`` px or more of a run's validation patches, the heaviest first.

    Columns: patch, weight (px), pixels, confidence (mean, 0 to 1), truth and predicted (class indices), top,
    left, bottom, right (box in px, ends excluded). Index from 0: the rank.
    """
    rows = run.confusion
    patches = rows.loc[rows["split"] == "val", "patch"]
    found = [row for patch in patches for row in _of_patch(run, table, patch)]
    frame = pd.DataFrame(found, columns=COLUMNS)
    return frame.sort_values("weight", ascending=False, kind="stable").reset_index(drop=True)


def maps(run: Any, table: pd.DataFrame, patch: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, prediction (class indices in the run's label space) and confidence, each uint8 [H, W]."""
    truth, predicted = labels.index(table, patch), run.prediction(patch)
    both = (run.labels.merge_index(index) for index in (truth, predicted))
    return *both, run.confidence(patch)


def _of_patch(run: Any, table: pd.DataFrame, patch: str) -> list[tuple]:
    from scipy.ndimage import find_objects

    truth, predicted, confidence = maps(run, table, patch)
    numbers, n = regions(truth, predicted, confidence)
    pixels = np.bincount(numbers.ravel(), minlength=n + 1)
    weight = np.bincount(numbers.ravel(), confidence.ravel() / 255, minlength=n + 1)
    rows = []
    for number, box in enumerate(find_objects(numbers), start=1):
        if pixels[number] < SMALLEST:
            continue
        y, x = (
            axis[0] + part.start for axis, part in zip(np.nonzero(numbers[box] == number), box, strict=True)
        )
        classes_here = (int(truth[y, x]), int(predicted[y, x]))
        corners = (box[0].start, box[1].start, box[0].stop, box[1].stop)
        sure = weight[number] / pixels[number]
        rows.append((patch, weight[number], int(pixels[number]), sure, *classes_here, *corners))
    return rows


def found(
    ranking: pd.DataFrame,
    run: Any,
    table: pd.DataFrame,
    root: str | Path,
    k: int = TOP,
) -> dict[str, float] | None:
    """How many of the planted label errors the first ``k`` regions of ``ranked`` find; None without a list.

    A mislabelled object (one an object, date and patch) is found by a region that covers at least half of its
    pixels. Keys: planted (objects on the validation patches of ``SMALLEST`` px or more), k, regions, found
    (objects), recall, hits (regions that find one), precision, chance (precision of a random order of these
    regions), low, high (95 % of the hits of such an order, hypergeometric).
    """
    from scipy.stats import hypergeom

    from wusu_lib import synthetic

    try:
        planted = synthetic.planted(root)
    except FileNotFoundError:
        return None
    planted = planted[(planted["kind"] == "mislabelled") & (planted["pixels"] >= SMALLEST)]
    rows = run.confusion
    planted = planted[planted["patch"].isin(rows.loc[rows["split"] == "val", "patch"])]
    finder = [rank for rank in (_finder(error, ranking, run, table) for _, error in planted.iterrows())]
    hit_ranks = {rank for rank in finder if rank is not None}
    k = min(k, len(ranking))
    hits, n = sum(rank < k for rank in hit_ranks), len(ranking)
    objects = sum(rank is not None and rank < k for rank in finder)
    low, high = hypergeom.interval(0.95, n, len(hit_ranks), k) if n else (np.nan, np.nan)
    share = {
        "recall": objects / len(planted) if len(planted) else np.nan,
        "precision": hits / k if k else np.nan,
    }
    chance = len(hit_ranks) / n if n else np.nan
    sizes = {"planted": len(planted), "k": k, "regions": n, "found": objects, "hits": hits}
    return sizes | share | {"chance": chance, "low": float(low), "high": float(high)}


def _finder(error: pd.Series, ranking: pd.DataFrame, run: Any, table: pd.DataFrame) -> int | None:
    """Rank of the region that covers at least half of a planted object, None if none does."""
    truth, predicted, confidence = maps(run, table, error["patch"])
    box = (slice(error["top"], error["bottom"]), slice(error["left"], error["right"]))
    given = run.labels.merge_index(legend.index_from_code(np.array([error["given_code"]], dtype=np.uint8)))
    numbers, n = regions(truth, predicted, confidence)
    inside = np.bincount(numbers[box][truth[box] == given[0]], minlength=n + 1)
    inside[0] = 0
    best = int(inside.argmax())
    if inside[best] < COVERED * error["pixels"]:
        return None
    y, x = (int(axis[0]) for axis in np.nonzero(numbers == best))
    there = ranking[(ranking["patch"] == error["patch"]) & (ranking["top"] == y)]
    whole = (numbers == best).sum()
    rank = there.index[(there["pixels"] == whole) & (there["left"] <= x) & (x < there["right"])]
    return int(rank[0]) if len(rank) else None
