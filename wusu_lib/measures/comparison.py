"""Two sides on the same ground: their difference with its interval, from spatial blocks left out.

Which runs may be compared, their pixels per spatial block, intervals paired and crossed with seeds. How
neighbouring blocks depend on each other is in ``neighbours``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import pandas as pd

from wusu_lib.legend import ELEVEN, LabelSpace
from wusu_lib.measures.change import Measure, measure
from wusu_lib.measures.neighbours import LEVEL, Layout, layout

# Which runs may be compared, and their pixels per spatial block in one array.
#
# Two runs are paired by patch, block and seed. Everything that would compare different ground, different
# labels or different seeds is refused here, naming what differs.

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
        """int64 [N, M, M] as ``confusion``, rows truth: M = 12 by class, 111 from-to labels, 2 by changed."""


@dataclass(frozen=True)
class BlockCounts:
    """Pixels per side, seed and block, ready to be weighted and summed.

    values: float64 [sides, seeds, blocks, 3, K]; the 3 are hits, truth and predicted of ``classes.Counts``.
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
    order = np.argsort(blocks, kind="stable")
    _, starts = np.unique(blocks[order], return_index=True)
    return np.add.reduceat(counts[..., order, :, :], starts, axis=-3)


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


# Intervals of pooled metrics from spatial blocks left out one by one, paired, and with seeds.
#
# A metric of pooled counts is no mean over blocks, but it moves like one: leave one block out, and the
# change of the metric says what that block contributes (the jackknife's pseudo-values: Tukey 1958; Efron
# and Stein 1981, Ann. Stat. 9(3), doi 10.1214/aos/1176345462). A block holds all dates of its patches, and
# is left out of both sides of a difference. Blocks that no side's figure depends on say nothing about its
# spread and are left out of account. The spread of the mean contribution allows for neighbours that are
# alike: see ``neighbours``.
#
# Where there are several seeds, the metric of each is computed by itself and averaged. The variance between
# the seeds' figures, over their number, is added to the variance by blocks, less what that holds of it: how
# the trainings differ from block to block. It has one degree of freedom less than there are seeds, and the
# critical value knows of both parts. With two or three seeds that disagree the interval is wide, which is
# all that two or three seeds can support. ``simulation`` measures how often the interval is right.
#
# With **one seed** the interval is about these trained models on other ground of this kind. It says nothing
# of another training with another seed.

CHUNK = 2**22  # numbers at a time: bounds the memory


@dataclass(frozen=True)
class Interval:
    """A pooled metric (mean over seeds) with its 95 % interval, NaN where there is none.

    spread: standard deviation over the seeds (n - 1 in the denominator), None with one seed. labels as
    ``measure``'s. missing: why there is no interval, empty where there is one. placed: whether it
    is known how the blocks lie to each other; if not, they were taken to touch.
    """

    value: float
    low: float
    high: float
    n_patches: int  # images: each date of a site counts
    n_blocks: int
    n_seeds: int
    metric: str
    split: str
    labels: LabelSpace = ELEVEN
    spread: float | None = None
    missing: str = ""
    placed: bool = True


@dataclass(frozen=True)
class Difference(Interval):
    """Side a minus side b with its 95 % interval; all fields are of the paired difference.

    p_value: two-sided p-value of "no difference": 1 - the level of the widest interval, made in the same way,
    that leaves out 0. Not adjusted for several hypotheses (see ``verdict.holm``).
    """

    p_value: float = float("nan")


def difference(
    runs_a: Sequence[Run],
    runs_b: Sequence[Run],
    metric: str = "mIoU",
    split: str = "val",
    labels: LabelSpace = ELEVEN,
    family: int = 1,
) -> Difference:
    """How much larger the pooled metric of ``runs_a`` (an experiment) is than that of ``runs_b`` (its
    baseline).

    One run a seed on each side, with the same seeds, patches, blocks and labels; else ValueError, naming what
    differs. The metric of each seed's pooled counts, a minus b, is averaged over seeds. ``metric`` and
    ``labels``: as ``measure`` takes them; with merged classes the matrices of both sides are merged first.
    ``family``: of how many differences that are read together this is one; the 95 % are then of all their
    intervals at once (Bonferroni).
    """
    of = measure(metric, labels)
    return paired(block_counts([runs_a, runs_b], split, of), of, split, family)


