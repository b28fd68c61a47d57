"""Two or three class maps made believable: dates decoded together, slivers and small areas taken back.

Each date by itself, or all dates together with a prior of transitions that is counted on the train patches.
Then thin false changes along boundaries go, and areas below a smallest size that is learnt for each class.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wusu_lib import legend
from wusu_lib.transitions import FIRST, N_LABELS, SECOND, UNCHANGED

# How likely each transition is, learnt by counting on the train patches.
#
# For one interval with N_ab pixels of class a that became b and N pixels in all, both dates labelled:
#
#     J_ab = (N_ab + s) / (N + K^2 s)    p_a = sum_b J_ab    q_b = sum_a J_ab    R_ab = log(J_ab / (p_a q_b))
#
# K = 11 classes, s = ``SMOOTHING`` pixels. R is the pointwise mutual information of the two dates: what the
# class at one date says about that at the other. It adds to the evidence of two images that were looked at
# separately, because with images independent given the classes, and a model that gives P(class | image)
# under the train shares,
#
#     log P(a, b | image 1, image 2) = log P(a | image 1) + log P(b | image 2) + R_ab + constant.
#
# A network that is surer than it is right, or was trained with class weights, is not such a model: calibrate
# it first. Change comes in objects, so a few thousand pixels are a handful of objects, and transitions that
# train never shows do occur elsewhere. s is therefore the footprint of one object: as though each of the 121
# combinations had been seen on one more. Where objects are of another size, choose s on validation.

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

    ``counts``: those of ``codebook.count_transitions`` of train rows, or a list of them; unlabelled pixels
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
    return np.log(coupling(labelled, smoothing))


def coupling(counts: np.ndarray, smoothing: float) -> np.ndarray:
    """J_ab / (p_a q_b) of pixels by class at two dates, [K, K] -> float64 [K, K]: exp(R)."""
    joint = (counts + smoothing) / (counts.sum() + counts.size * smoothing)
    return joint / np.outer(joint.sum(axis=1), joint.sum(axis=0))


# Class maps of two or three dates from their softmax stacks: each date for itself, or all dates together.
#
# Together means the most probable sequence of classes of each pixel under the transition prior (``Prior``):
# maximum a posteriori, found by dynamic programming over the dates (Viterbi 1967), exact for any number of
# dates. The cost is 11 x 11 comparisons a pixel and interval, done with whole blocks of pixels at a time.

BLOCK = 2**15  # pixels at a time: the scores of one block (11 float32 each, 1.4 MB) stay in the cache
FLOOR = 1e-6  # smallest probability taken seriously: a softmax of 0 must not veto what the other dates say


def decode(probabilities: np.ndarray, prior: Prior | None = None) -> np.ndarray:
    """Class index (uint8 [T, H, W], 1 to 11) of T dates from probabilities [T, 11, H, W] (0 to 1, any float).

    Channels are the 11 classes in legend order (train ids of background="ignore"). Without a prior: argmax of
    each date. With one: the sequence with the greatest sum of log probabilities (not below log 1e-6) and
    prior terms. Ties go to the lower class index. Memory beyond input and result: about ``BLOCK`` x (11 T +
    40) x 4 bytes. Raises ValueError for another shape and for a prior of another number of dates.
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


# Slivers: thin false changes along boundaries, where two maps of the same ground do not lie exactly alike.
#
# With a tolerance of t pixels, a changed pixel from class a to class b is a sliver if
#
# 1. it lies in no square of t + 1 pixels of the same transition (it is thin), and
# 2. class b is within t pixels of it on the map of the first date and class a on that of the second (a shift
#    could explain it). Distances are along rows and columns: a square window of 2 t + 1 pixels.
#
# Two properties follow, and are tested. Everything that differs only because one map is shifted by up to t
# pixels in each direction is taken back: a square of t + 1 pixels of a shifted by at most t still overlaps
# itself, so it cannot be all of class b. And an area of change that squares of t + 1 pixels cover stays
# untouched, whatever surrounds it. At the edge of the map, where a neighbour cannot be seen, change is kept.

HIGHEST = 32  # pixels; a misregistration of more than that is no sliver


def drop_slivers(labels: np.ndarray, before: np.ndarray, after: np.ndarray, tolerance: int = 1) -> np.ndarray:
    """A copy of a from-to map [H, W] whose slivers are set to unchanged.

    ``labels``: uint8, of ``from_to(before, after)``, perhaps cleaned already; ``before``, ``after``: uint8
    class indices [H, W]; ``tolerance``: pixels, 0 changes nothing. Memory: about 12 bytes a pixel. Raises
    ValueError for unequal shapes and a tolerance outside 0 to 32.
    """
    if not labels.shape == before.shape == after.shape or labels.ndim != 2:
        shapes = f"{labels.shape}, {before.shape}, {after.shape}"
        raise ValueError(f"labels, before, after have shapes {shapes}; expected one [H, W]")
    if not 0 <= tolerance <= HIGHEST:
        raise ValueError(f"tolerance: got {tolerance}; expected 0 to {HIGHEST} pixels")
    cleaned = labels.copy()
    if tolerance == 0 or labels.size == 0:
        return cleaned
    changed = (labels > UNCHANGED) & (labels < N_LABELS)
    first, second = FIRST[labels], SECOND[labels]
    shifted = _has(_classes_near(before, tolerance), second) & _has(_classes_near(after, tolerance), first)
    cleaned[changed & shifted & ~_thick(labels, tolerance + 1)] = UNCHANGED
    return cleaned


