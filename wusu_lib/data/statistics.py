"""Band and class statistics of a table of patches, exact, from histograms of the 256 possible values.

A histogram holds all that mean, deviation and percentiles need, so one pass over the files is enough and
the memory does not grow with the data.
"""

import os
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import pandas as pd

from wusu_lib import legend
from wusu_lib.data.masks import ClassMask, read_index
from wusu_lib.data.tree import FileState, file_state
from wusu_lib.imagery import BAND_NAMES, read

Normalisation = Literal["wusu", "burnscars", "prithvi", "backbone"]
PAIRWISE = 2**17  # pixels, from which on counting by pairs is faster
SCALE = 255.0  # an 8-bit count of 255 is 1.0

# HLS burn-scars fine-tuning set: blue, green, red, narrow NIR, reflectance 0 to 1 (terratorch,
# datamodules/fire_scars.py, rounded). The study took them for Prithvi's pre-training statistics.
BURNSCARS = ((0.0333, 0.0570, 0.0589, 0.2323), (0.0227, 0.0268, 0.0400, 0.0779))
# Prithvi-EO-2.0's own, the same bands, given as reflectance x 10,000 (terratorch, prithvi_vit.PRITHVI_V2_MEAN
# and _STD), here as reflectance. WUSU holds 8-bit counts, not reflectance: a nominal match, no calibration.
PRITHVI = ((0.1087, 0.1342, 0.1433, 0.2734), (0.2248, 0.2179, 0.2178, 0.1850))


@dataclass(frozen=True)
class Statistics:
    """Counts of values: ``bands`` int64 [dates, C, 256], ``classes`` int64 [dates, 12] by class index.

    ``dates`` are two-digit years. Bands in data order (blue, green, red, NIR). Means and deviations are on
    the scale image / 255, over all dates together.
    """

    dates: tuple[int, ...]
    bands: np.ndarray
    classes: np.ndarray

    def mean(self) -> np.ndarray:
        """Mean of each band, float64 [C], 0 to 1."""
        return _moments(self.bands.sum(axis=0))[0]

    def std(self) -> np.ndarray:
        """Standard deviation of each band over all pixels (population, not sample), float64 [C]."""
        return _moments(self.bands.sum(axis=0))[1]

    def percentile(self, q: float | Sequence[float]) -> np.ndarray:
        """Smallest value that at least ``q`` percent of the pixels do not exceed, float64 [C] or [len(q), C],
        0 to 1.

        The same as ``numpy.percentile(..., method="inverted_cdf")``. Raises ValueError for q outside 0 to
        100.
        """
        return _percentile(self.bands.sum(axis=0), q)

    def class_frequency(self) -> np.ndarray:
        """Share of pixels of each class index, float64 [12], 0 = unlabelled; all NaN if no mask was read."""
        total = self.classes.sum(axis=0)
        return total / total.sum() if total.any() else np.full(legend.N_INDEX, np.nan)

    def by_date(self) -> pd.DataFrame:
        """One row a date and band: date, band, mean, std, p2, p50, p98, all 0 to 1, and pixels."""
        rows = []
        for date, counts in zip(self.dates, self.bands, strict=True):
            mean, std = _moments(counts)
            p2, p50, p98 = _percentile(counts, (2, 50, 98))
            columns = zip(BAND_NAMES, mean, std, p2, p50, p98, counts.sum(axis=1), strict=True)
            rows += [(date, *values) for values in columns]
        return pd.DataFrame(rows, columns=["date", "band", "mean", "std", "p2", "p50", "p98", "pixels"])

    def to_dict(self) -> dict:
        """As lists, for JSON."""
        return {"dates": list(self.dates), "bands": self.bands.tolist(), "classes": self.classes.tolist()}

    @classmethod
    def from_dict(cls, stored: dict) -> "Statistics":
        """The inverse of ``to_dict``."""
        bands = np.array(stored["bands"], dtype=np.int64).reshape(-1, len(BAND_NAMES), 256)
        classes = np.array(stored["classes"], dtype=np.int64).reshape(-1, legend.N_INDEX)
        return cls(tuple(stored["dates"]), bands, classes)


