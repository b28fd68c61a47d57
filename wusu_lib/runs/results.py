"""What a run found, written down: a matrix a patch or pair, maps, the pooled figures.

Runs that judge change have matrices of change, and what stands beside them by variant.
"""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd

from wusu_lib.files import replacing
from wusu_lib.legend import ELEVEN, Background, LabelSpace
from wusu_lib.measures import classes
from wusu_lib.measures.change import scores
from wusu_lib.transitions import N_LABELS

if TYPE_CHECKING:
    from wusu_lib.runs.store import Run

KEYS = ("patch", "site", "date", "split", "block")


def write_results(
    folder: Path,
    rows: pd.DataFrame,
    matrices: np.ndarray,
    maps: Mapping[str, np.ndarray],
    confidence: Mapping[str, np.ndarray],
    labels: LabelSpace = ELEVEN,
) -> dict[str, Any]:
    """Write confusion.npz and predictions.npz; give the record's ``metrics`` and ``absent``.

    rows: columns ``KEYS``, one row a matrix. matrices: int64 [N, 12, 12] by class index, rows truth, columns
    prediction. maps: validation patch -> predicted class index, uint8 [H, W]; confidence: the same patches
    (or more) -> largest class probability x 255, uint8 [H, W]. labels: label space of matrices and maps.
    """
    pooled = write_arrays(folder, rows, matrices, {"index": maps, "confidence": confidence})
    return {
        "metrics": {
            name: {
                s: _numbers(classes.scores(m, LabelSpace(name, labels.classes))) for s, m in pooled.items()
            }
            for name in get_args(Background)
        },
        "absent": {split: _absent(matrix, labels) for split, matrix in pooled.items()},
    }


def write_arrays(
    folder: Path, rows: pd.DataFrame, matrices: np.ndarray, images: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Write confusion.npz and predictions.npz of any kind of run; give the pooled matrix of each split.

    rows: columns ``KEYS``, one row a matrix. matrices: [N, K, K]. images: under "index" (and other names)
    patch -> uint8 [H, W]; the patches are those of "index".
    """
    keys: dict[str, Any] = {name: rows[name].to_numpy(dtype=int if name == "date" else str) for name in KEYS}
    _save(folder / "confusion.npz", matrix=matrices, **keys)
    patches = list(images["index"])
    kept = {name: _stack(found, patches) for name, found in images.items()}
    _save(folder / "predictions.npz", patch=np.array(patches, dtype=str), **kept)
    return {split: matrices[keys["split"] == split].sum(axis=0) for split in dict.fromkeys(rows["split"])}


def _save(path: Path, **arrays: np.ndarray) -> None:
    """Write arrays by name; the file is complete or absent."""
    with replacing(path) as draft, draft.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # no name is that of an option


def _stack(images: Mapping[str, np.ndarray], patches: Iterable[str]) -> np.ndarray:
    """The images of some patches in their order, uint8 [n, H, W]."""
    chosen = [images[patch] for patch in patches]
    return np.stack(chosen) if chosen else np.zeros((0, 0, 0), dtype=np.uint8)


def _numbers(figures: Mapping[str, Any]) -> dict[str, float | None]:
    """Figures as JSON can hold them: None for one that is undefined."""
    return {name: None if math.isnan(value) else float(value) for name, value in figures.items()}


def _absent(matrix: np.ndarray, labels: LabelSpace) -> list[str]:
    """Names of the classes that label no pixel of a split: nothing can be said about them there."""
    labelled = matrix.sum(axis=1)
    return [labels.names[i] for i in labels.annotated().scored if labelled[i] == 0]


# What a change run found, written down: like any run's results, with matrices of change.

VARIANTS = "variants.npz"


def write_change(
    folder: Path, rows: pd.DataFrame, matrices: np.ndarray, maps: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Write confusion.npz and predictions.npz of a change run; give the record's ``metrics`` and ``losses``.

    rows: columns ``KEYS``, one row a matrix; ``patch`` is the pair's key ("test/HS1516_0"),
    ``date`` 1516. matrices: int64 [N, 111, 111], or [N, 2, 2] of a model that knows change only; rows truth.
    maps: validation pair -> from-to labels (or 0, 1, and 255 for unlabelled), uint8 [H, W].
    """
    pooled = write_arrays(folder, rows, matrices, {"index": maps})
    return {"metrics": {"change": {split: _numbers(scores(matrix)) for split, matrix in pooled.items()}}}


def coordinates(number: int, matrix: np.ndarray) -> np.ndarray:
    """What is not 0 in the matrix [111, 111] of pair ``number``: int64 [4, n], a column (number, truth,
    prediction, pixels) each.
    """
    truth, prediction = np.nonzero(matrix)
    return np.stack([np.full(len(truth), number), truth, prediction, matrix[truth, prediction]])


def write_variants(folder: Path, found: Mapping[str, list[np.ndarray]], **more: np.ndarray) -> None:
    """Write the matrices of several variants, as ``coordinates`` of their pairs, beside ``more``."""
    arrays = {name: np.concatenate(parts, axis=1) for name, parts in found.items()} | more
    _save(folder / VARIANTS, variants=np.array(list(found)), **arrays)


def read_variant(run: "Run", name: str, pairs: int) -> np.ndarray:
    """Matrices int64 [pairs, 111, 111] of one variant. Raises ValueError naming those that there are."""
    with np.load(run.file(VARIANTS), allow_pickle=False) as stored:
        if name not in stored["variants"]:
            raise ValueError(f"variant: got {name!r}; stored: {', '.join(stored['variants'].tolist())}")
        number, truth, prediction, pixels = stored[name]
    matrices = np.zeros((pairs, N_LABELS, N_LABELS), dtype=np.int64)
    matrices[number, truth, prediction] = pixels
    return matrices


def read_beside(run: "Run", name: str) -> np.ndarray:
    """An array that was stored beside the variants."""
    with np.load(run.file(VARIANTS), allow_pickle=False) as stored:
        return stored[name]
