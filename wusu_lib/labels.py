"""What the class masks hold: the labels of one patch, the balance of the classes,
transitions between dates.
"""

from itertools import pairwise

import numpy as np
import pandas as pd

from wusu_lib import legend
from wusu_lib.patches import read
from wusu_lib.statistics import measure


def index(table: pd.DataFrame, patch: str) -> np.ndarray:
    """Class index, uint8 [H, W], of one patch of the table. Raises KeyError for a patch without labels."""
    path = table.set_index("patch")["mask"].dropna()[patch]
    return legend.index_from_code(read(path)[0])


def shares(table: pd.DataFrame) -> pd.DataFrame:
    """Share of all pixels (0 to 1) by split (rows: train, val, test where labelled) and class
    name (12 columns).
    """
    labelled = table[table["mask"].notna()]
    splits = [split for split in ("train", "val", "test") if (labelled["split"] == split).any()]
    rows = [measure(labelled[labelled["split"] == split]).class_frequency() for split in splits]
    return pd.DataFrame(rows, index=splits, columns=list(legend.NAMES))


def transitions(table: pd.DataFrame) -> pd.DataFrame:
    """Pixels by class name at a date (rows) and at the next labelled date of the same site (columns),
    int64 [11, 11].

    Pixels that are unlabelled at either date are left out. Overlapping patches count shared ground once each.
    """
    counts = np.zeros(legend.N_INDEX**2, dtype=np.int64)
    for _, rows in table[table["mask"].notna()].sort_values("date").groupby("site"):
        maps = [legend.index_from_code(read(path)[0]).astype(np.int64) for path in rows["mask"]]
        for earlier, later in pairwise(maps):
            counts += np.bincount((earlier * legend.N_INDEX + later).ravel(), minlength=len(counts))
    labelled = counts.reshape(legend.N_INDEX, legend.N_INDEX)[1:, 1:]
    return pd.DataFrame(labelled, index=legend.NAMES[1:], columns=legend.NAMES[1:])
