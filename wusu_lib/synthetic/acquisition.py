"""When and how each image of the mini city was taken: sun, view, season, radiometry and registration.

Dates and sensor are WUSU's (GF-2, pan-sharpened to 1 m). The mean and standard deviation that a scene is
stretched to follow the study's train statistics pooled over the dates, with the drift between the dates
that one re-processing of WUSU reports (2015 brightest, 2018 darkest).
"""

from dataclasses import dataclass

import numpy as np

DATES: tuple[int, ...] = (15, 16, 18)
AREAS: tuple[str, ...] = ("HS", "JA")

# Bands B,G,R,NIR in 8-bit counts: 255 x the study's (0.23868, 0.23585, 0.23366, 0.27393).
_MEAN = np.array([60.9, 60.1, 59.6, 69.9])
# Within one date: the study's pooled standard deviation less the drift of the means.
_STD = np.array([32.0, 32.7, 34.4, 40.1])
_MEAN_DRIFT = {15: (1.24, 1.23, 1.18, 1.18), 16: (0.97, 0.93, 0.95, 0.97), 18: (0.79, 0.84, 0.87, 0.85)}
_STD_DRIFT = {15: 1.12, 16: 0.98, 18: 0.89}
_AREA_GAIN = {"HS": 1.02, "JA": 0.98}


@dataclass(frozen=True)
class Acquisition:
    """One image.

    Sun in degrees, ``leaf`` from 0 (bare) to 1 (full), ``lean`` in px a metre of height (y, x), ``shift``
    in px (y, x).
    """

    area: str
    date: int
    sun_elevation: float
    sun_azimuth: float
    leaf: float
    lean: tuple[float, float]
    shift: tuple[float, float]

    @property
    def index(self) -> int:
        """Position of the date in ``DATES``."""
        return DATES.index(self.date)

    @property
    def mean(self) -> np.ndarray:
        """Mean of the delivered scene, [4] in B,G,R,NIR, 8-bit counts."""
        return _MEAN * _MEAN_DRIFT[self.date] * _AREA_GAIN[self.area]

    @property
    def std(self) -> np.ndarray:
        """Standard deviation of the delivered scene, [4] in B,G,R,NIR, 8-bit counts."""
        return _STD * _STD_DRIFT[self.date]


ACQUISITIONS: dict[tuple[str, int], Acquisition] = {
    (a.area, a.date): a
    for a in (
        Acquisition("HS", 15, 63.0, 140.0, 0.95, (0.10, -0.12), (0.0, 0.0)),
        Acquisition("HS", 16, 60.0, 148.0, 1.00, (-0.08, 0.14), (0.35, -0.45)),
        Acquisition("HS", 18, 39.0, 163.0, 0.75, (0.12, 0.06), (-0.50, 0.30)),
        Acquisition("JA", 15, 63.0, 140.0, 0.95, (0.12, -0.08), (0.0, 0.0)),
        Acquisition("JA", 16, 37.0, 165.0, 0.25, (-0.10, -0.10), (-0.40, -0.35)),
        Acquisition("JA", 18, 39.0, 163.0, 0.75, (0.05, 0.14), (0.55, 0.20)),
    )
}
