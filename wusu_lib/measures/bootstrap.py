"""Two sides on the same ground: their difference with its interval, by resampling spatial blocks.

Which runs may be compared, their pixels per spatial block, intervals paired and crossed with seeds, and
the dependence of neighbouring blocks.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import pandas as pd

from wusu_lib.legend import Background, Scheme
from wusu_lib.measures.change import Measure, measure

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
        """int64 [N, M, M], rows truth, columns prediction, in the order of ``confusion``: M = 12 by class
        index, 111 by from-to label or 2 by changed.
        """


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


# Neighbouring blocks are not independent: how much wider an interval must be, and its degrees of freedom.
#
# Errors do not stop at a block's border, and patches that overlap by half reach over it. Resampling takes
# the blocks as independent, so its variance is too small. How much too small follows from the layout, if it
# is assumed how far errors are alike: here by a correlation of exp(-distance / reach), with a reach of a
# quarter of a block's side (256 m for blocks of two patch sides at 1 m).
#
# With C the correlations between the blocks' contributions, [n, n], and M = I - 1/n the centring, the
# variance of the sum is 1'C1, and the resampling expects tr(MCM) (effective sample size: Griffith 2005,
# Ann. Assoc. Am. Geogr. 95(4), 740-760). Their quotient is n / (n - 1) for independent blocks. The degrees
# of freedom are those of the quadratic form, tr(MCM)^2 / tr((MCM)^2) (Box 1954, Ann. Math. Stat. 25(2),
# 290-302), n - 1 for independent blocks. To bound the correlation beforehand and be right up to the bound,
# instead of estimating it from few blocks, follows Mueller and Watson 2022 (Econometrica 90(6), doi
# 10.3982/ECTA19465).

REACH = 0.5  # of a block's side
_PLACED = re.compile(r"(.+)/(\d+)_(\d+)")  # names of patches.assign: split/area/component/row_column
_POINTS = 8  # a side, for the mean over a block


@lru_cache(maxsize=64)
def dependence(names: tuple[str, ...], reach: float = REACH) -> tuple[float, float]:
    """Variance of a sum of blocks over what resampling them shows, and the degrees of freedom of the latter.

    ``names`` of at least two blocks; what ends in row_column lies on a grid with all of the same beginning,
    in units of a block's side, any other name is ground of its own.
    """
    correlation = _between(names, reach)
    shown = correlation - correlation.mean(axis=0)
    shown -= shown.mean(axis=1, keepdims=True)
    inflation = correlation.sum() / np.trace(shown)
    return float(inflation), float(np.trace(shown) ** 2 / (shown**2).sum())


def _between(names: tuple[str, ...], reach: float) -> np.ndarray:
    """Correlations between blocks, [n, n]."""
    found = [_PLACED.fullmatch(name) for name in names]
    grids = np.array([match[1] if match else name for match, name in zip(found, names, strict=True)])
    places = np.array([(int(match[2]), int(match[3])) if match else (0, 0) for match in found])
    lags = np.abs(places[:, None] - places[None])  # [n, n, 2]
    kinds, which = np.unique(lags.reshape(-1, 2), axis=0, return_inverse=True)
    covariance = np.array([_covariance(int(dy), int(dx), reach) for dy, dx in kinds])[which.ravel()]
    same = grids[:, None] == grids[None]
    return np.where(same, covariance.reshape(same.shape), 0.0) / _covariance(0, 0, reach)


@lru_cache(maxsize=4096)
def _covariance(dy: int, dx: int, reach: float) -> float:
    """Mean of exp(-distance / reach) between two unit squares that are dy and dx apart."""
    points = (np.indices((_POINTS, _POINTS)).reshape(2, -1).T + 0.5) / _POINTS
    apart = np.linalg.norm(points[:, None] - points[None] - (dy, dx), axis=-1)
    return float(np.exp(-apart / reach).mean())


# Intervals of pooled metrics by resampling spatial blocks, paired, and crossed with seeds.
#
# Neighbouring patches, and the dates of one patch, are not independent: what is drawn with replacement is a
# spatial block with all its dates, the same blocks for both sides. Where there are several seeds, they are
# drawn with replacement too, independently of the blocks and the same for both sides (the pigeonhole
# bootstrap: Owen 2007, Ann. Appl. Stat. 1(2), doi 10.1214/07-AOAS122; it errs on the wide side). A class
# that a resample lacks altogether is left out of that resample's macro mean, as ``classes`` leaves it out;
# a resample without one counted pixel is dropped.
#
# The percentile interval is too narrow for three reasons: with n blocks by about sqrt((n-1)/n), since the
# spread itself is estimated (both Hesterberg 2015, Am. Stat. 69(4), doi 10.1080/00031305.2015.1089789,
# "expanded percentile"), and since neighbouring blocks are not independent (``dependence``). Its two halves
# are therefore stretched about the resamples' median by sqrt(V'/V) * t/z: V is the variance by blocks plus
# that by seeds, V' the same with ``dependence`` on the one and n/(n-1) on the other, t and z the quantiles
# of Student's t and the normal distribution, with Welch and Satterthwaite's degrees of freedom. With two or
# three seeds that disagree it widens the interval a lot, which is all that two or three seeds can support.
# ``simulation`` measures how often the interval is right.
#
# With **one seed** only blocks are drawn: the interval is about these trained models on other ground of
# this kind. It says nothing of another training with another seed.

LEVEL = 0.95
CHUNK = 1000  # resamples at a time: bounds the memory
MIN_RESAMPLES = 100


@dataclass(frozen=True)
class Interval:
    """A pooled metric (mean over seeds) with its 95 % interval, which is NaN if there is only one block.

    spread: standard deviation over the seeds (n - 1 in the denominator), None with one seed. background and
    classes as ``measure``'s.
    """

    value: float
    low: float
    high: float
    n_patches: int  # images: each date of a site counts
    n_blocks: int
    n_seeds: int
    metric: str
    split: str
    background: str = "ignore"
    classes: str = "all"
    spread: float | None = None


@dataclass(frozen=True)
class Difference(Interval):
    """Side a minus side b with its 95 % interval; all fields are of the paired difference.

    p_value: two-sided bootstrap p-value of "no difference": 1 - the level of the widest interval, made in
    the same way, that leaves out 0. At least 2 / (resamples + 1). Not adjusted for several hypotheses (see
    ``verdict.holm``).
    """

    p_value: float = float("nan")


def difference(
    runs_a: Sequence[Run],
    runs_b: Sequence[Run],
    metric: str = "mIoU",
    split: str = "val",
    background: Background = "ignore",
    classes: Scheme = "all",
    resamples: int = 10_000,
    seed: int = 0,
) -> Difference:
    """How much larger the pooled metric of ``runs_a`` (an experiment) is than that of ``runs_b`` (its
    baseline).

    One run a seed on each side, with the same seeds, patches, blocks and labels; else ValueError, naming what
    differs. The metric of each seed's pooled counts, a minus b, is averaged over seeds. ``metric``,
    ``background``, ``classes``: as ``measure`` takes them; with ``classes="merged"`` the matrices of both
    sides are merged first. ``seed`` is that of the resampling: same runs and seed, same result, whatever the
    order of runs and rows.
    """
    of = measure(metric, background, classes)
    return paired(block_counts([runs_a, runs_b], split, of), of, split, resamples, seed)


def interval(
    runs: Sequence[Run],
    metric: str = "mIoU",
    split: str = "val",
    background: Background = "ignore",
    classes: Scheme = "all",
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """The pooled metric of one experiment (mean over its seeds) with its interval, for tables and forest
    plots.

    Two such intervals that overlap do not show that two experiments are alike: ask ``difference``, which is
    paired.
    """
    of = measure(metric, background, classes)
    counted = block_counts([runs], split, of)
    resampled = Resampled.of(counted, of, resamples, seed)
    return Interval(**_fields(resampled, counted, of, split, (of.lowest, 1.0)))


def paired(
    counted: BlockCounts, of: Measure, split: str = "val", resamples: int = 10_000, seed: int = 0
) -> Difference:
    """``difference`` of two sides that are counted by block already."""
    resampled = Resampled.of(counted, of, resamples, seed)
    farthest = 1.0 - of.lowest
    fields = _fields(resampled, counted, of, split, (-farthest, farthest))
    return Difference(**fields, p_value=resampled.p_value())


def _fields(
    resampled: "Resampled", counted: BlockCounts, of: Measure, split: str, bounds: tuple[float, float]
) -> dict[str, Any]:
    """Fields of an Interval, its ends within what the metric can be."""
    low, high = np.clip(resampled.interval(1 - LEVEL), *bounds).tolist()
    return {
        "value": resampled.value,
        "low": low,
        "high": high,
        "n_patches": counted.n_patches,
        "n_blocks": counted.n_blocks,
        "n_seeds": counted.n_seeds,
        "metric": of.name,
        "split": split,
        "background": of.background,
        "classes": of.classes,
        "spread": resampled.spread,
    }


@dataclass(frozen=True)
class Resampled:
    """The resampled figure: its draws, how far to stretch them, and with how many degrees of freedom."""

    value: float
    spread: float | None  # standard deviation over the seeds, None with one
    draws: np.ndarray  # [resamples], sorted; empty if there is one block only
    stretch: float  # sqrt(V'/V)
    freedom: float

    @classmethod
    def of(cls, counted: BlockCounts, of: Measure, resamples: int, seed: int) -> "Resampled":
        """Draw blocks and seeds. Raises ValueError where the figure is undefined or the draws are too few."""
        if resamples < MIN_RESAMPLES:
            raise ValueError(f"resamples: got {resamples}; expected at least {MIN_RESAMPLES}")
        every_block = np.ones((1, counted.n_blocks))
        by_seed = _figures(every_block, counted, of)[0]  # [S]
        if not np.isfinite(by_seed).all():
            raise ValueError(
                f"{of.name} is undefined: the split has no labelled pixel that counts "
                "(for change: none that changed, in truth or prediction)"
            )
        value, several = float(by_seed.mean()), counted.n_seeds > 1
        spread = float(by_seed.std(ddof=1)) if several else None
        if counted.n_blocks == 1:
            return cls(value, spread, np.empty(0), 1.0, np.inf)
        by_block, draws = _resample(counted, of, resamples, np.random.default_rng(seed))
        parts = [(by_block.var(), *dependence(counted.blocks))]
        if several:
            n = counted.n_seeds
            parts.append((by_seed.var() / n, n / (n - 1), n - 1.0))
        stretch, freedom = _small_sample(*np.array(parts).T)
        return cls(value, spread, np.sort(draws), stretch, freedom)

    def interval(self, alpha: float) -> np.ndarray:
        """Low and high of the interval of level 1 - alpha; NaN without draws."""
        from scipy.special import ndtri, stdtrit

        if not self.draws.size:
            return np.array([np.nan, np.nan])
        factor = self.stretch * stdtrit(self.freedom, 1 - alpha / 2) / ndtri(1 - alpha / 2)
        low, middle, high = np.quantile(self.draws, [alpha / 2, 0.5, 1 - alpha / 2])
        return middle + factor * np.array([low - middle, high - middle])

    def p_value(self) -> float:
        """The largest alpha whose interval still holds 0, by bisection; NaN without draws."""
        if not self.draws.size:
            return float("nan")
        holds, leaves_out = 2 / (self.draws.size + 1), 1 - 1e-6
        if not self._holds_zero(holds):
            return holds
        if self._holds_zero(leaves_out):
            return 1.0
        while leaves_out - holds > 1e-6:
            alpha = (holds + leaves_out) / 2
            holds, leaves_out = (alpha, leaves_out) if self._holds_zero(alpha) else (holds, alpha)
        return holds

    def _holds_zero(self, alpha: float) -> bool:
        low, high = self.interval(alpha)
        return bool(low <= 0 <= high)


def _figures(weights: np.ndarray, counted: BlockCounts, of: Measure) -> np.ndarray:
    """The metric (a minus b, if there are two sides) of weighted sums of blocks: [n, B] -> [n, S]."""
    sides, seeds, blocks, kinds, classes = counted.values.shape
    flat = np.moveaxis(counted.values, 2, 0).reshape(blocks, -1)
    figures = of.score((weights @ flat).reshape(-1, sides, seeds, kinds, classes))  # [n, sides, S]
    return figures[:, 0] - figures[:, 1] if sides == 2 else figures[:, 0]


def _resample(
    counted: BlockCounts, of: Measure, resamples: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The figure with drawn blocks and all seeds, and with both drawn: two arrays [resamples]."""
    by_block, draws = [], []
    for start in range(0, resamples, CHUNK):
        n = min(CHUNK, resamples - start)
        figures = _figures(_draw(rng, n, counted.n_blocks), counted, of)  # [n, S]
        seeds = _draw(rng, n, counted.n_seeds) / counted.n_seeds
        by_block.append(figures.mean(axis=1))
        draws.append((figures * seeds).sum(axis=1))
    pair = np.stack([np.concatenate(by_block), np.concatenate(draws)])
    by_block_kept, draws_kept = pair[:, np.isfinite(pair).all(axis=0)]
    return by_block_kept, draws_kept


