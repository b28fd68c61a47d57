"""Measures of change from matrices of counts: rows truth, columns prediction, index 0 = unchanged.

With Q a matrix [K, K], TN = Q00, A = row 0 - Q00 (false changes), B = column 0 - Q00 (missed changes) and
TP = the sum of Q[1:, 1:] (changed in both, whatever the classes):

- binary change: precision = TP / (TP + A), recall = TP / (TP + B), F1 = 2 TP / (2 TP + A + B),
  IoU = TP / (TP + A + B);
- binary mIoU = (TN / (TN + A + B) + TP / (TP + A + B)) / 2: "mIoU" of the change literature, **not** a
  mean over land-cover classes;
- SeK = kappa(Q with Q00 := 0) * exp(IoU - 1), Score = 0.3 mIoU + 0.7 SeK (Yang et al.,
  arXiv 2010.05687);
- Fscd = 2 P R / (P + R), P = hits / predicted changed, R = hits / truly changed, hits = sum of Q_ii, i >= 1
  (Ding et al. 2022, Bi-SRNet, IEEE TGRS).

SeK, Score and Fscd exist in two conventions that differ, "per date" and "from-to" (see ``matrices.reduce``);
a figure without its convention means nothing. Pool the matrices of all patches first; a mean of per-patch
SeK is another, noisier measure.

Rules for empty cases, the same as in ``wusu_lib.metrics``: what is absent from truth *and* prediction is
undefined, NaN, never 0 or 1; what is absent from one of them scores 0.

- Nothing changed and nothing predicted: F1, IoU, precision, recall, Fscd, SeK, mIoU and Score are NaN.
- Changed but nothing predicted, or predicted but nothing changed: F1, IoU, precision, recall, Fscd are 0.
- Nothing unchanged in truth and prediction: mIoU and Score are NaN (IoU of unchanged is 0/0).
- kappa's 0/0 (all counted pixels are one transition, all right): SeK and Score are NaN. The published code
  gives 0 there and where nothing is counted.
- No labelled pixel: everything is NaN.
"""

from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd

from wusu_lib.change.matrices import Convention, reduce
from wusu_lib.change.transitions import N_LABELS, table
from wusu_lib.metrics import Counts

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
        return _ratio(2 * hits, 2 * binary.tp + binary.false + binary.missed)
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
    """One row a label of from-to matrices [..., 111, 111], leading axes summed.

    Columns: label, from, to, name, colour, IoU, precision, recall (0 to 1), support (true pixels), predicted
    (pixels). NaN where a transition is in neither truth nor prediction, 0 where it is in one of them only.
    """
    matrix = np.asarray(matrix)
    hits, truth, predicted = counts(reduce(matrix, "from-to").reshape(-1, N_LABELS, N_LABELS).sum(axis=0))
    union = truth + predicted - hits
    found = table()
    for name, of in (("IoU", union), ("precision", predicted), ("recall", truth)):
        found[name] = np.where(union > 0, _ratio(hits, np.maximum(of, 1)), np.nan)
    return found.assign(support=truth.astype(np.int64), predicted=predicted.astype(np.int64))


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
        return _ratio(2 * tp, tp + union)
    of = {"IoU": union, "precision": tp + false, "recall": tp + missed}[metric]
    return np.where(union > 0, _ratio(tp, np.where(of > 0, of, 1.0)), np.nan)


def _binary_miou(binary: _Binary) -> np.ndarray:
    unchanged = _ratio(binary.tn, binary.tn + binary.false + binary.missed)
    return (unchanged + _change(binary, "IoU")) / 2


def _kappa(pooled: Counts) -> np.ndarray:
    """Cohen's kappa of the matrix with Q00 := 0: (po - pe) / (1 - pe), with numerators over the total."""
    unchanged = np.zeros(pooled.hits.shape[-1])
    unchanged[0] = 1
    tn = pooled.hits[..., :1] * unchanged
    hits, truth, predicted = (each - tn for each in pooled)
    total = truth.sum(axis=-1)
    chance = _ratio((truth * predicted).sum(axis=-1), total**2)
    agreed = _ratio(hits.sum(axis=-1), total)
    return _ratio(agreed - chance, 1 - chance)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient, NaN where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    return np.divide(
        numerator, denominator, out=np.full(numerator.shape, np.nan), where=np.abs(denominator) > 0
    )
