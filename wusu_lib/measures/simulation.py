"""Does the interval hold what it promises? Pairs of made models whose true difference is known.

They are compared as real ones are: patches and blocks laid out as in the real data set, errors that are
alike at neighbouring places, and how often the interval leaves out 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pandas as pd

from wusu_lib.data.splits import PAIR_COLUMNS, Overlaps, Scheme, assign
from wusu_lib.measures.change import Measure, measure
from wusu_lib.measures.comparison import BlockCounts, Estimate, left_out, side_difference
from wusu_lib.measures.verdict import Prediction, outcome_of, power

# The real data set's layout without its images: patches that overlap by half, and their blocks.
#
# The test folder of OpenWUSU512 has 288 patches of Hongshan and 270 of Jiang'an, which is what windows of
# 512 pixels at a stride of half a window give over half of each scene: 24 x 12 and 27 x 10. One pixel is
# one metre.

STRIDE = 256  # pixels, half a patch: the side of a cell
AREAS = {"HS": (24, 12), "JA": (27, 10)}  # patches along and across half a scene
DATES = (15, 16, 18)


@dataclass(frozen=True)
class Ground:
    """Cells of 256 x 256 pixels, and the patches of 2 x 2 cells that lie on them.

    area: int [cells], which scene. places: [cells, 2], y and x of the centres in metres. member: float
    [sites, cells], 1 where a site covers a cell. blocks: [sites], name of each site's spatial block.
    """

    area: np.ndarray
    places: np.ndarray
    member: np.ndarray
    blocks: np.ndarray

    @property
    def n_sites(self) -> int:
        """Number of patches of one date."""
        return len(self.blocks)

    @cached_property
    def cells_in_blocks(self) -> np.ndarray:
        """How many sites of each block cover each cell: float [blocks, cells]."""
        names, block = np.unique(self.blocks, return_inverse=True)
        return (block == np.arange(len(names))[:, None]).astype(np.float64) @ self.member


@lru_cache
def half_scenes(split: Scheme = "folders") -> Ground:
    """Ground of the patches that a comparison uses, with blocks as ``splits.assign`` makes them.

    "folders": the whole test folder, 558 sites. "blocks": the validation half of it, without the cut.
    """
    layout = pd.concat([_sites(area, *size) for area, size in AREAS.items()], ignore_index=True)
    layout["component"] = pd.factorize(layout["area"])[0]
    table = layout.assign(folder="test", split="test", date=DATES[0], patch=layout["site"], mask="")
    table = assign(table, split, Overlaps(_pairs(layout), layout.drop(columns=["area", "index"])))
    used = table[table["split"] == ("test" if split == "folders" else "val")]
    cells = [
        (i, y, x) for i, (ny, nx) in enumerate(AREAS.values()) for y in range(ny + 1) for x in range(nx + 1)
    ]
    area, rows, columns = np.array(cells).T
    covers = [
        (area == row.component) & _within(rows, row.y) & _within(columns, row.x) for row in used.itertuples()
    ]
    member = np.array(covers)
    seen = member.any(axis=0)
    places = np.stack([rows, columns], axis=1)[seen] * STRIDE + STRIDE / 2
    return Ground(area[seen], places, member[:, seen].astype(np.float64), used["block"].to_numpy(str))


def _sites(area: str, along: int, across: int) -> pd.DataFrame:
    """One row a site of half a scene: its name and its window in pixels."""
    y, x = (each.ravel() * STRIDE for each in np.indices((along, across)))
    index = np.arange(along * across)
    names = [f"test/{area}_{i}" for i in index]
    window = {"y": y, "x": x, "height": 2 * STRIDE, "width": 2 * STRIDE}
    return pd.DataFrame({"site": names, "area": area, "index": index, **window})


def _pairs(layout: pd.DataFrame) -> pd.DataFrame:
    """The pairs of sites that share ground, as the audit of a real tree lists them."""
    rows = []
    for _, part in layout.groupby("component"):
        y, x = part["y"].to_numpy(), part["x"].to_numpy()
        dy, dx = y[None] - y[:, None], x[None] - x[:, None]
        near = (abs(dy) < 2 * STRIDE) & (abs(dx) < 2 * STRIDE) & np.triu(np.ones(dy.shape, dtype=bool), 1)
        names = part["site"].to_numpy()
        for i, j in np.argwhere(near):
            shared = (2 * STRIDE - abs(dy[i, j])) * (2 * STRIDE - abs(dx[i, j]))
            rows.append((names[i], names[j], dy[i, j], dx[i, j], shared))
    return pd.DataFrame(rows, columns=PAIR_COLUMNS)


def _within(cells: np.ndarray, start: int) -> np.ndarray:
    """Which cells a patch that starts at pixel ``start`` covers along one axis."""
    return (cells >= start // STRIDE) & (cells <= start // STRIDE + 1)


# Made models: errors that are alike at neighbouring places and at the dates of one place.
#
# The logit of the rate at which a model misses a class at a place and a date is a sum of
#
# - the class's own level, the same for all models;
# - how hard the place is, the same for all models;
# - what the method is good or bad at there, the same for all its seeds;
# - what this training is good or bad at there;
# - how good this training is at the class everywhere;
# - the planted shift of the better method.
#
# Each "there" is a Gaussian field over the ground with the covariance exp(-distance / length), most of it
# shared by the dates. Fields are drawn for each class by itself.

CLASSES = 11
LEVEL = np.linspace(-1.8, -0.2, CLASSES)  # logit of the rate missed, from frequent to rare
FREQUENCY = np.linspace(1.5, -1.5, CLASSES)  # logarithm of the share of the ground, up to a constant
LAND = 512.0  # metres: how far classes and hard places extend
PATCHINESS = 1.5  # standard deviation of the logarithm of a class's share
DIFFICULTY = 1.0
SHARED = 0.8  # of the variance of a field, by the dates of a place
LABELLED = 0.8  # of the pixels
_TO_NEXT = 0.6  # of the pixels missed, what is taken for the class that is most alike


@dataclass(frozen=True)
class Scenario:
    """What sets two made methods apart. Standard deviations are on the logit of the rate missed.

    length: metres over which errors are alike (a correlation of 1/e). method, training: standard deviation of
    the local strengths of a method and of one training. seed: standard deviation of a training's level of a
    class everywhere. lacking: share of the ground that has no pixel of the rarest class; of the others, less,
    in even steps down to 0.
    """

    seeds: int = 1
    length: float = 256.0
    method: float = 0.35
    training: float = 0.35
    seed: float = 0.0
    lacking: float = 0.0


@dataclass(frozen=True)
class Pair:
    """Two made methods of equal worth on one made ground.

    truth: labelled pixels, float64 [dates, classes, cells]. logit: of the rates missed, [2, seeds, dates,
    classes, cells].
    """

    truth: np.ndarray
    logit: np.ndarray

    def counts(self, shift: float = 0.0) -> np.ndarray:
        """Hits, truth, predicted; side a's logits less ``shift``: [2, seeds, dates, 3, classes, cells]."""
        planted = shift * np.array([-1.0, 0.0]).reshape(2, 1, 1, 1, 1)
        missed = self.truth / (1 + np.exp(-self.logit - planted))
        hits = self.truth - missed
        predicted = hits + _taken_for(missed)
        return np.stack([hits, np.broadcast_to(self.truth, hits.shape), predicted], axis=-3)


