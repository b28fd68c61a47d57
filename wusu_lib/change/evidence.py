"""What the annotation of a tree says of change, counted in one pass over its files.

Three tables, each a sum over patches: labels against the values of the change masks (for the code book),
transitions between neighbouring dates (for the prior), and chains over three dates (for plausibility).
"""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import pandas as pd

from wusu_lib import legend
from wusu_lib.change.maps import from_to
from wusu_lib.change.transitions import N_LABELS, UNLABELLED
from wusu_lib.patches.raster import read

Kind = Literal["scd", "bcd"]
N_ROWS = N_LABELS + 1  # the labels, and last the pixels unlabelled at either date


def check_kind(kind: str) -> None:
    """Raise ValueError unless ``kind`` is "scd" or "bcd"."""
    if kind not in get_args(Kind):
        raise ValueError(f"kind: got {kind!r}; allowed: {', '.join(get_args(Kind))}")


def cross_tabulate(table: pd.DataFrame, changes: pd.DataFrame, kind: Kind = "scd") -> np.ndarray:
    """Pixels by from-to label and value of the change mask: int64 [112, 256]; row 111 is unlabelled.

    ``table`` and ``changes`` as of ``patches.scan`` and ``patches.scan_changes``. Change masks without both
    class masks are left out. Raises ValueError, naming the file, for a mask that is not one band of uint8 in
    the size of the others, holds unknown class codes or cannot be read, and where no mask is left.
    """
    check_kind(kind)
    masks = _masks(table)
    jobs = [
        (masks[row.site, row.date1], masks[row.site, row.date2], getattr(row, kind))
        for row in changes[changes[kind].notna()].itertuples()
        if {(row.site, row.date1), (row.site, row.date2)} <= masks.keys()
    ]
    if not jobs:
        raise ValueError(
            f"no {kind.upper()} mask with class masks at both of its dates: nothing to learn from"
        )
    return _sum(_label_values, jobs)


def count_transitions(table: pd.DataFrame) -> dict[tuple[int, int], np.ndarray]:
    """Pixels by class index at two neighbouring dates: {(15, 16): int64 [12, 12], ...}, rows the first date.

    Over the rows given (pass the train rows); sites that lack the mask of either date are left out of that
    interval. Raises ValueError naming the file as ``cross_tabulate`` does.
    """
    masks = _masks(table)
    dates = sorted({date for _, date in masks})
    found = {}
    for first, second in pairwise(dates):
        sites = [site for site, date in masks if date == first and (site, second) in masks]
        jobs = [(masks[site, first], masks[site, second]) for site in sites]
        found[first, second] = _sum(_index_counts, jobs) if jobs else np.zeros((12, 12), dtype=np.int64)
    return found


def count_chains(table: pd.DataFrame, dates: tuple[int, int, int] = (15, 16, 18)) -> np.ndarray:
    """Pixels by class index at three dates: int64 [12, 12, 12]; sites that lack a mask do not count."""
    masks = _masks(table)
    sites = dict.fromkeys(site for site, _ in masks)
    wanted = [[(site, date) for date in dates] for site in sites]
    jobs = [tuple(masks[key] for key in keys) for keys in wanted if set(keys) <= masks.keys()]
    return _sum(_index_counts, jobs) if jobs else np.zeros((legend.N_INDEX,) * 3, dtype=np.int64)


def joint_counts(maps: Iterable[np.ndarray]) -> np.ndarray:
    """Pixels by class index in each of T maps (uint8, equal shape): int64 [12] * T, first map first."""
    maps = list(maps)
    packed = np.zeros(maps[0].shape, dtype=np.int32)
    for each in maps:
        packed *= legend.N_INDEX
        packed += each
    size = legend.N_INDEX ** len(maps)
    return np.bincount(packed.ravel(), minlength=size).reshape((legend.N_INDEX,) * len(maps)).astype(np.int64)


def _masks(table: pd.DataFrame) -> dict[tuple[str, int], str]:
    """Path of the class mask by site and date."""
    rows = table[table["mask"].notna()]
    return dict(zip(zip(rows["site"], rows["date"], strict=True), rows["mask"], strict=True))


def _sum(count: Callable[[tuple[str, ...]], np.ndarray], jobs: Sequence[tuple[str, ...]]) -> np.ndarray:
    """Sum of the counts of all jobs; files are read in a few threads, one result a thread is in memory."""
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        counted = pool.map(count, jobs)
        total = next(counted).copy()
        for each in counted:
            total += each
    return total


def _label_values(job: tuple[str, ...]) -> np.ndarray:
    """Labels against values of one interval of a site: [112, 256]."""
    labels = from_to(_index(job[0]), _index(job[1]))
    values = _band(job[2])
    _same_size(labels, values, job)
    labels[labels == UNLABELLED] = N_ROWS - 1
    packed = labels.astype(np.int32) * 256 + values
    return np.bincount(packed.ravel(), minlength=N_ROWS * 256).reshape(N_ROWS, 256)


def _index_counts(job: tuple[str, ...]) -> np.ndarray:
    """``joint_counts`` of the masks of one site."""
    maps = [_index(path) for path in job]
    for other in maps[1:]:
        _same_size(maps[0], other, job)
    return joint_counts(maps)


def _same_size(a: np.ndarray, b: np.ndarray, paths: tuple[str, ...]) -> None:
    if a.shape != b.shape:
        raise ValueError(f"{paths[-1]}: {b.shape} px, but {paths[0]} has {a.shape}; they must be equal")


def _band(path: str) -> np.ndarray:
    """The only band [H, W] of a mask."""
    array = read(path)
    if array.dtype != np.uint8 or len(array) != 1:
        raise ValueError(f"{path}: expected 1 band of uint8, got {len(array)} of {array.dtype}")
    return array[0]


def _index(path: str) -> np.ndarray:
    try:
        return legend.index_from_code(_band(path))
    except ValueError as error:
        raise ValueError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
