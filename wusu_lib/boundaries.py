"""How well the boundaries between classes are drawn: boundary IoU and boundary F at 1, 2 and 3 px.

**Boundary IoU** (Cheng et al. 2021, arXiv 2103.16562): IoU of those pixels of a class that lie within d px
of its boundary, in the truth and in the prediction; distance as there, steps of a 3 x 3 neighbourhood.
**Boundary F** (Csurka et al. 2013, BMVC, doi 10.5244/C.27.32): harmonic mean of the share of predicted
boundary pixels of a class within d px of a true one, and of true ones within d px of a predicted one.

A boundary is where a class meets another class. Two limits are none, unlike in Cheng's code: the edge of the
patch, where the map goes on, and the edge of the labels, beyond which nobody knows what is there. Unlabelled
pixels count neither in the truth nor in the prediction. Where annotators left strips between objects, as
often around buildings, little boundary is left to judge: ``compare`` says how much. Counts are pooled over
patches; macro means run over the classes that have a boundary in truth or prediction.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from wusu_lib import labels
from wusu_lib.blockwise import Figure, by_seed, effect, ratio
from wusu_lib.legend import N_INDEX, LabelSpace

DISTANCES = (1, 2, 3)  # px
MEASURES = ("boundary IoU", "boundary F")
MACRO = "all classes"


def band(index: np.ndarray, labelled: np.ndarray, distance: int) -> np.ndarray:
    """Labelled pixels within ``distance`` px of a labelled pixel of another class: bool [H, W].

    index: class indices [H, W]; labelled: bool [H, W].
    """
    from scipy.ndimage import maximum_filter, minimum_filter

    size = 2 * distance + 1
    highest = maximum_filter(np.where(labelled, index, 0), size, mode="nearest")
    lowest = minimum_filter(np.where(labelled, index, N_INDEX), size, mode="nearest")
    return labelled & ((highest != index) | (lowest != index))


def counts(truth: np.ndarray, predicted: np.ndarray, distance: int) -> np.ndarray:
    """Pixels of one patch by class index, int64 [7, 12].

    Kinds: of the bands of width ``distance`` those in both, in the truth's, in the prediction's; of the
    boundaries (bands of 1 px) the predicted pixels near a true one, all predicted, the true ones near a
    predicted one, all true. truth, predicted: class indices [H, W], 0 = unlabelled (in the truth).
    """
    labelled = truth > 0
    wide = [band(index, labelled, distance) for index in (truth, predicted)]
    thin = wide if distance == 1 else [band(index, labelled, 1) for index in (truth, predicted)]
    true_edge, drawn_edge = (np.where(t, i, 0) for t, i in zip(thin, (truth, predicted), strict=True))
    both = wide[0] & wide[1] & (truth == predicted)
    return np.stack(
        [
            _by_class(truth[both]),
            _by_class(truth[wide[0]]),
            _by_class(predicted[wide[1]]),
            _near(drawn_edge, true_edge, distance),
            _by_class(drawn_edge[thin[1]]),
            _near(true_edge, drawn_edge, distance),
            _by_class(true_edge[thin[0]]),
        ]
    )


def _by_class(index: np.ndarray) -> np.ndarray:
    return np.bincount(index.ravel(), minlength=N_INDEX)


def _near(edge: np.ndarray, other: np.ndarray, distance: int) -> np.ndarray:
    """Pixels of ``edge`` (class index, 0 = none) within ``distance`` px of one of the same class in
    ``other``, by class [12].
    """
    from scipy.ndimage import maximum_filter

    found = np.zeros(N_INDEX, dtype=np.int64)
    for index in np.intersect1d(edge[edge > 0], other):
        near = maximum_filter(other == index, 2 * distance + 1, mode="constant")
        found[index] = (near & (edge == index)).sum()
    return found


def compare(runs: Sequence[Any], baseline: Sequence[Any], table: pd.DataFrame) -> pd.DataFrame:
    """Both measures on the validation patches, at each distance, for each class and their mean.

    Columns: measure, distance (px), class ("all classes" for the macro mean), pixels (annotated boundary),
    run, baseline (0 to 1), difference, low, high (95 %, paired block bootstrap), blocks, seeds. ``runs``,
    ``baseline``: stored runs, one a seed; ``table``: patch table with masks. Both sides are
    judged in one label space, merged where either is. Raises ValueError where seeds differ.
    """
    sides = by_seed(runs, baseline)
    space = sides[0][0].labels.judged_with(sides[1][0].labels).annotated()
    rows = sides[0][0].confusion
    rows = rows[rows["split"] == "val"].sort_values("patch")
    truths = {p: space.merge_index(labels.index(table, p)) for p in rows["patch"]}
    kept = list(space.scored)
    found = []
    for distance in DISTANCES:
        counted = [[_of_run(run, truths, distance, space)[..., kept] for run in side] for side in sides]
        for number, measure in enumerate(MEASURES):
            true = counted[0][0][:, -1].sum(axis=0)  # [K]
            lengths = [true.sum(), *true]
            figures = _figures(number, space.class_names)
            for (name, of), pixels in zip(figures, lengths, strict=True):
                row = {"measure": measure, "distance": distance, "class": name, "pixels": int(pixels)}
                found.append(row | effect(counted, rows["block"].tolist(), Figure(measure, of)))
    return pd.DataFrame(found)


def _of_run(run: Any, truths: dict[str, np.ndarray], distance: int, space: LabelSpace) -> np.ndarray:
    maps = ((truth, space.merge_index(run.prediction(patch))) for patch, truth in truths.items())
    return np.stack([counts(truth, predicted, distance) for truth, predicted in maps])  # [N, 7, 12]


def _figures(number: int, names: Sequence[str]) -> list[tuple[str, Any]]:
    """Name and score of the macro mean and of each class, for one of the two measures."""
    per_class = (_iou, _f1)[number]
    macro = [(MACRO, lambda pooled: _mean(per_class(pooled)))]
    return macro + [(n, lambda pooled, i=i: per_class(pooled)[..., i]) for i, n in enumerate(names)]


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the classes that have a value."""
    there = np.isfinite(values)
    return ratio(np.where(there, values, 0).sum(axis=-1), there.sum(axis=-1).astype(float))


def _iou(pooled: np.ndarray) -> np.ndarray:
    """Boundary IoU by class, NaN without a boundary: [..., 7, K] -> [..., K]."""
    both, truth, predicted = np.moveaxis(pooled, -2, 0)[:3]
    return ratio(both, truth + predicted - both)


def _f1(pooled: np.ndarray) -> np.ndarray:
    """Boundary F by class; 0 where one side has no boundary, NaN where none has: [..., 7, K] -> [..., K]."""
    drawn_near, drawn, true_near, true = np.moveaxis(pooled, -2, 0)[3:]
    precision, recall = (np.nan_to_num(ratio(*pair)) for pair in ((drawn_near, drawn), (true_near, true)))
    found = np.nan_to_num(ratio(2 * precision * recall, precision + recall))
    return np.where(drawn + true > 0, found, np.nan)
