"""How likely each transition is, learnt by counting on the train patches.

For one interval with N_ab pixels of class a that became b and N pixels in all, both dates labelled:

    J_ab = (N_ab + s) / (N + K^2 s)    p_a = sum_b J_ab    q_b = sum_a J_ab    R_ab = log(J_ab / (p_a q_b))

K = 11 classes, s = ``SMOOTHING`` pixels. R is the pointwise mutual information of the two dates: what the
class at one date says about that at the other. It adds to the evidence of two images that were looked at
separately, because with images independent given the classes, and a model that gives P(class | image) under
the train shares,

    log P(a, b | image 1, image 2) = log P(a | image 1) + log P(b | image 2) + R_ab + constant.

A network that is surer than it is right, or was trained with class weights, is not such a model: calibrate
it first. Change comes in objects, so a few thousand pixels are a handful of objects, and transitions that
train never shows do occur elsewhere. s is therefore the footprint of one object: as though each of the 121
combinations had been seen on one more. Where objects are of another size, choose s on validation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wusu_lib import legend

SMOOTHING = 1000.0  # pixels: a plot of about 30 m x 30 m at 1 m
N_CLASSES = len(legend.CLASSES)


@dataclass(frozen=True)
class Prior:
    """``ratio``: R of each interval, float64 [T - 1, 11, 11], rows the class at its first date."""

    ratio: np.ndarray

    @property
    def dates(self) -> int:
        """Number of dates T that it couples."""
        return len(self.ratio) + 1


def learn_prior(
    counts: Sequence[np.ndarray] | Mapping[tuple[int, int], np.ndarray], smoothing: float = SMOOTHING
) -> Prior:
    """The prior of the counts of successive intervals: each int64 [12, 12] by class index.

    ``counts``: those of ``evidence.count_transitions`` of train rows, or a list of them; unlabelled pixels
    (row and column 0) do not count. For an interval that train does not have, pass the sum over train's.
    Raises ValueError for other shapes, no labelled pixel, or smoothing that is not above 0.
    """
    if not smoothing > 0:
        raise ValueError(f"smoothing: got {smoothing}; expected pixels above 0")
    tables = list(counts.values()) if isinstance(counts, Mapping) else list(counts)
    if not tables:
        raise ValueError("no interval: counts are empty; pass those of at least two dates")
    return Prior(np.stack([_ratio(np.asarray(table), smoothing) for table in tables]))


def _ratio(table: np.ndarray, smoothing: float) -> np.ndarray:
    """R of one interval."""
    if table.shape != (legend.N_INDEX, legend.N_INDEX):
        raise ValueError(f"counts have shape {table.shape}; expected ({legend.N_INDEX}, {legend.N_INDEX})")
    labelled = table[1:, 1:]
    if not labelled.any():
        raise ValueError("no pixel is labelled at both dates: nothing to learn a prior from")
    joint = (labelled + smoothing) / (labelled.sum() + N_CLASSES**2 * smoothing)
    return np.log(joint / np.outer(joint.sum(axis=1), joint.sum(axis=0)))