def measure(table: pd.DataFrame) -> Statistics:
    """Count values and classes over the rows given (pass the train rows), reading every file once.

    Rows without a mask count for the bands only. Raises ValueError for an empty table, and naming the file
    for one that is unreadable, is not uint8, has another number of bands, or holds unknown class codes.
    """
    if table.empty:
        raise ValueError(
            "no rows to measure: the table is empty; pass for example table[table['split'] == 'train']"
        )
    dates = tuple(sorted(int(date) for date in table["date"].unique()))
    bands = np.zeros((len(dates), len(BAND_NAMES), 256), dtype=np.int64)
    classes = np.zeros((len(dates), legend.N_INDEX), dtype=np.int64)
    masks = table["mask"].where(table["mask"].notna(), None)
    jobs = list(zip(table["image"], masks, strict=True))
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for date, (image_counts, mask_counts) in zip(table["date"], pool.map(_count, jobs), strict=True):
            bands[dates.index(date)] += image_counts
            classes[dates.index(date)] += mask_counts
    return Statistics(dates, bands, classes)


def _count(job: tuple[str, str | ClassMask | None]) -> tuple[np.ndarray, np.ndarray]:
    """Histograms of one image [C, 256] and of its mask's class indices [12] (zeros without a mask)."""
    image_path, mask = job
    image = _read_uint8(image_path, len(BAND_NAMES))
    bands = np.stack([_histogram(band) for band in image])
    if mask is None or pd.isna(mask):
        return bands, np.zeros(legend.N_INDEX, dtype=np.int64)
    return bands, _histogram(read_index(mask))[: legend.N_INDEX]


def _histogram(values: np.ndarray) -> np.ndarray:
    """How often each of 0 to 255 occurs in a uint8 array, int64 [256].

    Large arrays are counted two neighbours at a time, as one of 65,536 pairs: half the steps.
    """
    flat = values.reshape(-1)
    if flat.size < PAIRWISE or flat.size % 2:
        return np.bincount(flat, minlength=256)
    pairs = np.bincount(flat.view(np.uint16), minlength=65536).reshape(256, 256)
    return pairs.sum(axis=0) + pairs.sum(axis=1)


def _read_uint8(path: str, bands: int) -> np.ndarray:
    array = read(path)
    if array.dtype != np.uint8 or len(array) != bands:
        raise ValueError(f"{path}: expected {bands} bands of uint8, got {len(array)} of {array.dtype}")
    return array


