"""What each step of the two-stage way gives: its variants as runs, and their differences."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from wusu_lib import compare
from wusu_lib.change.results import read_variant
from wusu_lib.runs import Run

# Each step and what it is compared with: the variant without it.
STEPS = (
    ("slivers", "argmax", "slivers dropped"),
    ("units", "slivers", "and small areas dropped"),
    ("map", "argmax", "two dates decoded together"),
    ("joint", "map", "and all three dates"),
    ("all", "joint", "and both cleaned after that"),
    ("all", "argmax", "all steps"),
)


@dataclass(frozen=True)
class VariantRun:
    """One variant of a stored two-stage run, with what a comparison needs."""

    seed: int
    confusion: pd.DataFrame
    matrices: np.ndarray


def variant_runs(runs: Sequence[Run], name: str) -> list[VariantRun]:
    """A variant of each run. Raises ValueError naming the variants that there are."""
    return [
        VariantRun(run.seed, run.confusion, read_variant(run.folder, name, len(run.confusion)))
        for run in runs
    ]


def gains(
    runs: Sequence[Run], metric: str = "Fscd from-to", splits: Sequence[str] = ("val", "test")
) -> pd.DataFrame:
    """How much each step gains over the same maps without it, in every split.

    Columns: experiment (split and step in words), split, step, without (names of variants), value, low, high
    (95 % interval of the paired block bootstrap), p_value, n_blocks, n_seeds.
    """
    kept = {name: variant_runs(runs, name) for name in {name for step in STEPS for name in step[:2]}}
    rows = []
    for split in splits:
        for step, without, words in STEPS:
            found = compare.difference(kept[step], kept[without], metric, split)
            rows.append(
                {
                    "experiment": f"{split}: {words}",
                    "split": split,
                    "step": step,
                    "without": without,
                    "value": found.value,
                    "low": found.low,
                    "high": found.high,
                    "p_value": found.p_value,
                    "n_blocks": found.n_blocks,
                    "n_seeds": found.n_seeds,
                }
            )
    return pd.DataFrame(rows)
