"""Measures of change: matrices of counts first, pure reductions of them afterwards.

And what can be compared, by name: figures of class maps and figures of change, behind one interface.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd

from wusu_lib import legend
from wusu_lib.legend import ELEVEN, LabelSpace
from wusu_lib.measures import classes as class_measures
from wusu_lib.measures.classes import Counts, annotated, ratio
from wusu_lib.transitions import FIRST, N_LABELS, SECOND, UNCHANGED, UNLABELLED, table

# One int64 matrix [111, 111] a patch and interval, by from-to label: **rows are truth, columns are
# prediction**, label 0 is unchanged. It holds all that the measures need: the binary matrix and both
# conventions of semantic change are sums over it, so one matrix a patch is kept and pooled before any
# figure is computed.
#
# Rules decided here:
#
# - Pixels unlabelled at either date in the **truth** are dropped before anything is counted.
# - A **predicted** label 255 (a model that knows Background predicted it at either date) makes no claim of a
#   change: it counts as predicted "unchanged", a miss where the truth changed.

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
        _check_matrices(values, what)
    counted = truth != UNLABELLED
    claimed = np.where(prediction == UNLABELLED, np.uint8(UNCHANGED), prediction)
    pairs = truth[counted].astype(np.uint16) * np.uint16(N_LABELS) + claimed[counted]  # at most 12,320
    return np.bincount(pairs, minlength=N_LABELS**2).reshape(N_LABELS, N_LABELS).astype(np.int64)


def _check_matrices(labels: np.ndarray, what: str) -> None:
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


# Measures of change from matrices of counts: rows truth, columns prediction, index 0 = unchanged.
#
# With Q a matrix [K, K], TN = Q00, A = row 0 - Q00 (false changes), B = column 0 - Q00 (missed changes) and
# TP = the sum of Q[1:, 1:] (changed in both, whatever the classes):
#
# - binary change: precision = TP / (TP + A), recall = TP / (TP + B), F1 = 2 TP / (2 TP + A + B),
#   IoU = TP / (TP + A + B);
# - binary mIoU = (TN / (TN + A + B) + TP / (TP + A + B)) / 2: "mIoU" of the change literature, **not** a
#   mean over land-cover classes;
# - SeK = kappa(Q with Q00 := 0) * exp(IoU - 1), Score = 0.3 mIoU + 0.7 SeK (Yang et al.,
#   arXiv 2010.05687);
# - Fscd = 2 P R / (P + R), P = hits / predicted changed, R = hits / truly changed, hits = sum of Q_ii, i >= 1
#   (Ding et al. 2022, Bi-SRNet, IEEE TGRS).
#
# SeK, Score and Fscd exist in two conventions that differ, "per date" and "from-to" (see ``reduce``); a
# figure without its convention means nothing. Pool the matrices of all patches first; a mean of per-patch
# SeK is another, noisier measure.
#
# Rules for empty cases, the same as in ``wusu_lib.measures.classes``: what is absent from truth *and*
# prediction is undefined, NaN, never 0 or 1; what is absent from one of them scores 0.
#
# - Nothing changed and nothing predicted: F1, IoU, precision, recall, Fscd, SeK, mIoU and Score are NaN.
# - Changed but nothing predicted, or predicted but nothing changed: F1, IoU, precision, recall, Fscd are 0.
# - Nothing unchanged in truth and prediction: mIoU and Score are NaN (IoU of unchanged is 0/0).
# - kappa's 0/0 (all counted pixels are one transition, all right): SeK and Score are NaN. The published code
#   gives 0 there and where nothing is counted.
# - No labelled pixel: everything is NaN.

Metric = Literal["F1", "IoU", "precision", "recall", "mIoU", "SeK", "Score", "Fscd"]
METRICS: tuple[str, ...] = get_args(Metric)
SEMANTIC = ("SeK", "Score", "Fscd")
# Every figure that is reported, by name: which convention's counts, which metric.
FIGURES: dict[str, tuple[Convention, str]] = {
    "BCD F1": ("binary", "F1"),
    "BCD IoU": ("binary", "IoU"),
    "BCD precision": ("binary", "precision"),
    "BCD recall": ("binary", "recall"),
    "binary mIoU": ("binary", "mIoU"),
    **{f"{metric} per date": ("per date", metric) for metric in SEMANTIC},
    **{f"{metric} from-to": ("from-to", metric) for metric in SEMANTIC},
}


class _Binary(NamedTuple):
    """Pixels, each [...]."""

    tn: np.ndarray
    false: np.ndarray  # A: predicted changed, truly unchanged
    missed: np.ndarray  # B
    tp: np.ndarray


def counts(matrix: np.ndarray) -> Counts:
    """Hits, truth and predicted pixels per index of matrices [..., K, K]: float64 [..., K] each.

    All that ``score`` needs; counts add up, those of a sum of matrices are the sum of the counts.
    """
    matrix = np.asarray(matrix).astype(np.float64)
    return Counts(np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(axis=-1), matrix.sum(axis=-2))


def score(pooled: Counts, metric: str) -> np.ndarray:
    """One pooled figure over the last axis of the counts: [..., K] -> [...]; NaN where it is undefined.

    F1, IoU, precision, recall, mIoU are of changed against unchanged and the same in every convention. SeK
    (-1 to 1), Score and Fscd need classes: K = 12 ("per date") or 111 ("from-to"). Raises ValueError for
    an unknown metric and for a semantic one of binary counts.
    """
    if metric not in METRICS:
        raise ValueError(f"metric: got {metric!r}; allowed: {', '.join(METRICS)}")
    if metric in SEMANTIC and pooled.hits.shape[-1] == 2:
        raise ValueError(f"{metric} needs classes; binary counts give F1, IoU, precision, recall, mIoU")
    binary = _binary(pooled)
    if metric in ("F1", "IoU", "precision", "recall"):
        return _change(binary, metric)
    if metric == "Fscd":
        hits = pooled.hits[..., 1:].sum(axis=-1)
        return ratio(2 * hits, 2 * binary.tp + binary.false + binary.missed)
    if metric == "mIoU":
        return _binary_miou(binary)
    sek = _kappa(pooled) * np.exp(_change(binary, "IoU") - 1)
    return sek if metric == "SeK" else 0.3 * _binary_miou(binary) + 0.7 * sek


def scores(matrix: np.ndarray) -> dict[str, float | np.ndarray]:
    """Every figure of ``FIGURES`` by name, of matrices [..., 111, 111]; of [..., 2, 2] the binary ones.

    A single matrix gives floats, a stack arrays of its leading axes: each matrix is scored by itself, so sum
    first what is to be pooled.
    """
    matrix = np.asarray(matrix)
    if matrix.shape[-2:] == (2, 2):
        reduced = {"binary": counts(matrix)}
    else:
        conventions = {convention for convention, _ in FIGURES.values()}
        reduced = {convention: counts(reduce(matrix, convention)) for convention in conventions}
    figures = {
        name: score(reduced[convention], metric)
        for name, (convention, metric) in FIGURES.items()
        if convention in reduced
    }
    return {name: float(value) if np.ndim(value) == 0 else value for name, value in figures.items()}


def transitions(matrix: np.ndarray) -> pd.DataFrame:
    """One row a label of from-to matrices [..., 111, 111], figures of each (a seed) averaged.

    Columns: label, from, to, name, colour, IoU, precision, recall (0 to 1), support (true pixels), predicted
    (pixels). NaN where a transition is in neither truth nor prediction, 0 where it is in one of them only.
    """
    hits, truth, predicted = counts(reduce(np.asarray(matrix), "from-to").reshape(-1, N_LABELS, N_LABELS))
    union = truth + predicted - hits
    known = (union > 0).sum(axis=0)
    found = table()
    for name, of in (("IoU", union), ("precision", predicted), ("recall", truth)):
        shares = np.where(union > 0, ratio(hits, np.maximum(of, 1)), 0.0).sum(axis=0)
        found[name] = np.where(known > 0, shares / np.maximum(known, 1), np.nan)
    pixels = {"support": truth, "predicted": predicted}
    return found.assign(**{name: each.mean(axis=0).round().astype(np.int64) for name, each in pixels.items()})


def _binary(pooled: Counts) -> _Binary:
    """The 2 x 2 table of counts [..., K]."""
    tn, total = pooled.hits[..., 0], pooled.truth.sum(axis=-1)
    false, missed = pooled.truth[..., 0] - tn, pooled.predicted[..., 0] - tn
    return _Binary(tn, false, missed, total - tn - false - missed)


def _change(binary: _Binary, metric: str) -> np.ndarray:
    """F1, IoU, precision or recall of "changed": NaN if it is in neither truth nor prediction."""
    _, false, missed, tp = binary
    union = tp + false + missed
    if metric == "F1":
        return ratio(2 * tp, tp + union)
    of = {"IoU": union, "precision": tp + false, "recall": tp + missed}[metric]
    return np.where(union > 0, ratio(tp, np.where(of > 0, of, 1.0)), np.nan)


def _binary_miou(binary: _Binary) -> np.ndarray:
    unchanged = ratio(binary.tn, binary.tn + binary.false + binary.missed)
    return (unchanged + _change(binary, "IoU")) / 2


def _kappa(pooled: Counts) -> np.ndarray:
    """Cohen's kappa of the matrix with Q00 := 0: (po - pe) / (1 - pe), with numerators over the total."""
    unchanged = np.zeros(pooled.hits.shape[-1])
    unchanged[0] = 1
    tn = pooled.hits[..., :1] * unchanged
    hits, truth, predicted = (each - tn for each in pooled)
    total = truth.sum(axis=-1)
    chance = ratio((truth * predicted).sum(axis=-1), total**2)
    agreed = ratio(hits.sum(axis=-1), total)
    return ratio(agreed - chance, 1 - chance)


