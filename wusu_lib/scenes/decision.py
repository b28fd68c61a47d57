"""From the dates' blended probabilities to classes and one confidence."""

from collections.abc import Sequence

import numpy as np

from wusu_lib import legend
from wusu_lib.change.decoding import decode
from wusu_lib.change.prior import N_CLASSES, Prior

CHUNK = 2**18  # pixels at a time: bounds what a strip needs beside its probabilities


def decide(
    probabilities: Sequence[np.ndarray],
    valid: Sequence[np.ndarray],
    indices: Sequence[int],
    prior: Prior | None = None,
) -> np.ndarray:
    """Class index of each date and the confidence in all of them: uint8 [dates + 1, H, W].

    ``probabilities``: one [K, H, W] a date, adding to 1; ``valid``: bool [H, W] a date; ``indices``: class
    index of each of the K. Without a prior each date's most probable class, with one the most probable pair
    where both dates have a class (``change.decode``). Pixels without data, and those that a model of 12
    outputs takes for unlabelled, have index 0.

    Confidence: probability of the chosen classes x 255, rounded, at least 1; 0 where a date has no class. For
    classes a, b: p1(a) p2(b) exp(R_ab) / Z, Z the same summed over all pairs of classes; without a prior R is
    0 and the dates are taken as independent. It is the model's own opinion, and models are usually surer than
    they are right.
    """
    height, width = valid[0].shape
    found = np.empty((len(probabilities) + 1, height, width), dtype=np.uint8)
    rows = max(1, CHUNK // max(1, width))
    for top in range(0, height, rows):
        part = slice(top, top + rows)
        classes = _expanded([p[:, part] for p in probabilities], indices)
        found[:, part] = _chunk(classes, np.stack([v[part] for v in valid]), prior)
    return found


def _expanded(probabilities: Sequence[np.ndarray], indices: Sequence[int]) -> np.ndarray:
    """Probabilities by class index, float32 [dates, 12, H, W]; 0 for classes that the model does not know."""
    classes = np.zeros((len(probabilities), legend.N_INDEX, *probabilities[0].shape[1:]), dtype=np.float32)
    for date, given in zip(classes, probabilities, strict=True):
        date[list(indices)] = given
    return classes


def _chunk(classes: np.ndarray, valid: np.ndarray, prior: Prior | None) -> np.ndarray:
    """``decide`` for probabilities [dates, 12, h, w] and valid [dates, h, w]."""
    index = classes.argmax(axis=1).astype(np.uint8)
    index[~valid] = 0
    labelled = (index > 0).all(axis=0)
    ratio = None
    if prior is not None:
        index = np.where(labelled, decode(classes[:, 1:], prior), index)
        ratio = np.exp(prior.ratio[0]).astype(np.float32)
    chosen = np.take_along_axis(classes, index[:, None].astype(np.intp), axis=1)[:, 0].prod(axis=0)
    if ratio is not None:
        pair = np.where(index > 0, index.astype(np.intp) - 1, 0)
        chosen = chosen * ratio[pair[0], pair[1]] / _normaliser(classes[:, 1:], ratio)
    confidence = np.clip(np.rint(chosen * 255), 1, 255).astype(np.uint8)
    confidence[~labelled] = 0
    return np.concatenate([index, confidence[None]])


def _normaliser(classes: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """Sum over all pairs of p1 exp(R) p2, with each date's 11 classes adding to 1: float32 [h, w]."""
    first, second = classes / np.maximum(classes.sum(axis=1, keepdims=True), np.float32(1e-12))
    onward = (ratio @ second.reshape(N_CLASSES, -1)).reshape(second.shape)
    return np.maximum((first * onward).sum(axis=0), np.float32(1e-12))