def _draw(rng: np.random.Generator, n: int, size: int) -> np.ndarray:
    """How often each of ``size`` things is drawn in ``size`` draws with replacement: float64 [n, size]."""
    drawn = rng.integers(size, size=(n, size)) + size * np.arange(n)[:, None]
    return np.bincount(drawn.ravel(), minlength=n * size).reshape(n, size).astype(np.float64)


def _small_sample(variances: np.ndarray, inflations: np.ndarray, freedoms: np.ndarray) -> tuple[float, float]:
    """sqrt(V'/V) and the degrees of freedom (Satterthwaite 1946) of a sum of variances: V as resampled, V'
    each part times its inflation.
    """
    if variances.sum() == 0:
        return 1.0, float(freedoms.min())
    unbiased = variances * inflations
    freedom = unbiased.sum() ** 2 / (unbiased**2 / freedoms).sum()
    return float(np.sqrt(unbiased.sum() / variances.sum())), float(freedom)


# Several sides against one baseline, in a table.

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


# Figures of patches' counts for runs and their baseline, with the interval of the block bootstrap.

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


def effect_of_counts(
    counts: Sequence[Sequence[np.ndarray]], blocks: Sequence[str], figure: Figure
) -> dict[str, float]:
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


def sorted_by_seed(runs: Sequence[Any], baseline: Sequence[Any]) -> tuple[list[Any], list[Any]]:
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
