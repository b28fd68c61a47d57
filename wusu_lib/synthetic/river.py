"""The course of the river that crosses a scene."""

from dataclasses import dataclass

import numpy as np

BANK = 14.0  # metres of embankment and riverside green on either side


@dataclass(frozen=True)
class River:
    """A river that winds once through each half of the scene; y of its middle is a cosine of x."""

    middle: float
    swing: float
    half: float  # width of half the scene
    width: float

    def clearance(self, y: np.ndarray | float, x: np.ndarray | float) -> np.ndarray:
        """Distance in m from the river's edge, negative in the water (first order in the curve's slope)."""
        k = np.pi / self.half
        wiggle = 0.06 * self.swing
        course = self.middle - self.swing * np.cos(k * x) + wiggle * np.sin(5 * k * x)
        slope = k * self.swing * np.sin(k * x) + 5 * k * wiggle * np.cos(5 * k * x)
        return np.abs(y - course) / np.sqrt(1 + slope**2) - self.width / 2
