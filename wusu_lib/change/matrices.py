"""Confusion matrices of change: counts first, pure reductions (``measures``) afterwards.

One int64 matrix [111, 111] a patch and interval, by from-to label: **rows are truth, columns are
prediction**, label 0 is unchanged. It holds all that the measures need: the binary matrix and both
conventions of semantic change are sums over it, so one matrix a patch is kept and pooled before any figure is
computed.

Rules decided here:

- Pixels unlabelled at either date in the **truth** are dropped before anything is counted.
- A **predicted** label 255 (a model that knows Background predicted it at either date) makes no claim of a
  change: it counts as predicted "unchanged", a miss where the truth changed.
"""

from typing import Literal, get_args

import numpy as np

from wusu_lib import legend
from wusu_lib.change.transitions import FIRST, N_LABELS, SECOND, UNCHANGED, UNLABELLED

Convention = Literal["binary", "per date", "from-to"]
CONVENTIONS: tuple[str, ...] = get_args(Convention)
_AT_DATE = tuple(np.eye(legend.N_INDEX, dtype=np.int64)[at[:N_LABELS]] for at in (FIRST, SECOND))
_CHANGED = np.eye(2, dtype=np.int64)[(np.arange(N_LABELS) > UNCHANGED).astype(int)]


def confusion(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Count one patch (or any stack of them): int64 [111, 111], rows truth, columns prediction.

    Both arrays hold from-to labels (uint8: 0 to 110, 255 unlabelled) and have equal shape. Raises ValueError
    for unequal shapes, other types and other values.
    """
    if truth.shape != prediction.shape:
        raise ValueError(
            f"truth has shape {truth.shape} but prediction {prediction.shape}; they must be equal"
        )
    for values, what in ((truth, "truth"), (prediction, "prediction")):
        _check(values, what)
    counted = truth != UNLABELLED
    claimed = np.where(prediction == UNLABELLED, np.uint8(UNCHANGED), prediction)
    pairs = truth[counted].astype(np.uint16) * np.uint16(N_LABELS) + claimed[counted]  # at most 12,320
    return np.bincount(pairs, minlength=N_LABELS**2).reshape(N_LABELS, N_LABELS).astype(np.int64)


def _check(labels: np.ndarray, what: str) -> None:
    if labels.dtype != np.uint8:
        raise ValueError(f"{what} has type {labels.dtype}; expected uint8 from-to labels")
    wrong = labels[(labels >= N_LABELS) & (labels != UNLABELLED)]
    if wrong.size:
        raise ValueError(
            f"{what} holds {np.unique(wrong).tolist()}; expected from-to labels 0 to {N_LABELS - 1}, or 255 "
            "(from_to makes them of class maps, CodeBook.labels of change masks)"
        )


def binary_confusion(truth: np.ndarray, prediction: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """Count maps of change alone: int64 [2, 2], rows truth, columns prediction, 0 unchanged, 1 changed.

    For models that predict change without classes. All three are arrays of equal shape; truth and prediction
    mean changed where they are not 0; ``labelled`` is true where both dates are labelled in the truth, the
    rest is dropped. Raises ValueError for unequal shapes.
    """
    if not truth.shape == prediction.shape == labelled.shape:
        shapes = f"{truth.shape}, {prediction.shape}, {labelled.shape}"
        raise ValueError(f"truth, prediction, labelled have shapes {shapes}; they must be equal")
    kept = labelled.astype(bool)
    pairs = 2 * (truth[kept] != 0).astype(np.uint8) + (prediction[kept] != 0)
    return np.bincount(pairs, minlength=4).reshape(2, 2).astype(np.int64)


def reduce(matrix: np.ndarray, convention: Convention) -> np.ndarray:
    """Matrices [..., 111, 111] in one of three conventions: int64 [..., K, K], index 0 = unchanged.

    - "binary", K = 2: unchanged, changed.
    - "per date", K = 12: the class maps of the two dates, each set to 0 where the map says unchanged,
      stacked, so that a pixel counts twice, once a date (the SECOND benchmark; Yang et al.,
      arXiv 2010.05687).
    - "from-to", K = 111: one label a transition, the matrix as it is.

    Raises ValueError for another convention or shape.
    """
    matrix = np.asarray(matrix)
    if convention not in CONVENTIONS:
        raise ValueError(f"convention: got {convention!r}; allowed: {', '.join(CONVENTIONS)}")
    if matrix.shape[-2:] != (N_LABELS, N_LABELS):
        raise ValueError(f"matrix has shape {matrix.shape}; expected [..., {N_LABELS}, {N_LABELS}]")
    if convention == "binary":
        return _CHANGED.T @ matrix @ _CHANGED
    if convention == "per date":
        return sum(at.T @ matrix @ at for at in _AT_DATE)  # type: ignore[return-value]
    return matrix