# What can be compared, by name: figures of class maps and figures of change, behind one interface.
#
# A measure takes the matrices of a run to counts of pixels, [N, 3, K]. Counts add up, so that blocks of
# patches are summed and left out as counts, never as matrices: a matrix of from-to labels has 111 x 111
# entries, its counts 3 x 111.
#
# Macro means run over the classes that are annotated on the ground at hand. A class that is predicted and
# annotated nowhere counts as 0 in ``classes.scores``; here it would set one side's mean over another number
# of classes than the other side's.

MEASURE_NAMES: tuple[str, ...] = (*class_measures.METRICS, *FIGURES)
CHUNK = 64  # matrices at a time: bounds the memory
_LOWEST = {"SeK": -1.0, "Score": -0.7}  # kappa goes down to -1; all others end at 0


@dataclass(frozen=True)
class Measure:
    """One figure with all that it takes to compute it. Made by ``measure``.

    ``lowest``: the least value that it can have; the largest is 1 for all.
    """

    name: str
    labels: LabelSpace
    lowest: float
    _counts: Callable[[np.ndarray], Counts]
    _score: Callable[[Counts], np.ndarray]

    def counts(self, matrices: np.ndarray) -> np.ndarray:
        """Hits, truth and predicted pixels of each matrix [N, M, M]: float64 [N, 3, K].

        M = 12 for figures of class maps, 111 for those of change, also 2 for those of change as such. Raises
        ValueError for matrices of another kind.
        """
        parts = [matrices[at : at + CHUNK] for at in range(0, len(matrices), CHUNK)] or [matrices]
        return np.concatenate([np.stack(self._counts(part), axis=1) for part in parts])

    def score(self, pooled: np.ndarray) -> np.ndarray:
        """The figure of pooled counts [..., 3, K]: [...]; NaN where it is undefined."""
        return self._score(Counts(*np.moveaxis(pooled, -2, 0)))