def draw(ground: Ground, scenario: Scenario, rng: np.random.Generator) -> Pair:
    """One pair: new ground and new errors."""
    return Pair(_truth(ground, scenario.lacking, rng), _logits(ground, scenario, rng))


def _truth(ground: Ground, lacking: float, rng: np.random.Generator) -> np.ndarray:
    """Labelled pixels of each class: [dates, classes, cells]; few cells change between the dates."""
    from scipy.special import ndtri

    field = _fields(ground, LAND, (CLASSES,), rng)
    there = field >= ndtri(np.linspace(0, lacking, CLASSES))[:, None]
    share = there * np.exp(FREQUENCY[:, None] + PATCHINESS * field)
    return LABELLED * STRIDE**2 * share / share.sum(axis=-2, keepdims=True)


def _logits(ground: Ground, scenario: Scenario, rng: np.random.Generator) -> np.ndarray:
    """Logits of the rates missed: [2, seeds, dates, classes, cells]."""
    hard = LEVEL[:, None] + DIFFICULTY * _fields(ground, LAND, (CLASSES,), rng)
    method = _fields(ground, scenario.length, (2, 1, CLASSES), rng)
    training = _fields(ground, scenario.length, (2, scenario.seeds, CLASSES), rng)
    everywhere = scenario.seed * rng.standard_normal((2, scenario.seeds, 1, CLASSES, 1))
    return hard + scenario.method * method + scenario.training * training + everywhere


