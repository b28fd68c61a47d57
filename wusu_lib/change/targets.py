"""What a planner asks for: new buildings, new excavations, new roads."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from wusu_lib import legend
from wusu_lib.change.pairs import true_labels
from wusu_lib.change.transitions import FIRST, SECOND, UNLABELLED

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


def largest(pairs: pd.DataFrame) -> dict[str, str]:
    """Target -> the pair in which most ground truly became it; targets that never occur are left out."""
    pixels = {
        row.patch: {t: int(is_target(true_labels(row), t).sum()) for t in TARGETS}
        for row in pairs.itertuples()
    }
    found = {target: max(pixels, key=lambda patch: pixels[patch][target]) for target in TARGETS}
    return {target: patch for target, patch in found.items() if pixels[patch][target]}


def counts(runs: Sequence[Any], pairs: pd.DataFrame) -> pd.DataFrame:
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
