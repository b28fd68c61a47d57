"""Where windows lie on a scene, and how much each of them counts where they overlap.

Along each axis the windows start every ``window - overlap`` pixels; the last one is shifted back to end with
the scene. A window counts fully in its middle, not at all in the outermost ``margin`` pixels (where a model
sees least around it), and linearly more in between. At the scene's own edges it counts fully. The weights of
all windows over a pixel are divided by their sum, so the result has no step where a window begins or ends,
and the weight of a pixel is the product of those of its row and its column.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

WIDEST_PANEL = (
    8192  # pixels: what is held in memory is a window high and about so wide, however wide the scene
)


@dataclass(frozen=True)
class Tiling:
    """Side of a window, overlap of neighbours and margin without weight, in pixels.

    Raises ValueError unless 0 <= 2 margin < overlap <= window / 2, or overlap and margin are both 0.
    """

    window: int
    overlap: int
    margin: int

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"window: got {self.window}; expected at least 1 px")
        none = self.overlap == self.margin == 0
        if not none and not 0 <= 2 * self.margin < self.overlap <= self.window // 2:
            raise ValueError(
                f"overlap {self.overlap} px and margin {self.margin} px do not fit windows of {self.window} "
                f"px; expected 2 x margin < overlap <= {self.window // 2}, or both 0"
            )

    @classmethod
    def usual(cls, window: int) -> "Tiling":
        """A quarter of the window as overlap and a sixteenth as margin."""
        return cls(window, window // 4, window // 16)

    def along(self, length: int) -> "Axis":
        """The windows along an axis of ``length`` pixels."""
        stride = self.window - self.overlap
        last = max(0, length - self.window)
        return Axis(self, length, tuple(min(i * stride, last) for i in range(-(-last // stride) + 1)))


@dataclass(frozen=True)
class Axis:
    """The windows along one axis: their first pixels, ascending. Shorter than a window, it has one at 0."""

    tiling: Tiling
    length: int
    starts: tuple[int, ...]

    @cached_property
    def weights(self) -> np.ndarray:
        """Weight of each window's pixels, float32 [windows, window]; at each pixel they add to 1."""
        side = self.tiling.window
        raw = np.stack([self._raw(start) for start in self.starts])  # [windows, window]
        total = np.zeros(max(self.length, side))
        for start, weight in zip(self.starts, raw, strict=True):
            total[start : start + side] += weight
        shares = [
            weight / total[start : start + side] for start, weight in zip(self.starts, raw, strict=True)
        ]
        return np.stack(shares).astype(np.float32)

    def _raw(self, start: int) -> np.ndarray:
        """Weight before division: 1, falling linearly to 0 at the ends that lie inside the scene."""
        side, margin = self.tiling.window, self.tiling.margin
        ramp = self.tiling.overlap - 2 * margin
        weight = np.ones(side)
        if ramp:
            rising = np.clip((np.arange(side) + 0.5 - margin) / ramp, 0, 1)
            weight *= rising if start > 0 else 1
            weight *= rising[::-1] if start + side < self.length else 1
        return weight

    def finished(self, number: int) -> tuple[int, int]:
        """Pixels [start, stop) that are complete with window ``number`` and were not before."""
        after = self.starts[number + 1] if number + 1 < len(self.starts) else self.length
        return self.starts[number], after

    def reaching(self, number: int) -> int:
        """The first window that reaches into the pixels that window ``number`` finishes."""
        return next(i for i, s in enumerate(self.starts) if s + self.tiling.window > self.starts[number])

    def panels(self, widest: int = WIDEST_PANEL) -> list[tuple[int, int]]:
        """Runs of windows [first, stop) that together are at most about ``widest`` pixels wide."""
        stride = self.tiling.window - self.tiling.overlap
        many = max(1, widest // stride)
        return [(i, min(i + many, len(self.starts))) for i in range(0, len(self.starts), many)]
