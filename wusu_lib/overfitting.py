"""Overfitting measured: how much better a model is on its training patches than on the validation patches."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from wusu_lib import metrics
from wusu_lib.blockwise import Figure, by_seed, effect
from wusu_lib.legend import LabelSpace

SPLITS = ("train", "val")


def gap(runs: Sequence[Any], baseline: Sequence[Any]) -> pd.DataFrame:
    """The gap between training and validation, of runs and baseline: one row for mIoU and one for the loss.

    Columns: measure ("mIoU": train - val; "loss": val - train; so more is more overfitting), run and baseline
    (gaps), run train, run val, baseline train, baseline val, difference (run - baseline), low, high, blocks,
    seeds. The interval is the paired block bootstrap over the blocks of both splits; the loss has none, since
    it is stored for whole splits only. Both are of the best epoch's weights, without augmentation. Both sides
    are judged in one label space, merged where either is. Raises ValueError where the seeds differ.
    """
    sides = by_seed(runs, baseline)
    space = sides[0][0].labels.judged_with(sides[1][0].labels)
    figure = Figure("mIoU gap", _gap, space.background, space.classes, lowest=-1.0)
    counts = [[_counts(run, space) for run in side] for side in sides]
    rows = [{"measure": "mIoU"} | effect(counts, _rows(sides[0][0])["block"], figure)]
    rows.append({"measure": "loss"} | _losses(sides))
    for row, measure in zip(rows, ("mIoU", "loss"), strict=True):
        for name, side in zip(("run", "baseline"), sides, strict=True):
            for split in SPLITS:
                values = [run.scores(split, space.background, space.classes)[measure] for run in side]
                row[f"{name} {split}"] = float(np.mean(values))
    return pd.DataFrame(rows)


def _rows(run: Any) -> pd.DataFrame:
    """The rows of training and validation in an order that all runs share."""
    rows = run.confusion.reset_index(drop=True)
    return rows[rows["split"].isin(SPLITS)].sort_values("patch")


def _counts(run: Any, space: LabelSpace) -> np.ndarray:
    """Counts of each patch, [N, 6, K]: hits, truth, predicted in training, then the same in validation."""
    rows = _rows(run)
    parts = metrics.counts(run.matrices[rows.index], space.background, space.classes)
    counted = np.stack(parts, axis=1)  # [N, 3, K]
    inside = [(rows["split"] == split).to_numpy()[:, None, None] for split in SPLITS]
    return np.concatenate([counted * of for of in inside], axis=1)


def _gap(pooled: np.ndarray) -> np.ndarray:
    """mIoU in training minus mIoU in validation: [..., 6, K] -> [...]."""
    parts = np.moveaxis(pooled, -2, 0)
    train, val = (metrics.score(metrics.Counts(*part), "mIoU") for part in (parts[:3], parts[3:]))
    return train - val


def _losses(sides: Sequence[Sequence[Any]]) -> dict[str, float]:
    gaps = [
        np.mean([run.scores("val")["loss"] - run.scores("train")["loss"] for run in side]) for side in sides
    ]
    return {
        "run": float(gaps[0]),
        "baseline": float(gaps[1]),
        "difference": float(gaps[0] - gaps[1]),
        "low": np.nan,
        "high": np.nan,
        "seeds": len(sides[0]),
    }
