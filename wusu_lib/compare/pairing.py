"""Which runs may be compared, and their pixels per spatial block in one array.

Two runs are paired by patch, block and seed. Everything that would compare different ground, different
labels or different seeds is refused here, naming what differs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd

from wusu_lib.compare.measures import Measure

SHOWN = 3  # names listed in an error before "and N more"


class Run(Protocol):
    """What a comparison needs of a stored run."""

    @property
    def seed(self) -> int:
        """The seed it was trained with."""

    @property
    def confusion(self) -> pd.DataFrame:
        """One row an image: patch, site, date, split, block."""

    @property
    def matrices(self) -> np.ndarray:
        """int64 [N, M, M], rows truth, columns prediction, in the order of ``confusion``: M = 12 by class
        index, 111 by from-to label or 2 by changed.
        """


@dataclass(frozen=True)
class BlockCounts:
    """Pixels per side, seed and block, ready to be weighted and summed.

    values: float64 [sides, seeds, blocks, 3, K]; the 3 are hits, truth and predicted of ``metrics.Counts``.
    blocks: their names in that order. n_patches: images, each date of a site; for change, intervals of two
    dates.
    """

    values: np.ndarray
    blocks: tuple[str, ...]
    n_patches: int

    @property
    def n_seeds(self) -> int:
        """Number of seeds."""
        return self.values.shape[1]

    @property
    def n_blocks(self) -> int:
        """Number of spatial blocks."""
        return self.values.shape[2]


@dataclass(frozen=True)
class _Rows:
    """The rows of one run in one split, sorted by patch."""

    label: str
    keys: pd.DataFrame  # patch, site, block
    counts: np.ndarray  # [N, 3, K]


def block_counts(sides: Sequence[Sequence[Run]], split: str, measure: Measure) -> BlockCounts:
    """Sum the counts of each run of each side by spatial block, over all dates.

    Raises ValueError where runs cannot be paired: other seeds, patches, blocks or labels on the two sides,
    a patch or a seed twice, a split without patches, one site in two blocks, matrices that the measure cannot
    read.
    """
    _check_seeds(sides)
    rows = [
        [
            _rows(run, split, measure, f"side {side}, seed {run.seed}")
            for run in sorted(runs, key=lambda run: run.seed)
        ]
        for side, runs in zip("ab", sides, strict=False)
    ]
    first = rows[0][0]
    _check_sites(first)
    for other in [run for side in rows for run in side][1:]:
        _check_same(first, other)
    blocks = first.keys["block"].to_numpy(str)
    values = np.stack([[by_block(run.counts, blocks) for run in side] for side in rows])
    return BlockCounts(values, tuple(np.unique(blocks).tolist()), n_patches=len(first.keys))


def by_block(counts: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """Sums of rows by block, blocks in sorted order: counts [..., N, 3, K], blocks [N] -> [..., B, 3, K]."""
    names, block = np.unique(blocks, return_inverse=True)
    member = (block == np.arange(len(names))[:, None]).astype(np.float64)  # [B, N]
    flat = counts.reshape(*counts.shape[:-2], -1)  # [..., N, 3 * K]
    return (member @ flat).reshape(*counts.shape[:-3], len(names), *counts.shape[-2:])


def _rows(run: Run, split: str, measure: Measure, label: str) -> _Rows:
    table, matrices = run.confusion.reset_index(drop=True), np.asarray(run.matrices)
    if len(table) != len(matrices):
        raise ValueError(f"{label}: {len(table)} rows of confusion but {len(matrices)} matrices")
    keys = table.loc[table["split"] == split, ["patch", "site", "block"]].sort_values("patch")
    if keys.empty:
        known = ", ".join(sorted(table["split"].unique())) or "none"
        raise ValueError(f"{label}: no patches of split {split!r}; it has: {known}")
    twice = keys.loc[keys["patch"].duplicated(), "patch"].unique()
    if len(twice):
        raise ValueError(f"{label}: patches more than once: {_listed(twice)}")
    try:
        counts = measure.counts(matrices[keys.index])
    except ValueError as error:
        raise ValueError(f"{label}: {error}") from None
    return _Rows(label, keys.reset_index(drop=True), counts)


def _check_seeds(sides: Sequence[Sequence[Run]]) -> None:
    """Raise ValueError unless all sides have the same seeds, each once."""
    seeds = [sorted(run.seed for run in runs) for runs in sides]
    for side, found in zip("ab", seeds, strict=False):
        if not found:
            raise ValueError(f"side {side} has no run; train it first")
        if len(set(found)) < len(found):
            raise ValueError(f"side {side} has a seed more than once: {found}; pass one run a seed")
    if any(found != seeds[0] for found in seeds):
        raise ValueError(
            f"seeds cannot be paired: side a has {seeds[0]}, side b has {seeds[1]}; "
            "train the missing ones or pass only the seeds that both have"
        )


def _check_sites(run: _Rows) -> None:
    blocks = run.keys.groupby("site")["block"].nunique()
    if (blocks > 1).any():
        names = _listed(blocks.index[blocks > 1])
        raise ValueError(
            f"{run.label}: sites in more than one block: {names}; all dates of a site share a block"
        )


def _check_same(first: _Rows, other: _Rows) -> None:
    """Raise ValueError unless both rows hold the same patches, blocks and labels."""
    missing = sorted(set(first.keys["patch"]) - set(other.keys["patch"]))
    extra = sorted(set(other.keys["patch"]) - set(first.keys["patch"]))
    if missing or extra:
        raise ValueError(
            f"runs over different patches cannot be paired: {len(missing)} only in {first.label} "
            f"({_listed(missing)}), {len(extra)} only in {other.label} ({_listed(extra)})"
        )
    for column in ("block", "site"):
        differs = (first.keys[column] != other.keys[column]).to_numpy()
        if differs.any():
            names = _listed(first.keys["patch"][differs])
            raise ValueError(
                f"{first.label} and {other.label} put {differs.sum()} patches into different {column}s: "
                f"{names}; both must use the same split of the same data"
            )
    differs = (first.counts[:, 1] != other.counts[:, 1]).any(axis=1)  # true pixels by class
    if differs.any():
        names = _listed(first.keys["patch"][differs])
        raise ValueError(
            f"{first.label} and {other.label} were scored on different labels "
            f"in {differs.sum()} patches: {names}"
        )


def _listed(names: Sequence[str] | pd.Index | pd.Series | np.ndarray) -> str:
    """The first few names, and how many more there are."""
    names = [str(name) for name in names]
    if not names:
        return "none"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
