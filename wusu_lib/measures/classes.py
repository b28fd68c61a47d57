"""Confusion matrix -> every figure reported, in two steps: counts first, then pure reductions.

One int64 matrix [12, 12] a patch and date, by class index: **rows are truth, columns are prediction**. Row
0 is unlabelled ground, column 0 a prediction of "Background", which only a model trained with
background="class" can make. Matrices are summed over whatever is pooled (patches, dates) *before* a figure
is computed; figures of patches or of batches are never averaged.

Two protocols, by name. They are different measures and must not be compared with each other:

- ``"ignore"``: 11 classes. Unlabelled pixels (row 0) do not count. A labelled pixel predicted as Background
  is a miss.
- ``"class"``: 12 classes. Unlabelled ground is a class like the others: the study's protocol.

With TP, FP, FN of one class: recall = TP/(TP+FN), precision = TP/(TP+FP), IoU = TP/(TP+FP+FN) (Jaccard 1912;
Everingham et al. 2010, doi 10.1007/s11263-009-0275-4), F1 = 2TP/(2TP+FP+FN) (Sorensen 1948, Dice 1945).

The rule for absent classes: a class with no truth *and* no prediction among the counted pixels has NaN
everywhere and is left out of macro means. A class with predictions but no truth, or with truth but no
prediction, scores 0 in all four and counts in the means, so that all macro means run over the same classes.
torchmetrics 1.x does the same (except where Background is predicted under its ``ignore_index=0``);
scikit-learn's ``balanced_accuracy_score`` leaves out every class without truth, and many benchmarks average
over all classes of the legend whether they occur or not.
"""

import math
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd

from wusu_lib.legend import ELEVEN, N_INDEX, LabelSpace

Metric = Literal["acc", "pixel_acc", "mIoU", "F1"]
METRICS: tuple[str, ...] = get_args(Metric)


class Counts(NamedTuple):
    """Pixels per class, each float64 [..., K], K = ``LabelSpace.outputs``, classes in legend order."""

    hits: np.ndarray  # truth and prediction agree
    truth: np.ndarray  # truth is the class
    predicted: np.ndarray  # prediction is the class


def confusion(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Count one patch (or any stack of them): int64 [12, 12], rows truth, columns prediction.

    Both arrays hold class indices 0 to 11 (0 = unlabelled or Background) in any integer type and have equal
    shape. Raises ValueError for unequal shapes, other types and other values.
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    if truth.shape != prediction.shape:
        raise ValueError(
            f"truth has shape {truth.shape} but prediction {prediction.shape}; they must be equal"
        )
    pairs = _as_index(truth, "truth") * np.uint8(N_INDEX) + _as_index(prediction, "prediction")  # at most 143
    return np.bincount(pairs.ravel(), minlength=N_INDEX**2).reshape(N_INDEX, N_INDEX).astype(np.int64)


def _as_index(values: np.ndarray, what: str) -> np.ndarray:
    """The values as uint8, after the check that they are class indices."""
    if not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"{what} has type {values.dtype}; expected integer class indices 0 to {N_INDEX - 1}")
    if values.size and (values.min() < 0 or values.max() >= N_INDEX):
        wrong = np.unique(values[(values < 0) | (values >= N_INDEX)]).tolist()
        raise ValueError(
            f"{what} holds {wrong}; expected class indices 0 to {N_INDEX - 1} "
            "(legend.index_from_code takes mask codes to indices, index_from_train_id train ids)"
        )
    return values.astype(np.uint8)


def merge(matrices: np.ndarray, labels: LabelSpace) -> np.ndarray:
    """Matrices [..., 12, 12] in a label space: same shape and type, a new array if merged.

    Merged: row and column of a merged class's second member are added to the first's and set to 0, as if
    truth and prediction had been merged before they were counted. With all classes: as they are.
    """
    matrices = np.asarray(matrices)
    _check_shape(matrices)
    if not labels.merged:
        return matrices
    matrices = matrices.copy()
    for first, second in (merged.members for merged in labels.merged):
        matrices[..., first, :] += matrices[..., second, :]
        matrices[..., second, :] = 0
        matrices[..., first] += matrices[..., second]
        matrices[..., second] = 0
    return matrices


