"""Minimum mapping unit: changes too small to be believed are taken back, with a size for each new class.

What is measured is an area of connected pixels (8 neighbours) that changed to the same class, whatever each
pixel was before: a building on what was half field, half bare ground is one building.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from wusu_lib import legend
from wusu_lib.change.transitions import N_LABELS, SECOND, UNCHANGED

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
