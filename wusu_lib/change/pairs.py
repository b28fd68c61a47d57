"""The pairs of dates on which change is judged, and what a planner asks of them: new buildings, roads."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from wusu_lib import legend
from wusu_lib.data.masks import read_index
from wusu_lib.transitions import FIRST, SECOND, UNLABELLED, from_to

_OF_A_DATE = ("date", "patch", "image", "mask")
_OF_BOTH = (f"{name}{number}" for name in _OF_A_DATE for number in (1, 2))
COLUMNS = ("patch", "site", "date", "split", "block", *_OF_BOTH, "bcd", "scd")


def pairs(table: pd.DataFrame, changes: pd.DataFrame) -> pd.DataFrame:
    """One row an interval of ``changes`` whose site has class masks at both dates, in the order of
    ``changes``.

    ``table``: patches with split and block assigned; ``changes``: change masks, of ``tree.scan_changes``.
    Columns: patch (the pair's key, "test/HS1516_0"), site, date (1516), split and block (the site's), date1,
    date2 (two-digit years), patch1, patch2, image1, image2, mask1, mask2 (keys and paths of a date), bcd,
    scd (paths, or NA where there is none). A site that lost its place in the table (the cut between splits)
    has no pair. Raises ValueError where no pair is left.
    """
    labelled = table.loc[table["mask"].notna(), ["site", "split", "block", *_OF_A_DATE]]
    found = changes.merge(_dated(labelled, 1), on=["site", "date1"], validate="many_to_one")
    second = _dated(labelled, 2).drop(columns=["split", "block"])
    found = found.merge(second, on=["site", "date2"], validate="many_to_one")
    if found.empty:
        raise ValueError(
            f"none of {len(changes)} change masks has class masks at both dates; expected files such as "
            "train/HS/change/SCD/HS1516_0.tif beside train/HS/class/HS15_0.tif and HS16_0.tif"
        )
    keys = [
        f"{row.folder}/{row.area}{row.date1:02d}{row.date2:02d}_{row.index_}"
        for row in found.rename(columns={"index": "index_"}).itertuples()
    ]
    return found.assign(patch=keys, date=100 * found["date1"] + found["date2"])[list(COLUMNS)]


def _dated(labelled: pd.DataFrame, number: int) -> pd.DataFrame:
    """Rows of the table as the first or the second date of a pair."""
    return labelled.rename(columns={name: f"{name}{number}" for name in _OF_A_DATE})


def true_labels(row: Any) -> np.ndarray:
    """True from-to map of a pair (a row of ``pairs``) from its class masks, uint8 [H, W]."""
    return from_to(*(read_index(mask) for mask in (row.mask1, row.mask2)))


# What a planner asks for: new buildings, new excavations, new roads.

# Name -> the classes of ground that is new of it.
TARGETS = {
    "New building": ("Low building", "High building"),
    "New excavation": ("Excavation",),
    "New road": ("Road",),
}


def is_target(labels: np.ndarray, target: str) -> np.ndarray:
    """Where a from-to map says that ground became the target from something else: bool, the map's shape."""
    indices = [legend.NAMES.index(name) for name in TARGETS[target]]
    return np.isin(SECOND[labels], indices) & ~np.isin(FIRST[labels], indices)


def largest_targets(pairs: pd.DataFrame) -> dict[str, str]:
    """Target -> the pair in which most ground truly became it; targets that never occur are left out."""
    pixels = {
        row.patch: {t: int(is_target(true_labels(row), t).sum()) for t in TARGETS}
        for row in pairs.itertuples()
    }
    found = {target: max(pixels, key=lambda patch: pixels[patch][target]) for target in TARGETS}
    return {target: patch for target, patch in found.items() if pixels[patch][target]}


def target_counts(runs: Sequence[Any], pairs: pd.DataFrame) -> pd.DataFrame:
    """Pixels of each target over some pairs: columns found, missed, false; summed over the runs.

    ``runs``: ``prediction(pair)`` -> from-to labels. Ground unlabelled at either date does not count.
    """
    found = pd.DataFrame(0, index=list(TARGETS), columns=["found", "missed", "false"])
    for row in pairs.itertuples():
        truth = true_labels(row)
        for labels in (run.prediction(row.patch) for run in runs):
            for target in TARGETS:
                wanted = is_target(truth, target)
                claimed = is_target(labels, target) & (truth != UNLABELLED)
                found.loc[target] += [
                    int((wanted & claimed).sum()),
                    int((wanted & ~claimed).sum()),
                    int((claimed & ~wanted).sum()),
                ]
    return found