def interval(
    runs: Sequence[Run], metric: str = "mIoU", split: str = "val", labels: LabelSpace = ELEVEN
) -> Interval:
    """The pooled metric of one experiment (mean over its seeds) with its interval, for tables and forest
    plots.

    Two such intervals that overlap do not show that two experiments are alike: ask ``difference``, which is
    paired.
    """
    of = measure(metric, labels)
    counted = block_counts([runs], split, of)
    return Interval(**_fields(Estimate.of(counted, of), counted, of, split, (of.lowest, 1.0), LEVEL))


def paired(counted: BlockCounts, of: Measure, split: str = "val", family: int = 1) -> Difference:
    """``difference`` of two sides that are counted by block already."""
    estimate = Estimate.of(counted, of)
    farthest = 1.0 - of.lowest
    level = 1 - (1 - LEVEL) / family
    fields = _fields(estimate, counted, of, split, (-farthest, farthest), level)
    return Difference(**fields, p_value=estimate.p_value())


def _fields(
    estimate: "Estimate",
    counted: BlockCounts,
    of: Measure,
    split: str,
    bounds: tuple[float, float],
    level: float,
) -> dict[str, Any]:
    """Fields of an Interval, its ends within what the metric can be."""
    low, high = np.clip(estimate.interval(level), *bounds).tolist()
    return {
        "value": estimate.value,
        "low": low,
        "high": high,
        "n_patches": counted.n_patches,
        "n_blocks": counted.n_blocks,
        "n_seeds": counted.n_seeds,
        "metric": of.name,
        "split": split,
        "labels": of.labels,
        "spread": estimate.spread,
        "missing": estimate.missing,
        "placed": estimate.blocks is None or estimate.blocks.placed,
    }


@dataclass(frozen=True)
class Estimate:
    """A figure with the two parts of its variance: by blocks and by seeds.

    spread: standard deviation over the seeds, None with one. block: that of the blocks' contributions, each
    taken for the whole figure.
    """

    value: float
    spread: float | None = None
    n_seeds: int = 1
    by_blocks: float = 0.0
    by_seeds: float = 0.0
    block: float = float("nan")
    blocks: Layout | None = None  # None: no interval
    missing: str = ""

    @classmethod
    def of(cls, counted: BlockCounts, of: Measure) -> "Estimate":
        """Leave out each block in turn. NaN where the figure itself is undefined."""
        whole = of.score(counted.values.sum(axis=2))  # [sides, S]
        if not np.isfinite(whole).all():
            return cls(float("nan"), n_seeds=whole.shape[-1], missing="nothing that counts is annotated")
        by_seed = side_difference(whole)
        n_seeds = len(by_seed)
        spread = float(by_seed.std(ddof=1)) if n_seeds > 1 else None
        found = cls(float(by_seed.mean()), spread, n_seeds)
        if counted.n_blocks == 1:
            return replace(found, missing="one block cannot give any")
        left = left_out(counted, of)
        if not np.isfinite(left).all():
            return replace(found, missing="without one of the blocks the figure is undefined")
        moved = (left != whole).any(axis=(1, 2))
        at_an_end = (whole <= of.lowest) | (whole >= 1)
        if not moved.any() and not at_an_end.all():
            moved[:] = True  # all blocks show the same, and neither all nor none of it is right
        if moved.sum() < 2:
            return replace(found, missing="no two blocks show anything but all right or all wrong")
        names = tuple(name for name, counts in zip(counted.blocks, moved, strict=True) if counts)
        blocks = layout(names)
        contributions = (len(names) - 1) * (by_seed - side_difference(left[moved]))  # [B, S]
        of_seeds = 0.0 if spread is None else spread**2 / n_seeds - _local(contributions, blocks)
        return replace(
            found,
            by_blocks=blocks.variance(contributions.mean(axis=1)),
            by_seeds=max(of_seeds, 0.0),
            block=float(contributions.mean(axis=1).std(ddof=1)),
            blocks=blocks,
        )

    def interval(self, level: float = LEVEL) -> np.ndarray:
        """Low and high of the interval of that level; NaN where there is none."""
        if self.blocks is None:
            return np.array([np.nan, np.nan])
        error = self._error()
        reach = error * self.blocks.critical(level, self._share(), self.n_seeds) if error else 0.0
        return self.value + reach * np.array([-1.0, 1.0])

    def p_value(self) -> float:
        """1 - the level of the widest interval that leaves out 0; NaN where there is none."""
        if self.blocks is None:
            return float("nan")
        error = self._error()
        if not error:
            return float(self.value == 0)
        if not self.value:
            return 1.0
        return self.blocks.exceeds(abs(self.value) / error, self._share(), self.n_seeds)

    def _error(self) -> float:
        return float(np.sqrt(self.by_blocks + self.by_seeds))

    def _share(self) -> float:
        """The seeds' part of the variance."""
        return self.by_seeds / (self.by_blocks + self.by_seeds)


