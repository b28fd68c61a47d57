"""How far an interval from spatial blocks must reach, where neighbouring blocks are alike.

Errors do not stop at a block's border, and patches that overlap reach over it, so blocks are not independent.
How far errors are alike cannot be learnt from few blocks; it is bounded beforehand: a correlation of
exp(-distance / reach) between places, with any reach up to half a block's side.

The variance of a mean of blocks is estimated as by spatial correlation principal components (Mueller and
Watson 2022, Econometrica 90(6), doi 10.3982/ECTA19465): from a few weighted sums of blocks, those that vary
most under the longest reach and so hold most of what neighbours share. Where these vary more than all sums
do, neighbours are alike, and what the few still miss is likely to be more: the estimate is multiplied by that
quotient. The critical value is the largest over all reaches up to the bound, for Gaussian blocks at
these places, so that errors of any shorter reach are allowed for too. The number of sums is the one that
gives the shortest interval where blocks are independent. Without the factor this is Mueller and Watson's
method; with it fewer standard errors are enough for the same rate of false differences.

Where it is not known how blocks lie to each other, they are taken to touch, as tightly as can be. No sum can
then be said to hold what neighbours share: the estimate is the blocks' plain variance, and the critical value
makes up for all of the longest reach. That holds whatever the order of the blocks.
"""

import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np

REACH = 0.5  # of a block's side: the longest that is allowed for
REACHES = REACH * np.array([1.0, 0.6, 0.3, 1e-3])
LEVEL = 0.95
GROUPS = 256  # above so many blocks, weights are equal within squares of neighbouring blocks
MOST_SUMS = 60
FAR = 5  # block sides: what blocks farther apart share is under 1e-4
LAGS = [(y, x) for y in range(-FAR, FAR + 1) for x in range(-FAR, FAR + 1) if y * y + x * x <= FAR * FAR]
DRAWS, NUMBERS = 10_000, 1_000_000  # Gaussian draws of the blocks, and numbers drawn at most
_PLACED = re.compile(r"(.+)/([^/]+)/(\d+)_(\d+)")  # names of patches.assign: split/area/component/row_column
_POINTS = 8  # a side, for the mean over a block


@dataclass(frozen=True)
class Layout:
    """Blocks on the ground, and how estimates of spread from them vary.

    placed: whether all places are known. group: int [n], the square of neighbours that each block is in.
    sums: [groups, groups - 1], weights of sums of groups, those first that vary most; empty if not placed.
    number: how many of them the estimate is made of. The rest is of Gaussian blocks of variance 1 by reach, n
    times over. estimates: [reaches, draws], of the variance of the mean. leans: [reaches, draws], root n
    times the mean that goes with them; remaining: [reaches], its variance about that.
    """

    placed: bool
    group: np.ndarray
    sums: np.ndarray
    number: int
    estimates: np.ndarray
    leans: np.ndarray
    remaining: np.ndarray
    _critical: dict[tuple[float, float, int], float] = field(default_factory=dict, compare=False)

    def variance(self, values: np.ndarray) -> float:
        """The estimated variance of the mean of the blocks' values [n]."""
        n = len(values)
        if not self.placed:
            return float(values.var(ddof=1) / n)
        of_groups = np.bincount(self.group, values) / np.sqrt(np.bincount(self.group))
        squares = (self.sums.T @ of_groups) ** 2
        return float(_corrected(squares[: self.number].mean(), squares.mean()) / n)

    def exceeds(self, bound: float, share: float = 0.0, seeds: int = 1) -> float:
        """The largest chance, over all reaches, that an estimate is over ``bound`` standard errors off.

        The standard error is that of the blocks and of ``seeds`` trainings; ``share``: the trainings' part of
        the estimated variance.
        """
        from scipy.special import ndtr

        odds = share / max(1 - share, 1e-9)
        training = odds * self.estimates.mean(axis=1, keepdims=True)
        drawn = training * trainings(seeds, self.estimates.shape[1])
        ends = bound * np.sqrt(self.estimates + drawn)
        deviation = np.sqrt(self.remaining[:, None] + training)
        chance = ndtr((-ends - self.leans) / deviation) + ndtr((self.leans - ends) / deviation)
        return float(chance.mean(axis=1).max())

    def critical(self, level: float = LEVEL, share: float = 0.0, seeds: int = 1) -> float:
        """How many standard errors an interval of that level reaches to each side; see ``exceeds``."""
        from scipy.optimize import brentq

        def over(logarithm: float) -> float:
            return self.exceeds(float(np.exp(logarithm)), share, seeds) - (1 - level)

        asked = (level, share, seeds)
        if asked not in self._critical:
            self._critical[asked] = float(np.exp(brentq(over, -3.0, 20.0, xtol=1e-4)))
        return self._critical[asked]