def measure(name: str, labels: LabelSpace = ELEVEN) -> Measure:
    """The measure of that name: one of ``classes.METRICS`` or of ``FIGURES``.

    ``labels`` is for class maps: which protocol counts, and whether truth and prediction are merged first.
    Figures of change drop unlabelled ground always. Raises ValueError for an unknown name, and for a figure
    of change with merged classes.
    """
    if name in class_measures.METRICS:
        return Measure(
            name,
            labels,
            0.0,
            lambda matrices: _class_counts(matrices, name, labels),
            lambda pooled: class_measures.score(annotated(pooled), name),
        )
    if name not in FIGURES:
        raise ValueError(f"metric: got {name!r}; allowed: {', '.join(MEASURE_NAMES)}")
    if labels.merged:
        raise ValueError(f'classes: got "merged", but {name} is a figure of change; it takes "all" only')
    convention, figure = FIGURES[name]
    return Measure(
        name,
        labels,
        _LOWEST.get(figure, 0.0),
        lambda matrices: _change_counts(matrices, name, convention),
        lambda pooled: score(pooled, figure),
    )


def _class_counts(matrices: np.ndarray, name: str, labels: LabelSpace) -> Counts:
    _check_measures(matrices, name, (legend.N_INDEX,), "class maps")
    return class_measures.counts(matrices, labels)


def _change_counts(matrices: np.ndarray, name: str, convention: Convention) -> Counts:
    sizes = (N_LABELS, 2) if convention == "binary" else (N_LABELS,)
    _check_measures(matrices, name, sizes, "change")
    ready = matrices.shape[-1] == 2
    return counts(matrices if ready else reduce(matrices, convention))


def _check_measures(matrices: np.ndarray, name: str, sizes: tuple[int, ...], of: str) -> None:
    """Raise ValueError unless the matrices are [N, M, M] with M one of ``sizes``."""
    if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2] or matrices.shape[1] not in sizes:
        expected = " or ".join(f"[N, {size}, {size}]" for size in sizes)
        raise ValueError(
            f"{name} is a figure of {of} and needs matrices {expected}; "
            f"these have shape {list(matrices.shape)}"
        )
