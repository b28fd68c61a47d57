"""The from-to map of a whole scene, cleaned, a square at a time: the same as of the whole map at once.

Whether a pixel is a sliver depends on what lies within twice the tolerance of it. An area of fewer than n
pixels that touches a square lies wholly within n pixels of it, so its size is known from there; a larger one
that is cut off there still shows at least n. Hence a margin of twice the tolerance plus the greatest minimum
size is enough.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wusu_lib.change.maps import from_to
from wusu_lib.change.slivers import drop_slivers
from wusu_lib.change.units import drop_small
from wusu_lib.scenes.store import Store

SQUARE = 2048  # pixels a side
LARGEST_UNIT = 4096  # pixels; memory is about 20 bytes for each of (SQUARE + 2 x margin)^2 pixels


@dataclass(frozen=True)
class Cleaning:
    """What is taken back: slivers up to ``tolerance`` pixels, then areas under ``smallest`` pixels.

    ``smallest``: one number, or by the name of the new class (``change.drop_small``). The default takes
    nothing back. Raises ValueError as ``drop_slivers`` and ``drop_small`` do, and for a minimum above 4096.
    """

    tolerance: int = 0
    smallest: Mapping[str, int] | int = field(default_factory=dict)

    def __post_init__(self) -> None:
        nothing = np.zeros((1, 1), dtype=np.uint8)
        drop_slivers(nothing, nothing, nothing, self.tolerance)
        drop_small(nothing, self.smallest)
        if self.unit > LARGEST_UNIT:
            raise ValueError(f"smallest: got {self.unit}; expected at most {LARGEST_UNIT} pixels in a scene")

    @property
    def unit(self) -> int:
        """The greatest minimum size, in pixels."""
        return self.smallest if isinstance(self.smallest, int) else max(self.smallest.values(), default=1)

    def as_dict(self) -> dict[str, Any]:
        """For a record."""
        sizes = self.smallest if isinstance(self.smallest, int) else dict(self.smallest)
        return {"tolerance": self.tolerance, "smallest": sizes}


def squares(height: int, width: int) -> Iterator[tuple[int, int, int, int]]:
    """Top, left, height and width of the squares that cover a scene, row by row."""
    for top in range(0, height, SQUARE):
        for left in range(0, width, SQUARE):
            yield top, left, min(SQUARE, height - top), min(SQUARE, width - left)


def changes(store: Store, cleaning: Cleaning, top: int, left: int, height: int, width: int) -> np.ndarray:
    """The cleaned from-to labels of a part of a scene, uint8 [height, width]."""
    grid = store.job.grid
    near, far = cleaning.unit if cleaning.unit > 1 else 0, 2 * cleaning.tolerance

    def around(margin: int) -> tuple[int, int, int, int]:
        """The part with a margin, as far as the scene goes: top, left, bottom, right."""
        edges = (max(0, top - margin), max(0, left - margin))
        return *edges, min(grid.height, top + height + margin), min(grid.width, left + width + margin)

    outer, inner = around(near + far), around(near)
    size = (outer[2] - outer[0], outer[3] - outer[1])
    before, after = (store.read(date, outer[0], outer[1], *size) for date in (0, 1))
    labels = drop_slivers(from_to(before, after), before, after, cleaning.tolerance)
    labels = _cut(labels, outer, inner)
    if near:
        labels = drop_small(labels, cleaning.smallest)
    return _cut(labels, inner, (top, left, top + height, left + width))


def _cut(values: np.ndarray, has: tuple[int, int, int, int], wanted: tuple[int, int, int, int]) -> np.ndarray:
    """The part ``wanted`` of values that cover ``has``; both top, left, bottom, right."""
    return values[wanted[0] - has[0] : wanted[2] - has[0], wanted[1] - has[1] : wanted[3] - has[1]]
