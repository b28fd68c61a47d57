"""Made pairs of models whose true difference is known, made without the library's own simulation.

Counts by block of eleven unequal classes; shares differ from block to block, and the rarer a class, the more
blocks lack it. Both models find the same blocks hard, and each has strengths and weaknesses of its own by
class and place: Gaussian fields on the logit of the rate missed, with the correlation exp(-distance /
length), length in block sides; at length 0 each ninth of a block has an error of its own. Seeds differ by
place and, everywhere, by class.

    python tests/compare/made_errors.py 2000    # rates at 8 to 120 blocks, a true difference of 0 and 0.02
"""

import sys
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from wusu_lib.measures.change import measure
from wusu_lib.measures.comparison import BlockCounts, Estimate

SHAPES = {8: (2, 4), 16: (4, 4), 32: (4, 8), 64: (8, 8), 120: (10, 12)}
CLASSES, CELLS, PIXELS = 11, 3, 7000  # cells along a block, labelled pixels a cell
MISSED = np.linspace(-1.8, -0.2, CLASSES)[:, None]  # logit
COMMON = np.linspace(1.5, -2.0, CLASSES)[:, None]  # logarithm of the share
FOUND = np.linspace(1.0, 0.5, CLASSES)[:, None]  # chance that a block has the class
METHOD, TRAINING, SEED = 0.6, 0.4, 0.1  # standard deviations; SEED only where there are several
OF = measure("mIoU")


@dataclass(frozen=True)
class Ground:
    """A grid of blocks, ``length`` block sides of likeness."""

    shape: tuple[int, int]
    length: float

    def fields(self, rng: np.random.Generator, *shape: int) -> np.ndarray:
        """Gaussian fields of variance 1, [*shape, cells]."""
        rows, columns = (n * CELLS for n in self.shape)
        white = rng.standard_normal((*shape, rows * columns))
        return white @ _root(rows, columns, self.length).T if self.length else white

    def in_cells(self, values: np.ndarray) -> np.ndarray:
        """What a block has, in each of its cells: [..., blocks] -> [..., cells]."""
        grid = values.reshape(*values.shape[:-1], *self.shape)
        return grid.repeat(CELLS, -2).repeat(CELLS, -1).reshape(*values.shape[:-1], -1)

    def by_block(self, values: np.ndarray) -> np.ndarray:
        """Sums of cells [..., cells] by block: [..., blocks]."""
        rows, columns = self.shape
        cells = values.reshape(*values.shape[:-1], rows, CELLS, columns, CELLS)
        return cells.sum(axis=(-3, -1)).reshape(*values.shape[:-1], -1)


@lru_cache(maxsize=4)
def _root(rows: int, columns: int, length: float) -> np.ndarray:
    places = np.indices((rows, columns)).reshape(2, -1).T / CELLS
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
    return np.linalg.cholesky(np.exp(-apart / length) + 1e-9 * np.eye(len(places)))


def pair(ground: Ground, rng: np.random.Generator, seeds: int = 1, shift: float = 0.0) -> BlockCounts:
    """One pair of models on new ground; ``shift`` makes the first better everywhere, on the logit."""
    blocks = np.prod(ground.shape)
    share = np.exp(COMMON + rng.standard_normal((CLASSES, blocks)))
    share = share * (rng.random((CLASSES, blocks)) < FOUND)
    truth = np.rint(PIXELS * ground.in_cells(share / share.sum(axis=0)))
    hard = MISSED + 0.8 * ground.in_cells(rng.standard_normal((CLASSES, blocks)))
    logit = (
        hard + METHOD * ground.fields(rng, 2, 1, CLASSES) + TRAINING * ground.fields(rng, 2, seeds, CLASSES)
    )
    logit += (SEED if seeds > 1 else 0.0) * rng.standard_normal((2, seeds, CLASSES, 1))
    logit[0] -= shift
    missed = np.rint(truth / (1 + np.exp(-logit)))
    hits = truth - missed
    taken = hits + np.roll(missed, 1, axis=-2)
    counts = np.stack([hits, np.broadcast_to(truth, hits.shape), taken], axis=-3)  # [2, S, 3, K, cells]
    names = tuple(f"val/HS/0/{row}_{column}" for row, column in np.ndindex(*ground.shape))
    return BlockCounts(np.moveaxis(ground.by_block(counts), -1, 2), names, len(names))


def shift_of(gain: float, ground: Ground) -> float:
    """The shift that raises the expected mIoU by ``gain``."""
    tried, scores = np.linspace(0, 0.4, 5), []
    for shift in tried:
        made = [pair(ground, np.random.default_rng([5, i]), shift=shift) for i in range(60)]
        scores.append(np.mean([OF.score(each.values[0, 0].sum(axis=0)) for each in made]))
    return float(np.interp(gain, np.array(scores) - scores[0], tried))


def decided(n: int, blocks: int, length: float, seeds: int = 1, gain: float = 0.0) -> np.ndarray:
    """1 where the 95 % interval of the first model minus the second lies above 0, -1 below, else 0: [n]."""
    ground = Ground(SHAPES[blocks], length)
    shift = shift_of(gain, ground) if gain else 0.0
    made = (pair(ground, np.random.default_rng([3, blocks, i]), seeds, shift) for i in range(n))
    found = [Estimate.of(counted, OF) for counted in made]
    return np.array([np.sign(each.value) * (each.p_value() < 0.05) for each in found])


def main(n: int) -> None:
    """Print how often a difference of 0 seems to be one, and how often one of 0.02 is found."""
    for gain in (0.0, 0.02):
        for length in (0.5, 0.0, 1.0):
            for seeds in (1, 3):
                found = [decided(n, blocks, length, seeds, gain) for blocks in SHAPES]
                rates = [(each > 0).mean() if gain else (each != 0).mean() for each in found]
                row = " ".join(f"{rate:.1%}" for rate in rates)
                sys.stdout.write(
                    f"difference {gain}, alike over {length} block sides, {seeds} seeds: {row}\n"
                )
                sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
