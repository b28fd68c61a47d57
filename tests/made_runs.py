"""Made runs: a table of patches in blocks and confusion matrices, without training anything."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

DATES = (15, 16, 18)


@dataclass(frozen=True)
class MadeRun:
    seed: int
    confusion: pd.DataFrame
    matrices: np.ndarray


def patch_table(n_blocks: int, sites_per_block: int = 2, split: str = "val") -> pd.DataFrame:
    """One row an image, all dates of a site in one block; the blocks lie far from each other."""
    return pd.DataFrame(
        [
            {
                "patch": f"test/HS{date}_{site}",
                "site": f"test/HS_{site}",
                "date": date,
                "split": split,
                "block": f"test/HS{site // sites_per_block}/0/0_0",
            }
            for site in range(n_blocks * sites_per_block)
            for date in DATES
        ]
    )


def two_class_matrix(road_hits: int, road: int, low_hits: int, low: int) -> np.ndarray:
    """Pixels of Road (index 1) and Low building (2), those that are missed taken for the other."""
    matrix = np.zeros((12, 12), dtype=np.int64)
    matrix[1, 1], matrix[1, 2] = road_hits, road - road_hits
    matrix[2, 2], matrix[2, 1] = low_hits, low - low_hits
    return matrix


def patchy_truth(table: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """True pixels per patch and class, int64 [N, 11]: other classes in each block, a long tail."""
    block = pd.factorize(table["block"])[0]
    share = rng.gamma(0.25, 1, (block.max() + 1, 11)) * np.linspace(3, 0.3, 11)
    share /= share.sum(axis=1, keepdims=True)
    return (share[block] * 5000 * rng.gamma(20, 0.05, (len(table), 11))).astype(np.int64)


def noisy_runs(table, truth, rng, seeds=(0,), block_noise=0.5, seed_noise=0.0, shift=0.0) -> list[MadeRun]:
    """Runs whose errors are shared within a block (all dates and seeds), a seed and, a little, nothing.

    Noise and shift are on the logit of the error rate of each class.
    """
    block = pd.factorize(table["block"])[0]
    shared = np.linspace(-1.5, 0.5, 11) + shift + rng.normal(0, block_noise, (block.max() + 1, 11))
    runs = []
    for seed in seeds:
        logit = shared[block] + rng.normal(0, seed_noise, 11) + rng.normal(0, block_noise, (len(table), 11))
        missed = (truth / (1 + np.exp(-logit))).astype(np.int64)
        matrices = np.zeros((len(table), 12, 12), dtype=np.int64)
        index = np.arange(1, 12)
        matrices[:, index, index] = truth - missed
        matrices[:, index, index % 11 + 1] = missed
        runs.append(MadeRun(seed, table, matrices))
    return runs


def random_runs(seed: int, n_blocks: int = 5, seeds=(0,)) -> tuple[list[MadeRun], list[MadeRun]]:
    """Two sides on the same ground that differ by noise."""
    rng = np.random.default_rng(seed)
    table = patch_table(n_blocks)
    truth = patchy_truth(table, rng)
    return noisy_runs(table, truth, rng, seeds, 0.5, 0.2), noisy_runs(table, truth, rng, seeds, 0.5, 0.2)