def _moments(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and population deviation of counts int64 [C, 256], each float64 [C] on the scale 0 to 1."""
    values = np.arange(256)
    total, first, second = counts.sum(axis=1), counts @ values, counts @ values**2
    # n * sum(v^2) - sum(v)^2 in Python's integers: exact, where int64 would overflow and floats would cancel
    spread = [int(n) * int(s2) - int(s1) ** 2 for n, s1, s2 in zip(total, first, second, strict=True)]
    return first / total / SCALE, np.sqrt(np.array(spread, dtype=np.float64)) / total / SCALE


def _percentile(counts: np.ndarray, q: float | Sequence[float]) -> np.ndarray:
    """Percentiles of counts int64 [C, 256]: see ``Statistics.percentile``."""
    levels = np.atleast_1d(np.asarray(q, dtype=np.float64))
    if levels.min() < 0 or levels.max() > 100:
        raise ValueError(f"percentile: got {q}; expected values from 0 to 100")
    cumulative = counts.cumsum(axis=1)
    wanted = np.maximum(levels[:, None] / 100 * cumulative[:, -1], 1)  # [len(q), C]; 0 is the minimum
    found = (cumulative[None] < wanted[..., None]).sum(axis=-1) / SCALE
    return found[0] if np.ndim(q) == 0 else found


def normalisation(
    name: Normalisation,
    statistics: Statistics | None = None,
    published: tuple[Sequence[float], Sequence[float]] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation, each float64 [C] in data band order on the scale 0 to 1, to normalise images with.

    - "wusu": as measured, in ``statistics``.
    - "burnscars": those of the HLS burn-scars set, which the study used as Prithvi's.
    - "prithvi": Prithvi-EO-2.0's pre-training statistics; nominal, since WUSU is not reflectance.
    - "backbone": ``published``, what the chosen weights expect (``catalogue.expected_statistics``).

    Raises ValueError for an unknown name or where what it needs was not given.
    """
    if name == "wusu":
        if statistics is None:
            raise ValueError(
                "normalisation 'wusu' needs statistics: pass measure(table[table['split'] == 'train'])"
            )
        mean, std = statistics.mean(), statistics.std()
    elif name == "burnscars":
        mean, std = (np.array(values) for values in BURNSCARS)
    elif name == "prithvi":
        mean, std = (np.array(values) for values in PRITHVI)
    elif name == "backbone":
        if published is None:
            raise ValueError("normalisation 'backbone' needs the mean and deviation that its weights expect")
        mean, std = (np.asarray(values, dtype=np.float64) for values in published)
    else:
        raise ValueError(f"normalisation: got {name!r}; allowed: {', '.join(get_args(Normalisation))}")
    if not (std > 0).all():
        raise ValueError(
            f"normalisation {name!r}: a band does not vary (deviations {std.tolist()}); check the images"
        )
    return mean, std


# What the class masks hold: the labels of one patch, the balance of the classes, transitions between dates.


def class_index(table: pd.DataFrame, patch: str) -> np.ndarray:
    """Class index, uint8 [H, W], of one patch of the table, not to be written to.

    A mask is read once, until its file changes. Raises KeyError for a patch without labels.
    """
    mask = _masks(table)[patch]
    return _kept_index(mask, file_state(mask))


_last: "list[tuple[weakref.ref[pd.DataFrame], dict[str, ClassMask | str]]]" = []


def _masks(table: pd.DataFrame) -> "dict[str, ClassMask | str]":
    """Masks of a table by patch; those of the last table are kept, since a page asks thousands of times."""
    if not _last or _last[0][0]() is not table:
        labelled = table[table["mask"].notna()]
        _last[:] = [(weakref.ref(table), dict(zip(labelled["patch"], labelled["mask"], strict=True)))]
    return _last[0][1]


@lru_cache(maxsize=2048)  # validation patches of the demo; half a gigabyte of 512 px
def _kept_index(mask: "ClassMask | str", state: FileState) -> np.ndarray:
    index = read_index(mask)
    index.setflags(write=False)
    return index


def class_shares(table: pd.DataFrame) -> pd.DataFrame:
    """Share of all pixels (0 to 1) by split (train, val, test where labelled) and class name (12 columns)."""
    labelled = table[table["mask"].notna()]
    splits = [split for split in ("train", "val", "test") if (labelled["split"] == split).any()]
    rows = [measure(labelled[labelled["split"] == split]).class_frequency() for split in splits]
    return pd.DataFrame(rows, index=splits, columns=list(legend.NAMES))


def class_transitions(table: pd.DataFrame) -> pd.DataFrame:
    """Pixels by class name at a date (rows) and at the next labelled date of the same site (columns),
    int64 [11, 11].

    Pixels that are unlabelled at either date are left out. Overlapping patches count shared ground once each.
    """
    counts = np.zeros(legend.N_INDEX**2, dtype=np.int64)
    for _, rows in table[table["mask"].notna()].sort_values("date").groupby("site"):
        maps = [read_index(mask).astype(np.int64) for mask in rows["mask"]]
        for earlier, later in pairwise(maps):
            counts += np.bincount((earlier * legend.N_INDEX + later).ravel(), minlength=len(counts))
    labelled = counts.reshape(legend.N_INDEX, legend.N_INDEX)[1:, 1:]
    return pd.DataFrame(labelled, index=legend.NAMES[1:], columns=legend.NAMES[1:])
