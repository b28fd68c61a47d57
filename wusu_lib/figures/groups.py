"""The two sides of every comparison: this experiment's runs and the baseline's, with name and colour."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from wusu_lib.figures.theme import BASELINE, THIS


class Group(NamedTuple):
    """Runs that differ only in their seed."""

    runs: list[Any]
    name: str
    colour: str


def groups(runs: Sequence[Any], baseline_runs: Sequence[Any], names: Sequence[str] | None) -> list[Group]:
    """The baseline (if any) and this experiment, in drawing order: what is asked about lies on top.

    ``names``: of this experiment and of the baseline; None takes what each run is ``called``. Raises
    ValueError without runs.
    """
    if not len(runs):
        raise ValueError("runs: got none; pass the runs of one experiment, one a seed")
    sides = [(runs, THIS, "this run"), (baseline_runs, BASELINE, "baseline")]
    found = [
        Group(list(members), names[i] if names else getattr(members[0], "called", fallback), colour)
        for i, (members, colour, fallback) in enumerate(sides)
        if len(members)
    ]
    return found[::-1]


def pooled(run: Any, split: str) -> np.ndarray:
    """Sum of a run's matrices [12,12] over one split. Raises ValueError where the split has none."""
    rows = (run.confusion["split"] == split).to_numpy()
    if not rows.any():
        known = sorted(set(run.confusion["split"]))
        raise ValueError(f"split {split!r} has no confusion matrix; the run has {known}")
    return np.asarray(run.matrices)[rows].sum(axis=0)