def side_difference(figures: np.ndarray) -> np.ndarray:
    """Side a minus side b, or the one side: [..., sides, S] -> [..., S]."""
    return figures[..., 0, :] - figures[..., 1, :] if figures.shape[-2] == 2 else figures[..., 0, :]


def _local(contributions: np.ndarray, blocks: Layout) -> float:
    """What trainings differ by from block to block adds to the variance between seeds, over their number.

    contributions: [B, S]. It is part of the variance by blocks already.
    """
    n_seeds = contributions.shape[1]
    own = (contributions - contributions.mean(axis=1, keepdims=True)).T
    return float(sum(blocks.variance(each) for each in own) / (n_seeds - 1) / n_seeds)


def left_out(counted: BlockCounts, of: Measure) -> np.ndarray:
    """The figure without each block: [B, sides, S]."""
    by_block = np.moveaxis(counted.values, 2, 0)  # [B, sides, S, kinds, K]
    total = counted.values.sum(axis=2)
    step = max(1, CHUNK // total.size)
    parts = []
    for start in range(0, len(by_block), step):
        left = total - by_block[start : start + step]
        left[left < 0.5] = 0.0  # counts are whole pixels: less is rounding, and none are left
        parts.append(of.score(left))
    return np.concatenate(parts)


# Several sides against one baseline, in a table.

COLUMNS = ["experiment", "value", "low", "high", "n_patches", "n_blocks", "n_seeds", "missing"]


def differences(
    sides: Mapping[str, Sequence[Run]],
    baseline: Sequence[Run],
    metric: str,
    split: str = "val",
    labels: LabelSpace = ELEVEN,
) -> pd.DataFrame:
    """One row a side: how much higher its figure is than the baseline's, on the same patches or pairs.

    ``sides``: label -> runs, one a seed. Columns: experiment (the label), value, low, high (paired intervals,
    of 95 % all together), n_patches, n_blocks, n_seeds, missing. Raises ValueError as ``difference`` does.
    """
    found = {
        label: difference(runs, baseline, metric, split, labels, family=len(sides))
        for label, runs in sides.items()
    }
    rows = [(label, *(getattr(each, name) for name in COLUMNS[1:])) for label, each in found.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


def ranks(
    sides: Sequence[Sequence[Run]],
    metric: str = "mIoU",
    split: str = "val",
    labels: LabelSpace = ELEVEN,
    draws: int = 2000,
    seed: int = 0,
) -> np.ndarray:
    """Rank of each side, 1 the best, on sets of blocks drawn with replacement: int64 [draws, sides].

    One run a seed on each side, on the same blocks; the figure is the mean over seeds. Of equals the first
    is ahead. Raises ValueError as ``block_counts``, and where the sides lie on different blocks.
    """
    of = measure(metric, labels)
    counted = [block_counts([runs], split, of) for runs in sides]
    if any(each.blocks != counted[0].blocks for each in counted):
        raise ValueError(
            "the sides lie on different blocks; expected runs over the same split of the same data"
        )
    n = counted[0].n_blocks
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws).astype(float)
    figures = [
        np.nan_to_num(of.score(np.einsum("db,sbij->dsij", weights, each.values[0])).mean(axis=1))
        for each in counted
    ]
    order = np.argsort(-np.stack(figures, axis=1), axis=1, kind="stable")
    return np.argsort(order, axis=1) + 1


# Figures of patches' counts for runs and their baseline, with intervals from spatial blocks.


@dataclass(frozen=True)
class Figure:
    """A figure (at most 1) of pooled counts: ``score`` takes [..., kinds, K] to [...], NaN where undefined.

    ``labels`` only names what was counted.
    """

    name: str
    score: Callable[[np.ndarray], np.ndarray]
    labels: LabelSpace = ELEVEN
    lowest: float = 0.0


def effect_of_counts(
    counts: Sequence[Sequence[np.ndarray]], blocks: Sequence[str], figure: Figure, family: int = 1
) -> dict[str, Any]:
    """The figure of both sides (means over seeds) and the difference with its 95 % interval.

    counts: of the runs and of the baseline, one array [N, kinds, K] a seed in the same order; blocks: of the
    N patches. Keys: run, baseline, difference, low, high, missing (why there is no interval, else empty),
    blocks, seeds. NaN where the figure is undefined. ``family``: of how many figures that are read together
    this is one; the 95 % are of all their intervals at once.
    """
    names = np.asarray(blocks, dtype=str)
    values = np.stack([[by_block(array.astype(float), names) for array in side] for side in counts])
    mine, theirs = figure.score(values.sum(axis=2)).mean(axis=1)
    found = {"run": float(mine), "baseline": float(theirs), "difference": float(mine - theirs)}
    kept = BlockCounts(values, tuple(np.unique(names).tolist()), n_patches=len(names))
    judged = paired(kept, figure, family=family)  # type: ignore[arg-type]
    sizes = {"blocks": judged.n_blocks, "seeds": judged.n_seeds}
    return found | {"low": judged.low, "high": judged.high, "missing": judged.missing} | sizes


def effects(
    counts: Sequence[Sequence[np.ndarray]], blocks: Sequence[str], figures: Sequence[Figure]
) -> list[dict[str, Any]]:
    """``effect_of_counts`` of figures that are read together; the family: those defined on both sides."""
    sides = [np.stack([array.sum(axis=0) for array in side]).astype(float) for side in counts]
    defined = [all(np.isfinite(figure.score(side)).all() for side in sides) for figure in figures]
    return [effect_of_counts(counts, blocks, figure, max(1, sum(defined))) for figure in figures]


def sorted_by_seed(runs: Sequence[Any], baseline: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Both sides sorted by seed. Raises ValueError where their seeds, patches, splits or blocks differ."""
    sides = [sorted(side, key=lambda run: run.seed) for side in (runs, baseline)]
    seeds = [[run.seed for run in side] for side in sides]
    if not seeds[0] or seeds[0] != seeds[1]:
        raise ValueError(f"seeds: the runs have {seeds[0]}, the baseline {seeds[1]}; expected the same")
    first, *others = [_ground(run) for side in sides for run in side]
    if any(not first.equals(other) for other in others):
        raise ValueError(
            "the runs lie on different ground: patches, splits or blocks of the confusion tables differ; "
            "expected runs over the same split of the same data"
        )
    return sides[0], sides[1]


def _ground(run: Any) -> pd.DataFrame:
    """Patch, split and block of a run's rows, by patch."""
    return run.confusion[["patch", "split", "block"]].sort_values("patch", ignore_index=True)
