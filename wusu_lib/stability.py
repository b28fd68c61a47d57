"""How calm a training is: step losses around their trend and spikes of the gradient norm, with intervals.

Two measures of one run, from the loss and the gradient norm of each optimiser step:

- **loss variance**: mean square of ``loss - trend``, in nats squared. The trend is the running median of 21
  steps, which a single wild step does not move (Tukey 1977, Exploratory Data Analysis). On the scale of the
  loss itself, not of its logarithm: batches differ by about as many nats early as late, so a relative measure
  would call the training with the lower loss the less calm one.
- **gradient spikes**: share of the steps whose gradient norm exceeds ``SPIKE`` times its running median.

A run and its baseline that share seed and data see the same batches in the same order, and most of the
variance comes from the batches: some are harder. So the two are compared step by step. The interval of the
ratio of the variances and of the difference of the shares is the percentile interval of a moving-block
bootstrap over steps, the same blocks for both (Kuensch 1989, Ann. Stat. 17(3), doi 10.1214/aos/1176347265),
of n^(1/3) steps a block (Hall, Horowitz and Jing 1995, Biometrika 82(3), doi 10.1093/biomet/82.3.561). With
several seeds, seeds are drawn with replacement too. ``shared`` is the squared correlation of the two runs'
deviations: the part of the variance that the batches explain.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

HALF_WINDOW = 10  # steps on each side of the one whose trend is asked for
SPIKE = 2.0  # times the running median
RESAMPLES = 5000
LEVEL = 0.95
COLUMNS = ["measure", "run", "baseline", "effect", "estimate", "low", "high", "steps", "seeds", "shared"]


class Deviations(NamedTuple):
    """Deviations at each step that has a whole window, [n]: loss minus trend (nats), spikes (0 or 1)."""

    loss: np.ndarray
    spikes: np.ndarray


def running_median(values: np.ndarray, half: int = HALF_WINDOW) -> np.ndarray:
    """Median of each value and ``half`` neighbours on each side: [n] -> [n - 2 half]."""
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(values, dtype=float), 2 * half + 1)
    return np.median(windows, axis=1)


def half_window(steps: int) -> int:
    """Half of the trend's window for so many steps: ``HALF_WINDOW``, less where they are few."""
    return min(HALF_WINDOW, steps // 7)


def deviations(steps: pd.DataFrame, n: int | None = None) -> Deviations:
    """Deviations of the first ``n`` steps (all) of a run's ``steps``: columns train/loss, gradient_norm."""
    loss, norm = (steps[column].to_numpy(float)[:n] for column in ("train/loss", "gradient_norm"))
    half = half_window(len(loss))
    inner = slice(half, len(loss) - half)
    spikes = norm[inner] > SPIKE * running_median(norm, half)
    return Deviations(loss[inner] - running_median(loss, half), spikes.astype(float))


def compare(runs: Sequence[Any], baseline: Sequence[Any], seed: int = 0) -> pd.DataFrame:
    """One row a measure: its value for the runs and the baseline, and the effect with its interval.

    Columns: measure ("loss variance", "gradient spikes"), run, baseline (values, mean over seeds), effect
    ("ratio" run / baseline for the variance, "difference" run - baseline for the spikes), estimate, low, high
    (95 %),
    steps (a seed), seeds, shared (0 to 1). The steps are those that both trainings made; NaN where they are
    fewer than 15. ``runs`` and ``baseline``: objects with ``seed`` and ``steps``. Raises ValueError where
    their seeds differ.
    """
    pairs = _pairs(runs, baseline)
    length = min(len(side.steps) for pair in pairs for side in pair)
    if half_window(length) < 2:
        names = (("loss variance", "ratio"), ("gradient spikes", "difference"))
        return pd.DataFrame(
            [{"measure": m, "effect": e, "seeds": len(pairs)} for m, e in names], columns=COLUMNS
        )
    sides = [[deviations(side.steps, length) for side in pair] for pair in pairs]
    squares = np.array([[d.loss**2 for d in pair] for pair in sides])  # [S, 2, n]
    spikes = np.array([[d.spikes for d in pair] for pair in sides])
    draws = _resample(np.stack([squares, spikes]), np.random.default_rng(seed))  # [R, 2 measures, 2 sides]
    shared = np.mean([np.corrcoef(a.loss, b.loss)[0, 1] ** 2 for a, b in sides])
    common = {"steps": squares.shape[-1], "seeds": len(pairs), "shared": shared}
    ratio = {"measure": "loss variance", "effect": "ratio"}
    difference = {"measure": "gradient spikes", "effect": "difference"}
    rows = [
        ratio | _row(squares.mean(axis=(0, 2)), draws[:, 0], np.divide) | common,
        difference | _row(spikes.mean(axis=(0, 2)), draws[:, 1], np.subtract) | common,
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _pairs(runs: Sequence[Any], baseline: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Run and baseline of each seed."""
    mine, theirs = ({run.seed: run for run in side} for side in (runs, baseline))
    if not mine or mine.keys() != theirs.keys():
        raise ValueError(
            f"seeds: the runs have {sorted(mine)}, the baseline {sorted(theirs)}; expected the same"
        )
    return [(mine[seed], theirs[seed]) for seed in sorted(mine)]


def _resample(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Means of resampled steps and seeds: [measures, S, 2, n] -> [RESAMPLES, measures, 2]."""
    n_seeds, n = values.shape[1], values.shape[-1]
    block = max(1, round(n ** (1 / 3)))
    blocks = -(-n // block)
    sums = np.lib.stride_tricks.sliding_window_view(values, block, axis=-1).sum(
        axis=-1
    )  # [.., n - block + 1]
    picked = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=RESAMPLES) / n_seeds  # [R, S]
    total = np.zeros((RESAMPLES, len(values), 2))
    for number in range(n_seeds):
        starts = rng.integers(sums.shape[-1], size=(RESAMPLES, blocks))
        means = sums[:, number][..., starts].sum(axis=-1) / (blocks * block)  # [measures, 2, R]
        total += picked[:, number, None, None] * np.moveaxis(means, -1, 0)
    return total


def _row(values: np.ndarray, draws: np.ndarray, effect: np.ufunc) -> dict[str, Any]:
    """Both sides' values [2], the effect and its interval from draws [R, 2]."""
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    low, high = np.quantile(effect(draws[:, 0], draws[:, 1]), tails)
    return {"run": values[0], "baseline": values[1], "estimate": effect(*values), "low": low, "high": high}