@lru_cache(maxsize=16)
def trainings(seeds: int, draws: int) -> np.ndarray:
    """Estimates of a variance of 1 from so many seeds, [draws]; 0 from one."""
    if seeds == 1:
        return np.zeros(draws)
    return np.random.default_rng(1).chisquare(seeds - 1, draws) / (seeds - 1)


def _corrected(low: Any, plain: Any) -> Any:
    """Mean square of the first sums, times its quotient to that of all where this is over 1."""
    quotient = np.divide(low, plain, out=np.ones_like(low), where=plain > 0)
    return low * np.maximum(quotient, 1.0)


@lru_cache(maxsize=64)
def layout(names: tuple[str, ...]) -> Layout:
    """The layout of at least two blocks of those names.

    What ends in component/row_column lies on a grid, in units of a block's side, with all of the same
    beginning and component; another beginning is ground far away. How several components of one beginning,
    and blocks of any other name, lie to each other is not known.
    """
    ground, places, placed = _places(names)
    first, second, lag = _neighbours(ground, places)
    correlations = [_correlations(reach)[lag] for reach in REACHES]
    if not placed:
        return _unplaced(len(names), first, correlations)
    group = _groups(ground, places)
    size = np.bincount(group).astype(float)
    scale = np.sqrt(size[group[first]] * size[group[second]])
    cell = group[first] * len(size) + group[second]
    between = [
        np.bincount(cell, each / scale, len(size) ** 2).reshape(len(size), -1) for each in correlations
    ]
    return _placed(group, np.sqrt(size / size.sum()), between)


def _places(names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, bool]:
    """Number of each block's ground [n], its row and column [n, 2], and whether these are known."""
    found = [_PLACED.fullmatch(name) for name in names]
    beginnings = np.array([match[1] if match else "" for match in found])
    components = np.array([match[2] if match else name for match, name in zip(found, names, strict=True)])
    places = np.array([(int(match[3]), int(match[4])) if match else (0, 0) for match in found])
    placed = True
    kinds, ground = np.unique(beginnings, return_inverse=True)
    for number in range(len(kinds)):
        here = np.flatnonzero(ground == number)
        if len(set(components[here])) > 1:
            placed = False
            side = int(np.ceil(np.sqrt(len(here))))
            places[here] = np.stack(np.divmod(np.arange(len(here)), side), axis=1)
    return ground, places, placed


