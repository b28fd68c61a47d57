"""How often the interval leaves out 0: for equal methods (it should not) and for unequal ones (it should)."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from wusu_lib.compare.bootstrap import LEVEL, Resampled
from wusu_lib.compare.measures import measure
from wusu_lib.compare.pairing import BlockCounts
from wusu_lib.compare.simulation.errors import Scenario, draw
from wusu_lib.compare.simulation.ground import DATES, Ground, half_scenes
from wusu_lib.patches.splits import Scheme

RESAMPLES = 500  # of each pair: its ends are less exact than with 10,000, and not shifted
LENGTHS = (64.0, 256.0, 512.0, 1024.0)  # metres
GAINS = (0.0, 0.005, 0.01, 0.02, 0.03)  # of mIoU
SEEDS = (1, 3, 5)
SEED_SPREAD = 0.1  # standard deviation, on the logit of the rate missed of each class
GROUNDS: dict[str, Scheme] = {"whole test folder": "folders", "validation half of it": "blocks"}
AVERAGED = 24  # made grounds over which a gain is planted
TRIED = np.linspace(0, 0.5, 11)  # shifts
# Of the pairs of each study. The interval's reach was chosen with the pairs of seeds 0 to 2 in sight.
EQUAL, GAINED, REPEATED = 11, 12, 13


def by_length(n: int = 200, split: Scheme = "folders") -> pd.DataFrame:
    """How often two equal methods seem to differ, by how far errors are alike, resampling blocks and images.

    One training each, which the interval speaks about. Columns length (metres), resampled ("blocks" or
    "single images"), and those of ``share``.
    """
    ground, rows = half_scenes(split), []
    for length in LENGTHS:
        blocks, images = intervals(ground, Scenario(length=length), n, resampled=(by_block, by_image))[:, 0]
        rows.append({"length": length, "resampled": "blocks", **share(blocks)})
        rows.append({"length": length, "resampled": "single images", **share(images)})
    return pd.DataFrame(rows)


def by_gain(n: int = 200, gains: Sequence[float] = GAINS) -> pd.DataFrame:
    """How often a method that is better by ``gain`` of mIoU is found to be, at two sizes of the ground.

    Found: the whole interval is above 0. One training each. Columns ground, sites, gain, and those of
    ``share``.
    """
    rows = []
    for name, split in GROUNDS.items():
        ground = half_scenes(split)
        shifts = planted(ground, Scenario(), gains)
        for gain, found in zip(gains, intervals(ground, Scenario(), n, GAINED, shifts)[0], strict=True):
            rows.append({"ground": name, "sites": ground.n_sites, "gain": gain, **share(found, above=True)})
    return pd.DataFrame(rows)


def by_seeds(n: int = 200, gain: float = 0.02) -> pd.DataFrame:
    """What one, three and five seeds do where trainings differ: equal methods, and one better by ``gain``.

    Columns seeds, methods ("equal" or "one better"), and those of ``share``, of the whole test folder.
    """
    ground, rows = half_scenes("folders"), []
    shifts = planted(ground, Scenario(seed=SEED_SPREAD), (0.0, gain))
    for seeds in SEEDS:
        equal, better = intervals(ground, Scenario(seeds=seeds, seed=SEED_SPREAD), n, REPEATED, shifts)[0]
        rows.append({"seeds": seeds, "methods": "equal", **share(equal)})
        rows.append({"seeds": seeds, "methods": "one better", **share(better, above=True)})
    return pd.DataFrame(rows)


def share(ends: np.ndarray, above: bool = False) -> dict[str, float]:
    """How many of the intervals, [n, 2], leave out 0 (with ``above``: lie above it).

    pairs, count, rate; low, high: exact 95 % interval of the rate (Clopper and Pearson 1934, Biometrika 26).
    """
    from scipy.stats import binomtest

    low, high = ends.T
    n, count = len(ends), int(((low > 0) | ((high < 0) & (not above))).sum())
    of_rate = binomtest(count, n).proportion_ci(0.95)
    return {"pairs": n, "count": count, "rate": count / n, "low": of_rate.low, "high": of_rate.high}


def intervals(
    ground: Ground,
    scenario: Scenario,
    n: int,
    seed: int = EQUAL,
    shifts: Sequence[float] = (0.0,),
    resampled: Sequence[Callable[[Ground, np.ndarray], BlockCounts]] = (),
) -> np.ndarray:
    """Intervals of the difference of mIoU of ``n`` pairs: [ways to resample, shifts, n, 2], low and high.

    Made as ``compare.difference`` makes them. Pair i is the same for all shifts and ways to resample,
    whatever n.
    """
    ways, of = resampled or (by_block,), measure("mIoU")
    found = np.empty((len(ways), len(shifts), n, 2))
    for i in range(n):
        pair = draw(ground, scenario, np.random.default_rng([seed, i]))
        for s, shift in enumerate(shifts):
            cells = pair.counts(shift)
            for w, way in enumerate(ways):
                found[w, s, i] = Resampled.of(way(ground, cells), of, RESAMPLES, seed=i).interval(1 - LEVEL)
    return found


def planted(ground: Ground, scenario: Scenario, gains: Sequence[float]) -> list[float]:
    """The shifts that raise the expected mIoU of side a by ``gains``: read off a curve over made grounds."""
    of, one = measure("mIoU"), replace(scenario, seeds=1)
    scores = np.zeros(len(TRIED))
    for i in range(AVERAGED):
        pair = draw(ground, one, np.random.default_rng([9, i]))
        counted = [by_block(ground, pair.counts(shift)).values[0, 0].sum(axis=0) for shift in TRIED]
        scores += of.score(np.stack(counted)) / AVERAGED
    return np.interp(gains, scores - scores[0], TRIED).tolist()


def noise(n: int = 24) -> dict[str, float]:
    """What the assumed errors look like: standard deviations that can be held against real runs.

    image: of the difference of pixel accuracy between two equal methods on one image. seeds: of mIoU between
    the trainings of one method. mIoU: its mean. All 0 to 1, over ``n`` made grounds.
    """
    ground, of = half_scenes("folders"), measure("mIoU")
    images, spreads, level = [], [], []
    for i in range(n):
        scenario = Scenario(seeds=5, seed=SEED_SPREAD)
        cells = draw(ground, scenario, np.random.default_rng([8, i])).counts()
        hits, truth, _ = np.moveaxis(by_image(ground, cells).values[:, 0], 2, 0)  # [2, images, classes]
        accuracy = hits.sum(axis=-1) / truth.sum(axis=-1)
        images.append((accuracy[0] - accuracy[1]).std())
        scores = of.score(by_block(ground, cells).values.sum(axis=2))  # [2, seeds]
        spreads.append(scores.std(axis=1, ddof=1).mean())
        level.append(scores.mean())
    return {"image": float(np.mean(images)), "seeds": float(np.mean(spreads)), "mIoU": float(np.mean(level))}


def by_block(ground: Ground, cells: np.ndarray) -> BlockCounts:
    """Counts by block, all dates together."""
    values = cells.sum(axis=2) @ ground.cells_in_blocks.T  # [2, seeds, 3, classes, blocks]
    names = tuple(np.unique(ground.blocks).tolist())
    return BlockCounts(np.moveaxis(values, -1, 2), names, ground.n_sites * len(DATES))


def by_image(ground: Ground, cells: np.ndarray) -> BlockCounts:
    """Counts by image, each date by itself, as if no image had a neighbour."""
    by_site = np.moveaxis(cells @ ground.member.T, -1, 3)  # [2, seeds, dates, sites, 3, classes]
    values = by_site.reshape(*by_site.shape[:2], -1, *by_site.shape[-2:])
    return BlockCounts(values, tuple(f"image {i}" for i in range(values.shape[2])), values.shape[2])
