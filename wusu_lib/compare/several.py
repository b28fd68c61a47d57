"""Several sides against one baseline, in a table."""

from collections.abc import Mapping, Sequence

import pandas as pd

from wusu_lib.compare.bootstrap import difference
from wusu_lib.compare.pairing import Run
from wusu_lib.legend import Background

COLUMNS = ["experiment", "value", "low", "high", "n_patches", "n_blocks", "n_seeds"]


def differences(
    sides: Mapping[str, Sequence[Run]],
    baseline: Sequence[Run],
    metric: str,
    split: str = "val",
    background: Background = "ignore",
) -> pd.DataFrame:
    """One row a side: how much higher its figure is than the baseline's, on the same patches or pairs.

    ``sides``: label -> runs, one a seed. Columns: experiment (the label), value, low, high (paired 95 %
    interval), n_patches, n_blocks, n_seeds. Raises ValueError as ``difference`` does.
    """
    found = {label: difference(runs, baseline, metric, split, background) for label, runs in sides.items()}
    rows = [(label, *(getattr(each, name) for name in COLUMNS[1:])) for label, each in found.items()]
    return pd.DataFrame(rows, columns=COLUMNS)
