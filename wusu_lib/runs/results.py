"""What a run found, written down: one confusion matrix a patch, the validation maps, the pooled figures."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd

from wusu_lib import legend, metrics
from wusu_lib.atomic import replacing
from wusu_lib.legend import Background, Scheme

KEYS = ("patch", "site", "date", "split", "block")


def write_results(
    folder: Path,
    rows: pd.DataFrame,
    matrices: np.ndarray,
    maps: Mapping[str, np.ndarray],
    confidence: Mapping[str, np.ndarray],
    classes: Scheme = "all",
) -> dict[str, Any]:
    """Write confusion.npz and predictions.npz; give the record's ``metrics`` and ``absent``.

    rows: columns ``KEYS``, one row a matrix. matrices: int64 [N, 12, 12] by class index, rows truth, columns
    prediction. maps: validation patch -> predicted class index, uint8 [H, W]; confidence: the same patches
    (or more) -> largest class probability x 255, uint8 [H, W]. classes: label space of matrices and maps.
    """
    pooled = write_arrays(folder, rows, matrices, {"index": maps, "confidence": confidence})
    return {
        "metrics": {name: {s: _scores(m, name) for s, m in pooled.items()} for name in get_args(Background)},
        "absent": {split: _absent(matrix, classes) for split, matrix in pooled.items()},
    }


def write_arrays(
    folder: Path, rows: pd.DataFrame, matrices: np.ndarray, images: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Write confusion.npz and predictions.npz of any kind of run; give the pooled matrix of each split.

    rows: columns ``KEYS``, one row a matrix. matrices: [N, K, K]. images: under "index" (and other names)
    patch -> uint8 [H, W]; the patches are those of "index".
    """
    keys: dict[str, Any] = {name: rows[name].to_numpy(dtype=int if name == "date" else str) for name in KEYS}
    with replacing(folder / "confusion.npz") as draft, draft.open("wb") as file:
        np.savez_compressed(file, matrix=matrices, **keys)
    patches = list(images["index"])
    kept: dict[str, Any] = {name: _stack(found, patches) for name, found in images.items()}
    with replacing(folder / "predictions.npz") as draft, draft.open("wb") as file:
        np.savez_compressed(file, patch=np.array(patches, dtype=str), **kept)
    return {split: matrices[keys["split"] == split].sum(axis=0) for split in dict.fromkeys(rows["split"])}


def _stack(images: Mapping[str, np.ndarray], patches: Iterable[str]) -> np.ndarray:
    """The images of some patches in their order, uint8 [n, H, W]."""
    chosen = [images[patch] for patch in patches]
    return np.stack(chosen) if chosen else np.zeros((0, 0, 0), dtype=np.uint8)


def _scores(matrix: np.ndarray, background: Background) -> dict[str, float | None]:
    """Pooled figures of one split; None where nothing is counted, which JSON has no number for."""
    scores = metrics.scores(matrix, background)
    return {name: None if math.isnan(value) else float(value) for name, value in scores.items()}


def _absent(matrix: np.ndarray, classes: Scheme) -> list[str]:
    """Names of the classes that label no pixel of a split: nothing can be said about them there."""
    labelled = matrix.sum(axis=1)
    return [legend.names(classes)[i] for i in legend.scored("ignore", classes) if labelled[i] == 0]
