"""Several ways of finding change on the same pairs: their figures and differences, each with its interval."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from wusu_lib import compare
from wusu_lib.change.measures import FIGURES
from wusu_lib.runs import Run


def intervals(sides: Mapping[str, Sequence[Run]], names: Sequence[str], split: str = "val") -> pd.DataFrame:
    """One row a way and figure: way, figure, value, low, high (95 % interval of ``compare.interval``).

    ``sides``: name of a way -> its runs, one a seed. Figures that need classes are left out for ways that
    know only changed and unchanged.
    """
    rows = []
    for way, runs in sides.items():
        for name in names:
            if knows(runs, name):
                found = compare.interval(runs, name, split)
                rows.append((way, name, found.value, found.low, found.high))
    return pd.DataFrame(rows, columns=["way", "figure", "value", "low", "high"])


def differences(
    sides: Mapping[str, Sequence[Run]], baseline: Sequence[Run], name: str, split: str = "val"
) -> pd.DataFrame:
    """One row a way: how much higher its figure is than the baseline's, on the same pairs.

    Columns as of ``compare.differences``, which raises too. Ways that do not know the figure are left out.
    """
    able = {way: runs for way, runs in sides.items() if knows(runs, name)}
    return compare.differences(able, baseline, name, split)


def knows(runs: Sequence[Run], name: str) -> bool:
    """Whether a figure can be had of the runs: those of change alone have no classes."""
    convention, _ = FIGURES[name]
    return convention == "binary" or np.shape(runs[0].matrices)[-1] > 2