def _check_shape(matrix: np.ndarray) -> None:
    if matrix.shape[-2:] != (N_INDEX, N_INDEX):
        raise ValueError(f"matrix has shape {matrix.shape}; expected [..., {N_INDEX}, {N_INDEX}]")


def counts(matrix: np.ndarray, labels: LabelSpace = ELEVEN) -> Counts:
    """Hits, truth and predicted pixels per class of matrices [..., 12, 12], merged if so asked.

    Counts add up: those of a sum of matrices are the sum of the counts. Raises ValueError for another shape.
    """
    matrix = merge(matrix, labels)
    kept = list(labels.scored)
    counted = matrix[..., kept, :].astype(np.float64)
    return Counts(
        hits=np.diagonal(matrix, axis1=-2, axis2=-1)[..., kept].astype(np.float64),
        truth=counted.sum(axis=-1),
        predicted=counted.sum(axis=-2)[..., kept],
    )


def score(pooled: Counts, metric: str) -> np.ndarray:
    """One pooled figure (0 to 1) over the last axis of the counts: [..., K] -> [...].

    "acc": macro recall (mean over classes). "pixel_acc": share of counted pixels that are right (micro
    accuracy). "mIoU", "F1": macro means. NaN where nothing is counted. Raises ValueError for an unknown
    metric.
    """
    hits, truth, predicted = pooled
    if metric == "pixel_acc":
        return ratio(hits.sum(axis=-1), truth.sum(axis=-1))
    if metric not in METRICS:
        raise ValueError(f"metric: got {metric!r}; allowed: {', '.join(METRICS)}")
    present = truth + predicted > 0
    per_class = {"acc": _recall, "mIoU": _iou, "F1": _f1}[metric](pooled)
    return ratio(np.where(present, per_class, 0.0).sum(axis=-1), present.sum(axis=-1))


def annotated(pooled: Counts) -> Counts:
    """The counts without what is predicted of classes that no pixel is annotated as: same shapes.

    ``score`` of them averages over the classes that have truth, whatever was predicted, so that two
    predictions of one ground are averaged over the same classes. What such a prediction hides is still
    missed.
    """
    return pooled._replace(predicted=np.where(pooled.truth > 0, pooled.predicted, 0.0))


def scores(matrix: np.ndarray, labels: LabelSpace = ELEVEN) -> dict[str, float | np.ndarray]:
    """The study's four figures ("acc", "pixel_acc", "mIoU", "F1"; 0 to 1) of matrices [..., 12, 12].

    A single matrix gives floats, a stack arrays of its leading axes: each matrix is scored by itself, so
    sum first what is to be pooled. acc is macro recall, mIoU and F1 are macro means over the classes
    present, pixel_acc is micro. Not comparable: "ignore" with "class"; "all" with "merged"; mIoU or F1
    averaged over batches or patches; F1 of averaged precision and recall (here: the mean of each class's
    F1); the "acc" of TerraTorch versions in which that name is micro accuracy.
    """
    pooled = counts(matrix, labels)
    figures = {metric: score(pooled, metric) for metric in METRICS}
    return {metric: float(value) if np.ndim(value) == 0 else value for metric, value in figures.items()}


def classes(matrix: np.ndarray, labels: LabelSpace = ELEVEN) -> pd.DataFrame:
    """One row a class of one matrix [12, 12]: name, IoU, precision, recall, F1 (0 to 1), support.

    support: true pixels. The index is the class index, legend order; with classes="merged" a merged class has
    its first member's index and the second member no row. An absent class is NaN with support 0. Leading axes
    are summed first.
    """
    matrix = np.asarray(matrix)
    pooled = counts(matrix.reshape(-1, *matrix.shape[-2:]).sum(axis=0), labels)
    present = pooled.truth + pooled.predicted > 0
    figures = {"IoU": _iou, "precision": _precision, "recall": _recall, "F1": _f1}
    return pd.DataFrame(
        {
            "name": labels.class_names,
            **{column: np.where(present, figure(pooled), np.nan) for column, figure in figures.items()},
            "support": pooled.truth.astype(np.int64),
        },
        index=pd.Index(labels.scored, name="index"),
    )


