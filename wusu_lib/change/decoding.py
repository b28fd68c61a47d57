"""Class maps of two or three dates from their softmax stacks: each date for itself, or all dates together.

Together means the most probable sequence of classes of each pixel under the transition prior (``prior``):
maximum a posteriori, found by dynamic programming over the dates (Viterbi 1967), exact for any number of
dates. The cost is 11 x 11 comparisons a pixel and interval, done with whole blocks of pixels at a time.
"""

import numpy as np

from wusu_lib.change.prior import N_CLASSES, Prior

BLOCK = 2**15  # pixels at a time: the scores of one block (11 float32 each, 1.4 MB) stay in the cache
FLOOR = 1e-6  # smallest probability taken seriously: a softmax of 0 must not veto what the other dates say


def decode(probabilities: np.ndarray, prior: Prior | None = None) -> np.ndarray:
    """Class index (uint8 [T, H, W], 1 to 11) of T dates from probabilities [T, 11, H, W] (0 to 1, any float).

    Channels are the 11 classes in legend order (train ids of background="ignore"). Without a prior: argmax of
    each date. With one: the sequence with the greatest sum of log probabilities (not below log 1e-6) and
    prior terms. Ties go to the lower class index. Memory beyond input and result: about
    ``BLOCK`` x (11 T + 40) x 4 bytes. Raises ValueError for another shape and for a prior of
    another number of dates.
    """
    if probabilities.ndim != 4 or probabilities.shape[1] != N_CLASSES:
        raise ValueError(
            f"probabilities have shape {probabilities.shape}; expected [dates, {N_CLASSES}, H, W]. Of a "
            "model with 12 outputs, drop channel 0 (Background)"
        )
    if prior is not None and prior.dates != len(probabilities):
        raise ValueError(f"the prior couples {prior.dates} dates, but there are {len(probabilities)}")
    dates, _, height, width = probabilities.shape
    found = np.empty((dates, height, width), dtype=np.uint8)
    rows = max(1, BLOCK // max(1, width))
    for top in range(0, height, rows):
        part = probabilities[:, :, top : top + rows]
        best = part.argmax(axis=1) if prior is None else _viterbi(part, prior.ratio.astype(np.float32))
        found[:, top : top + rows] = best + 1
    return found


def _viterbi(probabilities: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """Best sequence of class positions 0 to 10 of a block: [T, 11, h, w] and [T - 1, 11, 11] -> [T, h, w]."""
    scores = np.log(np.maximum(probabilities.astype(np.float32), np.float32(FLOOR)))
    arrived, came_from = scores[0], []
    for date in range(1, len(scores)):
        arrived, back = _step(arrived, ratio[date - 1])
        arrived += scores[date]
        came_from.append(back)
    sequence = [arrived.argmax(axis=0)]
    for back in reversed(came_from):
        sequence.append(np.take_along_axis(back, sequence[-1][None], axis=0)[0])
    return np.stack(sequence[::-1])


def _step(scores: np.ndarray, ratio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Best score of arriving at each class, and the class it comes from: float32 and uint8 [11, h, w]."""
    arrived = np.empty_like(scores)
    back = np.zeros(scores.shape, dtype=np.uint8)
    for second in range(N_CLASSES):
        best, origin = arrived[second], back[second]
        np.add(scores[0], ratio[0, second], out=best)
        for first in range(1, N_CLASSES):
            candidate = scores[first] + ratio[first, second]
            origin[candidate > best] = first
            np.maximum(best, candidate, out=best)
    return arrived, back