def _neighbours(ground: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of blocks that are near each other, each with itself too: numbers of both, number of the lag."""
    rows, columns = (places - places.min(axis=0) + FAR).T
    height, width = rows.max() + FAR + 1, columns.max() + FAR + 1
    key = (ground * height + rows) * width + columns
    order = np.argsort(key)
    parts = []
    for number, (dy, dx) in enumerate(LAGS):
        wanted = key + dy * width + dx
        at = np.minimum(np.searchsorted(key, wanted, sorter=order), len(key) - 1)
        there = key[order[at]] == wanted
        parts.append((np.flatnonzero(there), order[at[there]], np.full(there.sum(), number)))
    first, second, lag = (np.concatenate(each) for each in zip(*parts, strict=True))
    return first, second, lag


@lru_cache(maxsize=16)
def _correlations(reach: float) -> np.ndarray:
    """Correlation of the means over two unit squares at each of ``LAGS``, of exp(-distance / reach)."""
    points = (np.indices((_POINTS, _POINTS)).reshape(2, -1).T + 0.5) / _POINTS
    between = points[:, None] - points[None]  # [64, 64, 2]
    apart = np.linalg.norm(between - np.array(LAGS)[:, None, None], axis=-1)  # [lags, 64, 64]
    shared = np.exp(-apart / reach).mean(axis=(1, 2))
    return shared / shared[LAGS.index((0, 0))]


def _groups(ground: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Number of each block's group, [n]: the smallest squares of which there are at most ``GROUPS``.

    Where there is more ground than that far from each other, a group holds several.
    """
    for side in range(1, int(places.max()) + 2):
        squares = np.column_stack([ground, places // side])
        kinds, group = np.unique(squares, axis=0, return_inverse=True)
        if len(kinds) <= GROUPS:
            return group.ravel()
    return group.ravel() * GROUPS // len(kinds)


def _placed(group: np.ndarray, mean: np.ndarray, between: list[np.ndarray]) -> Layout:
    """Draw Gaussian groups of covariances ``between``, and choose the number of sums.

    mean: [groups], weights of root n times the mean of all blocks.
    """
    sums = _principal(between[0], mean)
    numbers = _numbers(len(mean) - 1)
    basis = np.column_stack([mean, sums])
    covariances = basis.T @ np.stack(between) @ basis  # [reaches, groups, groups]
    draws = min(DRAWS, NUMBERS // len(mean))
    white = np.random.default_rng(0).standard_normal((draws, len(mean) - 1))
    squares = np.empty((len(numbers) + 1, len(between), draws))
    leans, remaining = np.empty((len(between), draws)), np.empty(len(between))
    for at, covariance in enumerate(covariances):
        root = np.linalg.cholesky(covariance[1:, 1:])
        with_mean = np.linalg.solve(root, covariance[1:, 0])
        leans[at], remaining[at] = white @ with_mean, covariance[0, 0] - with_mean @ with_mean
        each = (white @ root.T) ** 2
        for number, kept in enumerate([*numbers, each.shape[1]]):
            squares[number, at] = each[:, :kept].mean(axis=1)
    candidates = [
        Layout(True, group, sums, number, _corrected(low, squares[-1]), leans, remaining)
        for low, number in zip(squares[:-1], numbers, strict=True)
    ]
    return min(candidates, key=_length)


def _principal(between: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Orthonormal sums that leave out the mean, those that vary most first: [groups, groups - 1]."""
    across = between @ mean
    centred = between - np.outer(mean, across) - np.outer(across, mean) + mean @ across * np.outer(mean, mean)
    _, vectors = np.linalg.eigh(centred - np.trace(between) * np.outer(mean, mean))  # the mean comes last
    return vectors[:, :0:-1]


def _numbers(most: int) -> list[int]:
    """How many sums are tried."""
    most = min(most, MOST_SUMS)
    return sorted({*range(1, min(most, 10) + 1), *np.geomspace(1, most, 12).round().astype(int).tolist()})


def _length(candidate: Layout) -> float:
    """Expected length of the interval of independent blocks, from some of the draws."""
    some = slice(None, None, 8)
    fewer = replace(
        candidate, estimates=candidate.estimates[:, some], leans=candidate.leans[:, some], _critical={}
    )
    return float(np.sqrt(fewer.estimates[-1]).mean() * fewer.critical())


def _unplaced(n: int, first: np.ndarray, correlations: list[np.ndarray]) -> Layout:
    """Spread of the plain variance: its mean and degrees of freedom (Box 1954, Ann. Math. Stat. 25(2))."""
    estimates, remaining = [], []
    for each in correlations:
        mean = each.sum() / n
        across = np.bincount(first, each, n)
        square = (each**2).sum() - 2 * (across**2).sum() / n + mean**2
        freedom = (n - mean) ** 2 / square
        drawn = np.random.default_rng(0).chisquare(freedom, DRAWS) / freedom
        estimates.append((n - mean) / (n - 1) * drawn)
        remaining.append(mean)
    group, leans = np.arange(n), np.zeros((len(estimates), DRAWS))
    return Layout(False, group, np.empty((n, 0)), 0, np.stack(estimates), leans, np.array(remaining))