def ratio(numerator: np.ndarray, denominator: np.ndarray, empty: float = np.nan) -> np.ndarray:
    """Quotient of arrays that are broadcast, ``empty`` where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    out = np.full(numerator.shape, empty, dtype=np.float64)
    return np.divide(numerator, denominator, out=out, where=np.abs(denominator) > 0)


def _recall(pooled: Counts) -> np.ndarray:
    return ratio(pooled.hits, pooled.truth, empty=0.0)


def _precision(pooled: Counts) -> np.ndarray:
    return ratio(pooled.hits, pooled.predicted, empty=0.0)


def _iou(pooled: Counts) -> np.ndarray:
    return ratio(pooled.hits, pooled.truth + pooled.predicted - pooled.hits, empty=0.0)


def _f1(pooled: Counts) -> np.ndarray:
    return ratio(2 * pooled.hits, pooled.truth + pooled.predicted, empty=0.0)


# Calibration: whether a model is right as often as it says. Counts by bin first, a figure of them afterwards.

BINS = 15  # of equal width, as in Guo et al.
LEAST = 1e-12  # a probability of 0 has no logarithm


def reliability(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Pixels, sum of confidence and right pixels in each of 15 bins of confidence: float64 [15, 3].

    probabilities: [N, K], rows sum to 1; truth: their right column, integers [N]. Confidence is the largest
    probability; bins are (0, 1/15], (1/15, 2/15], ... Counts of several models or places add up.
    """
    return binned(probabilities.max(axis=1).astype(np.float64), probabilities.argmax(axis=1) == truth)


def binned(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> np.ndarray:
    """As ``reliability``, of anything that is right or not (bool [N]) with a confidence [N]: [bins, 3]."""
    at = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    columns = (np.ones(len(at)), confidence, right.astype(np.float64))
    return np.stack([np.bincount(at, weights, minlength=bins) for weights in columns], axis=1)


def calibration_error(counted: np.ndarray) -> float:
    """Expected calibration error of ``binned`` counts [bins, 3], 0 to 1; NaN where nothing is counted.

    Mean over the pixels of |share that is right - mean confidence| of their bin (Guo et al. 2017, ICML, arXiv
    1706.04599, equation 3).
    """
    pixels, confidence, right = counted.T
    return float(np.abs(right - confidence).sum() / pixels.sum()) if pixels.any() else math.nan


def temperature(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """The T between 1/8 and 8 by which scores are divided for the least mean -log p of the truth.

    probabilities: [N, K] of the undivided scores; truth: as in ``reliability``. ``tempered`` applies it (Guo
    et al. 2017, section 4.2). Above 1: the model is surer than it is right. Raises ValueError without a row.
    """
    from scipy.optimize import minimize_scalar

    if not len(truth):
        raise ValueError("no labelled pixel to learn a temperature from")

    def surprise(exponent: float) -> float:
        own = tempered(probabilities, 2.0**exponent)[np.arange(len(truth)), truth]
        return float(-np.log(np.maximum(own, LEAST)).mean())

    found = minimize_scalar(surprise, bounds=(-3, 3), method="bounded", options={"xatol": 1e-3})
    return float(2.0**found.x)


def tempered(probabilities: np.ndarray, by: float) -> np.ndarray:
    """Probabilities [N, K] as they would be had all scores been divided by ``by``: the same largest ones."""
    raised = np.maximum(probabilities.astype(np.float64), LEAST) ** (1 / by)
    return raised / raised.sum(axis=1, keepdims=True)
