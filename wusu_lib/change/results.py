"""What a change run found, written down: like any run's results, with matrices of change."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wusu_lib.atomic import replacing
from wusu_lib.change.measures import scores
from wusu_lib.change.transitions import N_LABELS
from wusu_lib.runs.results import write_arrays

VARIANTS = "variants.npz"


def write_change(
    folder: Path, rows: pd.DataFrame, matrices: np.ndarray, maps: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Write confusion.npz and predictions.npz of a change run; give the record's ``metrics`` and ``losses``.

    rows: columns ``runs.results.KEYS``, one row a matrix; ``patch`` is the pair's key ("test/HS1516_0"),
    ``date`` 1516. matrices: int64 [N, 111, 111], or [N, 2, 2] of a model that knows change only; rows truth.
    maps: validation pair -> from-to labels (or 0, 1, and 255 for unlabelled), uint8 [H, W].
    """
    pooled = write_arrays(folder, rows, matrices, {"index": maps})
    return {"metrics": {"change": {split: _numbers(matrix) for split, matrix in pooled.items()}}}


def _numbers(matrix: np.ndarray) -> dict[str, float | None]:
    """Every figure of a pooled matrix; None where it is undefined, which JSON has no number for."""
    return {name: None if math.isnan(value) else float(value) for name, value in scores(matrix).items()}


def coordinates(number: int, matrix: np.ndarray) -> np.ndarray:
    """What is not 0 in the matrix [111, 111] of pair ``number``: int64 [4, n], a column (number, truth,
    prediction, pixels) each.
    """
    truth, prediction = np.nonzero(matrix)
    return np.stack([np.full(len(truth), number), truth, prediction, matrix[truth, prediction]])


def write_variants(folder: Path, found: Mapping[str, list[np.ndarray]], **more: np.ndarray) -> None:
    """Write the matrices of several variants, as ``coordinates`` of their pairs, beside ``more``."""
    arrays: dict[str, Any] = {name: np.concatenate(parts, axis=1) for name, parts in found.items()} | more
    with replacing(folder / VARIANTS) as draft, draft.open("wb") as file:
        np.savez_compressed(file, variants=np.array(list(found)), **arrays)


def read_variant(folder: Path, name: str, pairs: int) -> np.ndarray:
    """Matrices int64 [pairs, 111, 111] of one variant. Raises ValueError naming those that there are."""
    with np.load(folder / VARIANTS, allow_pickle=False) as stored:
        if name not in stored["variants"]:
            raise ValueError(f"variant: got {name!r}; stored: {', '.join(stored['variants'].tolist())}")
        number, truth, prediction, pixels = stored[name]
    matrices = np.zeros((pairs, N_LABELS, N_LABELS), dtype=np.int64)
    matrices[number, truth, prediction] = pixels
    return matrices


def read_beside(folder: Path, name: str) -> np.ndarray:
    """An array that was stored beside the variants."""
    with np.load(folder / VARIANTS, allow_pickle=False) as stored:
        return stored[name]