def _fields(ground: Ground, length: float, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Gaussian fields of variance 1: [*shape[:-1], dates, shape[-1], cells]."""
    *outer, classes = shape
    common = rng.standard_normal((*outer, 1, classes, len(ground.area)))
    own = rng.standard_normal((*outer, len(DATES), classes, len(ground.area)))
    white = np.sqrt(SHARED) * common + np.sqrt(1 - SHARED) * own
    out = np.empty_like(white)
    for area in np.unique(ground.area):
        inside = ground.area == area
        places = ground.places[inside]
        root = _root(places.tobytes(), length)
        out[..., inside] = white[..., inside] @ root.T
    return out


@lru_cache(maxsize=16)
def _root(places: bytes, length: float) -> np.ndarray:
    """Cholesky root of exp(-distance / length) between cells, [cells, cells]."""
    points = np.frombuffer(places).reshape(-1, 2)
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    return np.linalg.cholesky(np.exp(-distance / length) + 1e-9 * np.eye(len(points)))


def _taken_for(missed: np.ndarray) -> np.ndarray:
    """Pixels of other classes that are taken for each: most for the next class, the rest for any."""
    following = np.roll(missed, 1, axis=-2)
    others = (missed.sum(axis=-2, keepdims=True) - missed) / (CLASSES - 1)
    return _TO_NEXT * following + (1 - _TO_NEXT) * others


# How often the interval leaves out 0: for equal methods (it should not) and for unequal ones (it should).

LENGTHS = (16.0, 64.0, 128.0, 256.0, 512.0, 1024.0)  # metres
LACKING = (0.0, 0.5, 0.8, 0.95)  # of the ground, the rarest class
GAINS = (0.0, 0.005, 0.01, 0.02, 0.03)  # of mIoU
SEEDS = (1, 3, 5)
SEED_SPREAD = 0.1  # standard deviation, on the logit of the rate missed of each class
GROUNDS: dict[str, Scheme] = {"whole test folder": "folders", "validation half of it": "blocks"}
AVERAGED = 24  # made grounds over which a gain is planted
TRIED = np.linspace(0, 0.5, 11)  # shifts
EQUAL, GAINED, REPEATED, RARE = 11, 12, 13, 14  # first seeds of the pairs of each study


def by_length(n: int = 200, split: Scheme = "folders") -> pd.DataFrame:
    """How often two equal methods seem to differ, by how far errors are alike, by blocks and by images.

    One training each, which the interval speaks about. Columns length (metres), counted ("blocks" or "single
    images"), and those of ``share``.
    """
    ground, rows = half_scenes(split), []
    for length in LENGTHS:
        blocks, images = intervals(ground, Scenario(length=length), n, counted=(by_block, by_image))[:, 0]
        rows.append({"length": length, "counted": "blocks", **share(blocks)})
        rows.append({"length": length, "counted": "single images", **share(images)})
    return pd.DataFrame(rows)


def by_rarity(n: int = 200) -> pd.DataFrame:
    """How often two equal methods seem to differ, by how much of the ground lacks the rarest class.

    Errors are alike over 256 m, one training each. Columns lacking (0 to 1), ground, and those of ``share``.
    """
    rows = []
    for name, split in GROUNDS.items():
        for lacking in LACKING:
            ends = intervals(half_scenes(split), Scenario(lacking=lacking), n, RARE)[0, 0]
            rows.append({"lacking": lacking, "ground": name, **share(ends)})
    return pd.DataFrame(rows)


def by_gain(n: int = 200, gains: Sequence[float] = GAINS) -> pd.DataFrame:
    """How often a method that is better by ``gain`` of mIoU is found to be, at two sizes of the ground.

    Found: the whole interval is above 0. One training each. Columns ground, sites, gain, those of ``share``,
    and computed: what ``verdict.power`` says beforehand, of blocks that differ as those of ``noise`` do.
    """
    rows = []
    for name, split in GROUNDS.items():
        ground = half_scenes(split)
        shifts = planted(ground, Scenario(), gains)
        for gain, found in zip(gains, intervals(ground, Scenario(), n, GAINED, shifts)[0], strict=True):
            known = {"ground": name, "sites": ground.n_sites, "gain": gain}
            rows.append(
                {**known, **share(found, above=True), "computed": power(ground.blocks.tolist(), 1, gain)}
            )
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
    """How many of the intervals, [n, 2], leave out 0 (with ``above``: lie above it); NaN does not.

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
    counted: Sequence[Callable[[Ground, np.ndarray], BlockCounts]] = (),
) -> np.ndarray:
    """Intervals of the difference of mIoU of ``n`` pairs: [ways to count, shifts, n, 2], low and high.

    Made as ``comparison.difference`` makes them. Pair i is the same for all shifts and ways to
    count, whatever n.
    """
    ways, of = counted or (by_block,), measure("mIoU")
    found = np.empty((len(ways), len(shifts), n, 2))
    for i in range(n):
        pair = draw(ground, scenario, np.random.default_rng([seed, i]))
        for s, shift in enumerate(shifts):
            cells = pair.counts(shift)
            for w, way in enumerate(ways):
                found[w, s, i] = Estimate.of(way(ground, cells), of).interval()
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
    the trainings of one method. block: of what single blocks contribute to the difference of mIoU, of one
    training each. training: of the difference of mIoU, between trainings. mIoU: its mean. All 0 to 1, over
    ``n`` made grounds.
    """
    ground, of = half_scenes("folders"), measure("mIoU")
    images, spreads, level, estimates, single = [], [], [], [], []
    for i in range(n):
        scenario = Scenario(seeds=5, seed=SEED_SPREAD)
        cells = draw(ground, scenario, np.random.default_rng([8, i])).counts()
        hits, truth, _ = np.moveaxis(by_image(ground, cells).values[:, 0], 2, 0)  # [2, images, classes]
        accuracy = hits.sum(axis=-1) / truth.sum(axis=-1)
        images.append((accuracy[0] - accuracy[1]).std())
        scores = of.score(by_block(ground, cells).values.sum(axis=2))  # [2, seeds]
        spreads.append(scores.std(axis=1, ddof=1).mean())
        level.append(scores.mean())
        estimates.append(Estimate.of(by_block(ground, cells), of).spread)
        single.append(Estimate.of(by_block(ground, cells[:, :1]), of).block)
    found = {"image": images, "seeds": spreads, "mIoU": level, "training": estimates, "block": single}
    return {name: float(np.mean(values)) for name, values in found.items()}


def by_block(ground: Ground, cells: np.ndarray) -> BlockCounts:
    """Counts by block, all dates together."""
    values = cells.sum(axis=2) @ ground.cells_in_blocks.T  # [2, seeds, 3, classes, blocks]
    names = tuple(np.unique(ground.blocks).tolist())
    return BlockCounts(np.moveaxis(values, -1, 2), names, ground.n_sites * len(DATES))


def by_image(ground: Ground, cells: np.ndarray) -> BlockCounts:
    """Counts by image, each date by itself, as if no image had a neighbour."""
    by_site = np.moveaxis(cells @ ground.member.T, -1, 3)  # [2, seeds, dates, sites, 3, classes]
    values = by_site.reshape(*by_site.shape[:2], -1, *by_site.shape[-2:])
    return BlockCounts(values, tuple(f"image {i}/0/0_0" for i in range(values.shape[2])), values.shape[2])


# Real errors: trained models on ground that is made without end, so that their true difference is known.
#
# Each part of the ground, so many blocks that lie together, is taken for all that a comparison has. Its ends
# are held against the difference of the same trained models on all other ground: what an interval of one
# training speaks about. With several seeds the interval speaks of further trainings too, and is held against
# those that were made in addition, where there are any.

SIZES = {128: (16, 8), 64: (8, 8), 32: (4, 8), 16: (4, 4)}  # blocks of a part: along and across an area
RESAMPLES = 1000
METHODS = ("ours", "percentile", "BCa")


def against_truth(
    pieces: Sequence[BlockCounts], of: Measure, prediction: Prediction, trained: int
) -> pd.DataFrame:
    """Intervals and verdicts of many parts of fresh ground, each with the truth: one row a part and method.

    ``pieces``: counts of side a and b on grounds that share nothing. Of their seeds the first ``trained`` are
    compared, the others tell what further trainings give. Columns: piece, blocks, seeds, method ("ours", that
    of the verdicts, "percentile" and "BCa", of blocks drawn again: Efron 1987, doi
    10.1080/01621459.1987.10478410), truth, low, high, outcome, and right: the outcome that the truth has.
    """
    totals = np.stack([piece.values.sum(axis=2) for piece in pieces])  # [P, 2, S, 3, K]
    rows = []
    for number, piece in enumerate(pieces):
        elsewhere = side_difference(of.score(np.delete(totals, number, axis=0).sum(axis=0)))  # [S]
        choices = [([seed], elsewhere[seed]) for seed in range(trained)]
        if trained > 1:
            further = elsewhere[trained:] if len(elsewhere) > trained else elsewhere
            choices.append((list(range(trained)), further.mean()))
        for size in SIZES:
            for part in parts(piece.blocks, size):
                names = tuple(piece.blocks[i] for i in part)
                for seeds, truth in choices:
                    counted = BlockCounts(piece.values[:, seeds][:, :, part], names, piece.n_patches)
                    known = {"piece": number, "blocks": len(part), "seeds": len(seeds), "truth": truth}
                    rows += _judged(counted, of, prediction, known)
    return pd.DataFrame(rows)


def _judged(
    counted: BlockCounts, of: Measure, prediction: Prediction, known: dict[str, float]
) -> list[dict[str, Any]]:
    """A row a method."""
    right = outcome_of(prediction, known["truth"], known["truth"])
    ends = {"ours": tuple(Estimate.of(counted, of).interval().tolist()), **drawn_again(counted, of)}
    return [
        {
            **known,
            **{"method": method, "low": low, "high": high, "right": right},
            "outcome": outcome_of(prediction, low, high),
        }
        for method, (low, high) in ends.items()
    ]


def parts(blocks: Sequence[str], size: int) -> list[np.ndarray]:
    """Positions of the blocks of each whole part of so many that lie together; areas apart, but for 128.

    ``blocks``: names as ``splits.assign`` gives them. A part that is not whole is left out.
    """
    along, across = SIZES[size]
    places = [name.rsplit("/", 1) for name in blocks]
    table = pd.DataFrame(
        [[area, *map(int, place.split("_"))] for area, place in places], columns=["a", "y", "x"]
    )
    if size == 128:
        return [np.arange(len(table))] if len(table) >= size else []
    first = table.groupby("a")[["y", "x"]].transform("min")
    tiles = table.assign(y=(table["y"] - first["y"]) // along, x=(table["x"] - first["x"]) // across)
    groups = tiles.groupby(["a", "y", "x"]).indices
    return [np.sort(part) for _, part in sorted(groups.items()) if len(part) == size]


def drawn_again(counted: BlockCounts, of: Measure, seed: int = 0) -> dict[str, tuple[float, float]]:
    """95 % intervals from blocks drawn again with replacement, seeds as they are: percentile and BCa."""
    from scipy.special import ndtr, ndtri

    n, values = counted.n_blocks, np.moveaxis(counted.values, 2, 0)  # [B, 2, S, 3, K]
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    drawn = (weights @ values.reshape(n, -1)).reshape(RESAMPLES, *values.shape[1:])
    figures = side_difference(of.score(drawn)).mean(axis=-1)
    value = side_difference(of.score(values.sum(axis=0))).mean()
    without = side_difference(left_out(counted, of)).mean(axis=-1)
    pulls = without.mean() - without
    squares = (pulls**2).sum()
    acceleration = (pulls**3).sum() / (6 * squares**1.5) if squares else 0.0
    below = np.clip((figures < value).mean(), 1 / RESAMPLES, 1 - 1 / RESAMPLES)
    shift, ends = ndtri(below), ndtri([0.025, 0.975])
    moved = ndtr(shift + (shift + ends) / (1 - acceleration * (shift + ends)))
    plain, corrected = (np.nanquantile(figures, levels) for levels in ([0.025, 0.975], moved))
    return {"percentile": (plain[0], plain[1]), "BCa": (corrected[0], corrected[1])}


def truth_rates(rows: pd.DataFrame) -> pd.DataFrame:
    """How often intervals held the truth and verdicts were right: one row a number of blocks, seeds, method.

    ``rows``: of ``against_truth``, of several pairs together. Columns: blocks, seeds, method, intervals, held
    (share of them with the truth inside), width (median half-width), right, wrong, open (shares of verdicts).
    """
    told = rows.assign(
        held=(rows["low"] <= rows["truth"]) & (rows["truth"] <= rows["high"]),
        width=(rows["high"] - rows["low"]) / 2,
        open=rows["outcome"] == "inconclusive",
    )
    told["right_one"] = told["outcome"] == told["right"]
    told["wrong_one"] = ~told["open"] & ~told["right_one"]
    groups = told.groupby(["blocks", "seeds", "method"], sort=True)
    found = groups.agg(
        intervals=("held", "size"),
        held=("held", "mean"),
        width=("width", "median"),
        right=("right_one", "mean"),
        wrong=("wrong_one", "mean"),
        open=("open", "mean"),
    )
    return found.reset_index()
