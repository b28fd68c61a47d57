"""Figures of patches' counts for runs and their baseline, with the interval of the block bootstrap."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wusu_lib.compare.bootstrap import paired
from wusu_lib.compare.pairing import BlockCounts, by_block

RESAMPLES = 2000


@dataclass(frozen=True)
class Figure:
    """A figure (at most 1) of pooled counts: ``score`` takes [..., kinds, K] to [...], NaN where undefined.

    ``background`` and ``classes`` only name what was counted.
    """

    name: str
    score: Callable[[np.ndarray], np.ndarray]
    background: Any = "ignore"
    classes: Any = "all"
    lowest: float = 0.0


def effect(counts: Sequence[Sequence[np.ndarray]], blocks: Sequence[str], figure: Figure) -> dict[str, float]:
    """The figure of both sides (means over seeds) and the difference with its 95 % interval.

    counts: of the runs and of the baseline, one array [N, kinds, K] a seed in the same order; blocks: of the
    N patches. Keys: run, baseline, difference, low, high, blocks, seeds. NaN where the figure is undefined.
    """
    names = np.asarray(blocks, dtype=str)
    values = np.stack([[by_block(array.astype(float), names) for array in side] for side in counts])
    mine, theirs = figure.score(values.sum(axis=2)).mean(axis=1)
    found = {"run": float(mine), "baseline": float(theirs), "difference": float(mine - theirs)}
    sizes = {"blocks": values.shape[2], "seeds": values.shape[1]}
    if not np.isfinite(mine - theirs):
        return found | {"low": np.nan, "high": np.nan} | sizes
    kept = BlockCounts(values, tuple(np.unique(names).tolist()), n_patches=len(names))
    judged = paired(kept, figure, resamples=RESAMPLES)  # type: ignore[arg-type]
    return found | {"low": judged.low, "high": judged.high} | sizes


def by_seed(runs: Sequence[Any], baseline: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Both sides sorted by seed. Raises ValueError where their seeds differ."""
    sides = [sorted(side, key=lambda run: run.seed) for side in (runs, baseline)]
    seeds = [[run.seed for run in side] for side in sides]
    if not seeds[0] or seeds[0] != seeds[1]:
        raise ValueError(f"seeds: the runs have {seeds[0]}, the baseline {seeds[1]}; expected the same")
    return sides[0], sides[1]


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient, NaN where the denominator is 0."""
    empty = np.full(np.shape(numerator), np.nan)
    return np.divide(numerator, denominator, out=empty, where=denominator > 0)