def _classes_near(classes: np.ndarray, distance: int) -> np.ndarray:
    """Which classes lie within a distance, as bits: uint16 [H, W], bit i set if class index i is there."""
    near = np.left_shift(np.uint16(1), classes.astype(np.uint16))
    for axis in (0, 1):
        along = np.moveaxis(near, axis, 0)  # views: writing to them writes to ``near``
        given = along.copy()
        for step in range(1, min(distance, len(along) - 1) + 1):
            along[step:] |= given[:-step]
            along[:-step] |= given[step:]
    return near


def _has(near: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Whether the bit of each pixel's class index is set."""
    return (near >> index.astype(np.uint16)) & np.uint16(1) > 0


def _thick(labels: np.ndarray, side: int) -> np.ndarray:
    """Pixels covered by a square of ``side`` pixels of one label; the map is continued beyond its edges."""
    margin = side - 1
    padded = np.pad(labels, margin, mode="edge")
    whole = np.ones(padded.shape, dtype=bool)  # the square that starts here, at its top left, has one label
    for axis in (0, 1):
        along, values = np.moveaxis(whole, axis, 0), np.moveaxis(padded, axis, 0)
        given = along.copy()
        for step in range(1, side):
            along[:-step] &= given[step:] & (values[step:] == values[:-step])
        along[-margin:] = False
    for axis in (0, 1):
        along = np.moveaxis(whole, axis, 0)
        given = along.copy()
        for step in range(1, side):
            along[step:] |= given[:-step]
    return whole[margin:-margin, margin:-margin]


# Minimum mapping unit: changes too small to be believed are taken back, with a size for each new class.
#
# What is measured is an area of connected pixels (8 neighbours) that changed to the same class, whatever
# each pixel was before: a building on what was half field, half bare ground is one building.

_EIGHT = np.ones((3, 3), dtype=np.uint8)


def drop_small(labels: np.ndarray, smallest: Mapping[str, int] | int) -> np.ndarray:
    """A copy of a from-to map [H, W] (uint8) whose areas of change under the minimum are set to unchanged.

    ``smallest``: pixels an area must have at least, one number for all classes or by the name of the new
    class (others have no minimum). Areas cut by the map's edge stay, since their size is not known, and so do
    unlabelled pixels (255). Memory: about 9 bytes a pixel. Raises ValueError for an unknown name, a size
    under 1 and a map that is not [H, W].
    """
    minimum = _by_index(smallest)
    cleaned = labels.copy()
    for index, area, sizes in _areas(labels):
        small = sizes < minimum[index]
        small[_cut(area)] = False
        cleaned[small[area]] = UNCHANGED
    return cleaned


def learn_units(maps: Iterable[np.ndarray], share: float = 0.01) -> dict[str, int]:
    """Minimum size (pixels) by new class: smaller areas hold at most ``share`` of its changed pixels.

    ``maps``: true from-to maps [H, W], of train patches. Areas cut by a patch's edge do not count. A class
    without a whole area gets 1 (no minimum). Raises ValueError for a share outside 0 to 1.
    """
    if not 0 <= share < 1:
        raise ValueError(f"share: got {share}; expected 0 to below 1")
    found: dict[int, list[np.ndarray]] = {index: [] for index in range(1, legend.N_INDEX)}
    for labels in maps:
        for index, area, sizes in _areas(labels):
            found[index].append(np.delete(sizes, _cut(area)))
    return {legend.NAMES[index]: _unit(np.concatenate([[], *sizes]), share) for index, sizes in found.items()}


def _unit(sizes: np.ndarray, share: float) -> int:
    """The greatest size such that smaller areas hold at most ``share`` of all pixels; 1 without areas."""
    if not sizes.size:
        return 1
    distinct, number = np.unique(sizes, return_counts=True)
    below = np.concatenate([[0], np.cumsum(distinct * number)[:-1]])  # pixels in areas smaller than each
    return int(distinct[below <= share * sizes.sum()].max())


def _areas(labels: np.ndarray) -> Iterable[tuple[int, np.ndarray, np.ndarray]]:
    """For each class changed to: its index, the number of each pixel's area [H, W] (0 = none), area sizes."""
    from scipy import ndimage

    if labels.ndim != 2:
        raise ValueError(f"labels have shape {labels.shape}; expected one map [H, W]")
    second = SECOND[labels]
    for index in np.unique(second[(labels > UNCHANGED) & (labels < N_LABELS)]).tolist():
        area, _ = ndimage.label(second == index, structure=_EIGHT)
        yield index, area, np.bincount(area.ravel())


def _cut(area: np.ndarray) -> np.ndarray:
    """Numbers of the areas that touch the map's edge, and 0, which is no area."""
    return np.unique(np.concatenate([[0], area[0], area[-1], area[:, 0], area[:, -1]]))


def _by_index(smallest: Mapping[str, int] | int) -> np.ndarray:
    """Minimum by class index: int [12]."""
    named = dict.fromkeys(legend.NAMES[1:], smallest) if isinstance(smallest, int) else dict(smallest)
    unknown = sorted(named.keys() - set(legend.NAMES[1:]))
    if unknown:
        raise ValueError(f"smallest: unknown classes {unknown}; known: {', '.join(legend.NAMES[1:])}")
    if named and min(named.values()) < 1:
        raise ValueError(f"smallest: got {min(named.values())}; expected at least 1 pixel")
    return np.array([named.get(name, 1) for name in legend.NAMES])
