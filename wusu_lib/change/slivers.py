"""Slivers: thin false changes along boundaries, where two maps of the same ground do not lie exactly alike.

With a tolerance of t pixels, a changed pixel from class a to class b is a sliver if

1. it lies in no square of t + 1 pixels of the same transition (it is thin), and
2. class b is within t pixels of it on the map of the first date and class a on that of the second (a shift
   could explain it). Distances are along rows and columns: a square window of 2 t + 1 pixels.

Two properties follow, and are tested. Everything that differs only because one map is shifted by up to t
pixels in each direction is taken back: a square of t + 1 pixels of a shifted by at most t still overlaps
itself, so it cannot be all of class b. And an area of change that squares of t + 1 pixels cover stays
untouched, whatever surrounds it. At the edge of the map, where a neighbour cannot be seen, change is kept.
"""

import numpy as np

from wusu_lib.change.transitions import FIRST, N_LABELS, SECOND, UNCHANGED

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
