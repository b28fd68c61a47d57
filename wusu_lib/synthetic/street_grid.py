"""The city's own coordinates: a street grid turned against the image and gently bent, and its river."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

# The city's own coordinates: a street grid turned against the image and gently bent, and its boxes.


@dataclass(frozen=True)
class Box:
    """Rectangle in grid coordinates, metres (= pixels): u0 <= u <= u1, v0 <= v <= v1."""

    u0: float
    u1: float
    v0: float
    v1: float

    @property
    def width(self) -> float:
        """Extent along u."""
        return self.u1 - self.u0

    @property
    def depth(self) -> float:
        """Extent along v."""
        return self.v1 - self.v0

    @property
    def centre(self) -> tuple[float, float]:
        """Centre (u, v)."""
        return (self.u0 + self.u1) / 2, (self.v0 + self.v1) / 2

    def shrunk(self, margin: float) -> "Box":
        """The box less ``margin`` on every side."""
        return Box(self.u0 + margin, self.u1 - margin, self.v0 + margin, self.v1 - margin)

    def split(self, parts: int, gap: float) -> list["Box"]:
        """``parts`` equal boxes along the longer side with ``gap`` metres between them."""
        along_u = self.width >= self.depth
        low, high = (self.u0, self.u1) if along_u else (self.v0, self.v1)
        size = (high - low - gap * (parts - 1)) / parts
        starts = [low + k * (size + gap) for k in range(parts)]
        if along_u:
            return [Box(s, s + size, self.v0, self.v1) for s in starts]
        return [Box(self.u0, self.u1, s, s + size) for s in starts]


@dataclass(frozen=True)
class Frame:
    """Maps pixels (y, x) to grid coordinates (u, v): a rotation by ``angle`` (radians) and a smooth bend."""

    angle: float
    bend: float  # amplitude in px
    wavelength: float
    phase: tuple[float, float]

    @cached_property
    def _turned(self) -> tuple[np.float64, np.float64]:
        """Cosine and sine of the angle."""
        return np.cos(self.angle), np.sin(self.angle)

    def uv(self, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Grid coordinates of pixels; y and x broadcast against each other."""
        cos, sin = self._turned
        k = 2 * np.pi / self.wavelength
        u = cos * x + sin * y + self.bend * np.sin(k * (y + 0.4 * x) + self.phase[0])
        v = -sin * x + cos * y + self.bend * np.sin(k * (x - 0.3 * y) + self.phase[1])
        return u, v

    def yx(self, u: np.ndarray | float, v: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (y, x) of grid coordinates, by fixed-point iteration (error far below a pixel)."""
        cos, sin = self._turned
        u, v = (np.asarray(each, dtype=float)[()] for each in (u, v))  # a number stays one: far less overhead
        y, x = sin * u + cos * v, cos * u - sin * v
        for _ in range(4):
            found = self.uv(y, x)
            du, dv = u - found[0], v - found[1]
            y, x = y + sin * du + cos * dv, x + cos * du - sin * dv
        return y, x

    def turn(self, dy: float, dx: float) -> tuple[float, float]:
        """A displacement in pixels (y, x) as one in grid coordinates (u, v), the bend left out."""
        cos, sin = self._turned
        return float(cos * dx + sin * dy), float(-sin * dx + cos * dy)


# The course of the river that crosses a scene.

BANK = 14.0  # metres of embankment and riverside green on either side


@dataclass(frozen=True)
class River:
    """A river that winds once through each half of the scene; y of its middle is a cosine of x."""

    middle: float
    swing: float
    half: float  # width of half the scene
    width: float

    def course(self, x: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """Its middle (y) at x, and the length of its curve there per metre of x."""
        k = np.pi / self.half
        wiggle = 0.06 * self.swing
        course = self.middle - self.swing * np.cos(k * x) + wiggle * np.sin(5 * k * x)
        slope = k * self.swing * np.sin(k * x) + 5 * k * wiggle * np.cos(5 * k * x)
        return course, np.sqrt(1 + slope**2)

    def clearance(self, y: np.ndarray | float, x: np.ndarray | float) -> np.ndarray:
        """Distance in m from the river's edge, negative in the water (first order in the curve's slope)."""
        course, length = self.course(x)
        return np.abs(y - course) / length - self.width / 2
