"""Made change runs: pairs in blocks with matrices of change, without training anything."""

import numpy as np
from made_runs import MadeRun, patch_table

from wusu_lib import transitions
from wusu_lib.measures import change


def pair_rows(n_blocks=4):
    """One row a pair: two intervals of two sites in each block."""
    table = patch_table(n_blocks)
    rows = table[table["date"] != 18].copy()
    rows["date"] = rows["date"].map({15: 1516, 16: 1618})
    return rows.assign(
        patch=[f"{s}@{d}" for s, d in zip(rows["site"], rows["date"], strict=True)]
    ).reset_index(drop=True)


def run(right, binary=False, seed=0, n_blocks=4):
    """A run that finds the share ``right`` of 100 changed pixels a pair (road to lake), or a few more."""
    label = transitions.NAMES.index("Road to Lake")
    rows = pair_rows(n_blocks)
    matrices = np.zeros((len(rows), 111, 111), dtype=np.int64)
    for number, matrix in enumerate(matrices):
        hits = int(100 * right) + number % 3
        matrix[label, label], matrix[label, 0] = hits, 110 - hits
        matrix[0, label], matrix[0, 0] = 10, 800
    matrices = change.reduce(matrices, "binary") if binary else matrices
    return MadeRun(seed, rows, matrices)
