"""How often the interval leaves out 0: for equal methods (it should not) and for unequal ones (it should)."""

from dataclasses import replace

import numpy as np
import pandas as pd

from wusu_lib.compare.bootstrap import Difference, paired
from wusu_lib.compare.measures import measure
from wusu_lib.compare.pairing import BlockCounts
from wusu_lib.compare.simulation.errors import Scenario, cell_counts
from wusu_lib.compare.simulation.ground import DATES, Ground, half_scenes

RESAMPLES = 500  # of each pair: its ends are less exact than with 10,000, and not shifted
LENGTHS = (64.0, 256.0, 512.0, 1024.0)  # metres
GAINS = (0.0, 0.005, 0.01, 0.02, 0.03)  # of mIoU
SEEDS = (1, 3, 5)
SEED_SPREAD = 0.1  # standard deviation, on the logit of the rate missed of each class
GROUNDS = 24  # over which a gain is planted


def by_length(n: int = 200, split: str = "folders") -> pd.DataFrame:
    """How often two equal methods seem to differ, by how far errors are alike, resampling blocks and images.

    One training each, which the interval speaks about. Columns length (metres), resampled ("blocks" or
    "single images"), and those of ``share``.
    """
    ground = half_scenes(split)
    return pd.DataFrame(
        [
            {"length": length, "resampled": "single images" if naive else "blocks", **share(found)}
            for length in LENGTHS
            for naive in (False, True)
            for found in [pairs(ground, Scenario(length=length), n, naive=naive)]
        ]
    )


def by_gain(n: int = 200, seeds: int = 1) -> pd.DataFrame:
    """How often a method that is better by ``gain`` of mIoU is found to be, at two sizes of the ground.

    Found: the whole interval is above 0. Columns ground, sites, gain, and those of ``share``.
    """
    rows = []
    for name, split in (("whole test folder", "folders"), ("validation half of it", "blocks")):
        ground = half_scenes(split)
        scenario = Scenario(seeds=seeds, seed=SEED_SPREAD if seeds > 1 else 0.0)
        for gain in GAINS:
            better = replace(scenario, shift=planted(ground, scenario, gain))
            found = pairs(ground, better, n, seed=1)
            rows.append({"ground": name, "sites": ground.n_sites, "gain": gain, **share(found, above=True)})
    return pd.DataFrame(rows)


def by_seeds(n: int = 200, gain: float = 0.02) -> pd.DataFrame:
    """What one, three and five seeds do where trainings differ: equal methods, and one better by ``gain``.

    Columns seeds, methods ("equal" or "one better"), and those of ``share``, of the whole test folder.
    """
    ground, rows = half_scenes("folders"), []
    for seeds in SEEDS:
        scenario = Scenario(seeds=seeds, seed=SEED_SPREAD)
        better = replace(scenario, shift=planted(ground, scenario, gain))
        equal = share(pairs(ground, scenario, n, seed=2))
        rows.append({"seeds": seeds, "methods": "equal", **equal})
        found = share(pairs(ground, better, n, seed=3), above=True)
        rows.append({"seeds": seeds, "methods": "one better", **found})
    return pd.DataFrame(rows)


def share(found: list[Difference], above: bool = False) -> dict[str, float]:
    """How many of the intervals leave out 0 (with ``above``: lie above it) and what that says about all.

    pairs, count, rate; low, high: exact 95 % interval of the rate (Clopper and Pearson 1934, Biometrika 26).
    """
    from scipy.stats import binomtest

    n = len(found)
    count = sum(each.low > 0 or (each.high < 0 and not above) for each in found)
    ends = binomtest(count, n).proportion_ci(0.95)
    return {"pairs": n, "count": count, "rate": count / n, "low": ends.low, "high": ends.high}


def planted(ground: Ground, scenario: Scenario, gain: float) -> float:
    """The shift that raises the expected mIoU by ``gain``: bisection over made grounds, noise held fixed."""
    if gain == 0:
        return 0.0
    low, high = 0.0, 1.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (middle, high) if _mean_gain(ground, scenario, middle) < gain else (low, middle)
    return (low + high) / 2


def _mean_gain(ground: Ground, scenario: Scenario, shift: float) -> float:
    """Mean rise of side a's mIoU from shift 0, its errors otherwise the same."""
    of, one, rises = measure("mIoU"), replace(scenario, seeds=1), []
    for i in range(GROUNDS):
        scores = [
            of.score(
                _by_block(ground, cell_counts(ground, each, np.random.default_rng([9, i]))).values.sum(2)
            )
            for each in (one, replace(one, shift=shift))
        ]
        rises.append(float(scores[1][0, 0] - scores[0][0, 0]))
    return float(np.mean(rises))


def noise(n: int = 24) -> dict[str, float]:
    """What the assumed errors look like: standard deviations that can be held against real runs.

    image: of the difference of pixel accuracy between two equal methods on one image. seeds: of mIoU between
    the trainings of one method. mIoU: its mean. All 0 to 1, over ``n`` made grounds.
    """
    ground, of = half_scenes("folders"), measure("mIoU")
    images, spreads, level = [], [], []
    for i in range(n):
        scenario = Scenario(seeds=5, seed=SEED_SPREAD)
        cells = cell_counts(ground, scenario, np.random.default_rng([8, i]))
        hits, truth, _ = np.moveaxis(_by_image(ground, cells).values[:, 0], 2, 0)  # [2, images, classes]
        accuracy = hits.sum(axis=-1) / truth.sum(axis=-1)
        images.append((accuracy[0] - accuracy[1]).std())
        scores = of.score(_by_block(ground, cells).values.sum(axis=2))  # [2, seeds]
        spreads.append(scores.std(axis=1, ddof=1).mean())
        level.append(scores.mean())
    return {"image": float(np.mean(images)), "seeds": float(np.mean(spreads)), "mIoU": float(np.mean(level))}


def pairs(ground: Ground, scenario: Scenario, n: int, seed: int = 0, naive: bool = False) -> list[Difference]:
    """Differences of ``n`` made pairs; ``naive`` resamples single images in place of blocks.

    Pair i is the same whatever n, and the same ground and errors for both kinds of resampling.
    """
    of, found = measure("mIoU"), []
    for i in range(n):
        cells = cell_counts(ground, scenario, np.random.default_rng([seed, i]))
        counted = _by_image(ground, cells) if naive else _by_block(ground, cells)
        found.append(paired(counted, of, resamples=RESAMPLES, seed=i))
    return found


def _by_block(ground: Ground, cells: np.ndarray) -> BlockCounts:
    """Counts by block, all dates together."""
    values = cells.sum(axis=2) @ ground.cells_in_blocks.T  # [2, seeds, 3, classes, blocks]
    names = tuple(np.unique(ground.blocks).tolist())
    return BlockCounts(np.moveaxis(values, -1, 2), names, ground.n_sites * len(DATES))


def _by_image(ground: Ground, cells: np.ndarray) -> BlockCounts:
    """Counts by image, each date by itself, as if no image had a neighbour."""
    by_site = np.moveaxis(cells @ ground.member.T, -1, 3)  # [2, seeds, dates, sites, 3, classes]
    values = by_site.reshape(*by_site.shape[:2], -1, *by_site.shape[-2:])
    return BlockCounts(values, tuple(f"image {i}" for i in range(values.shape[2])), values.shape[2])
