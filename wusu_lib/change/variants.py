"""The ways to make changes of two class maps: each variant is one more step than plain comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from wusu_lib.change.decoding import decode
from wusu_lib.change.maps import from_to
from wusu_lib.change.prior import Prior, learn_prior
from wusu_lib.change.slivers import drop_slivers
from wusu_lib.change.units import drop_small

# In words, in the order in which they are shown.
VARIANTS = {
    "argmax": "maps compared as they are",
    "slivers": "without slivers",
    "units": "without slivers and small areas",
    "map": "two dates decoded together",
    "joint": "all dates decoded together",
    "all": "all dates together, then cleaned",
}


@dataclass(frozen=True)
class Settings:
    """What the steps are told. ``tolerance``: width of a sliver in pixels; ``units``: smallest area in
    pixels by class; ``counts``: pixels by class at two dates of every interval of train; ``smoothing``: of
    the prior, in pixels.
    """

    tolerance: int
    units: Mapping[str, int]
    counts: Mapping[tuple[int, int], np.ndarray]
    smoothing: float

    def prior(self, dates: Sequence[int]) -> Prior:
        """The prior of successive dates; an interval that train lacks has the sum over train's."""
        everywhere = np.sum(list(self.counts.values()), axis=0)
        return learn_prior([self.counts.get(step, everywhere) for step in pairwise(dates)], self.smoothing)


def class_maps(stack: np.ndarray) -> np.ndarray:
    """Class index of each date by itself: float [T, 12, H, W] -> uint8 [T, H, W]."""
    return stack.argmax(axis=1).astype(np.uint8)


def joint_maps(stack: np.ndarray, dates: Sequence[int], settings: Settings) -> np.ndarray:
    """Class index of all dates decoded together: float [T, 12, H, W] -> uint8 [T, H, W], 1 to 11."""
    return decode(stack[:, 1:], settings.prior(dates))


def clean(labels: np.ndarray, maps: np.ndarray, settings: Settings) -> np.ndarray:
    """A from-to map [H, W] without slivers and small areas; ``maps``: the two class maps [2, H, W]."""
    return drop_small(drop_slivers(labels, maps[0], maps[1], settings.tolerance), settings.units)


def pair_labels(
    stack: np.ndarray, dates: Sequence[int], at: int, settings: Settings, joint: np.ndarray
) -> dict[str, np.ndarray]:
    """From-to map (uint8 [H, W]) of the interval from date ``at`` to the next, by every variant.

    stack: float [T, 12, H, W] of the successive ``dates`` of a site; joint: ``joint_maps`` of them.
    """
    two = slice(at, at + 2)
    single, together = class_maps(stack[two]), joint[two]
    compared = from_to(*single)
    without_slivers = drop_slivers(compared, single[0], single[1], settings.tolerance)
    return {
        "argmax": compared,
        "slivers": without_slivers,
        "units": drop_small(without_slivers, settings.units),
        "map": from_to(*joint_maps(stack[two], dates[two], settings)),
        "joint": from_to(*together),
        "all": clean(from_to(*together), together, settings),
    }
