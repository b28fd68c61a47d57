"""Neighbouring blocks are not independent: how much wider an interval must be, and its degrees of freedom.

Errors do not stop at a block's border, and patches that overlap by half reach over it. Resampling takes the
blocks as independent, so its variance is too small. How much too small follows from the layout, if it is
assumed how far errors are alike: here by a correlation of exp(-distance / reach), with a reach of a quarter
of a block's side (256 m for blocks of two patch sides at 1 m).

With C the correlations between the blocks' contributions, [n, n], and M = I - 1/n the centring, the variance
of the sum is 1'C1, and the resampling expects tr(MCM) (effective sample size: Griffith 2005, Ann. Assoc. Am.
Geogr. 95(4), 740-760). Their quotient is n / (n - 1) for independent blocks. The degrees of freedom are those
of the quadratic form, tr(MCM)^2 / tr((MCM)^2) (Box 1954, Ann. Math. Stat. 25(2), 290-302), n - 1 for
independent blocks. To bound the correlation beforehand and be right up to the bound, instead of estimating it
from few blocks, follows Mueller and Watson 2022 (Econometrica 90(6), doi 10.3982/ECTA19465).
"""

import re
from functools import lru_cache

import numpy as np

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
