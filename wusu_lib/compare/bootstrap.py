"""Intervals of pooled metrics by resampling spatial blocks, paired, and crossed with seeds.

Neighbouring patches, and the dates of one patch, are not independent: what is drawn with replacement is a
spatial block with all its dates, the same blocks for both sides. Where there are several seeds, they are
drawn with replacement too, independently of the blocks and the same for both sides (the pigeonhole
bootstrap: Owen 2007, Ann. Appl. Stat. 1(2), doi 10.1214/07-AOAS122; it errs on the wide side). A class that
a resample lacks altogether is left out of that resample's macro mean, as ``metrics`` leaves it out; a
resample without one counted pixel is dropped.

The percentile interval is too narrow for three reasons: with n blocks by about sqrt((n-1)/n), since the
spread itself is estimated (both Hesterberg 2015, Am. Stat. 69(4), doi 10.1080/00031305.2015.1089789,
"expanded percentile"), and since neighbouring blocks are not independent (``neighbours``). Its two halves are
therefore stretched about the resamples' median by sqrt(V'/V) * t/z: V is the variance by blocks plus that by
seeds, V' the same with ``neighbours.dependence`` on the one and n/(n-1) on the other, t and z the quantiles
of Student's t and the normal distribution, with Welch and Satterthwaite's degrees of freedom. With two or
three seeds that disagree it widens the interval a lot, which is all that two or three seeds can support.
``simulation`` measures how often the interval is right.

With **one seed** only blocks are drawn: the interval is about these trained models on other ground of this
kind. It says nothing of another training with another seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wusu_lib.compare.measures import Measure, measure
from wusu_lib.compare.neighbours import dependence
from wusu_lib.compare.pairing import BlockCounts, Run, block_counts
from wusu_lib.legend import Background, Scheme

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
    ``holm``).
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
