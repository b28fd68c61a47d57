"""Surface spectra of the mini city: relative reflectance in B,G,R,NIR, overlapping between classes."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Material:
    """A surface.

    Reflectance in B,G,R,NIR; spread of brightness and of hue between objects (log scale); roughness within
    one.
    """

    bands: tuple[float, float, float, float]
    spread: float
    hue: float
    rough: float


MATERIALS: dict[str, Material] = {
    "asphalt": Material((0.200, 0.200, 0.200, 0.215), 0.20, 0.03, 0.06),
    "concrete": Material((0.285, 0.285, 0.285, 0.305), 0.16, 0.03, 0.06),
    "paving": Material((0.265, 0.265, 0.268, 0.285), 0.25, 0.05, 0.10),
    "court": Material((0.180, 0.215, 0.225, 0.260), 0.30, 0.20, 0.05),
    "track": Material((0.190, 0.200, 0.300, 0.330), 0.15, 0.15, 0.04),
    "film": Material((0.330, 0.335, 0.330, 0.380), 0.20, 0.05, 0.10),
    "yard": Material((0.225, 0.225, 0.228, 0.255), 0.25, 0.06, 0.16),
    "roof grey": Material((0.235, 0.235, 0.235, 0.255), 0.30, 0.05, 0.09),
    "roof dark": Material((0.140, 0.140, 0.140, 0.155), 0.25, 0.05, 0.09),
    "roof light": Material((0.420, 0.425, 0.425, 0.450), 0.20, 0.03, 0.08),
    "roof blue": Material((0.310, 0.235, 0.180, 0.290), 0.20, 0.06, 0.06),
    "roof red": Material((0.140, 0.175, 0.320, 0.360), 0.22, 0.08, 0.08),
    "roof orange": Material((0.200, 0.270, 0.390, 0.430), 0.18, 0.06, 0.08),
    "facade": Material((0.170, 0.170, 0.175, 0.190), 0.30, 0.06, 0.20),
    "soil": Material((0.205, 0.230, 0.265, 0.330), 0.20, 0.06, 0.12),
    "rubble": Material((0.290, 0.295, 0.305, 0.345), 0.22, 0.06, 0.22),
    "clay": Material((0.235, 0.265, 0.315, 0.375), 0.20, 0.07, 0.20),
    "bare": Material((0.250, 0.272, 0.300, 0.360), 0.22, 0.07, 0.10),
    "crop": Material((0.120, 0.158, 0.140, 0.400), 0.18, 0.07, 0.07),
    "grass": Material((0.130, 0.168, 0.150, 0.390), 0.18, 0.06, 0.08),
    "tree": Material((0.105, 0.135, 0.112, 0.400), 0.14, 0.05, 0.10),
    "twigs": Material((0.145, 0.150, 0.160, 0.255), 0.12, 0.04, 0.10),
    "water": Material((0.150, 0.165, 0.145, 0.085), 0.14, 0.09, 0.03),
    "white": Material((0.620, 0.620, 0.620, 0.640), 0.12, 0.02, 0.02),
    "black": Material((0.070, 0.070, 0.070, 0.075), 0.15, 0.03, 0.02),
}


def sample(name: str, rng: np.random.Generator) -> np.ndarray:
    """Spectrum of one object of the named material: float32 [4] in B,G,R,NIR, relative reflectance.

    Always draws five numbers, so that what is drawn after it does not depend on the material.
    """
    material = MATERIALS[name]
    deviation = material.spread * rng.standard_normal() + material.hue * rng.standard_normal(4)
    return (np.array(material.bands) * np.exp(deviation)).astype(np.float32)


def plants(spectrum: np.ndarray, leaf: float) -> np.ndarray:
    """Spectrum [4] of plants with the share ``leaf`` of their foliage: less leaf, less NIR and more red."""
    missing = 1.0 - leaf
    return spectrum * np.array(
        [1 + 0.12 * missing, 1.0, 1 + 0.35 * missing, 1 - 0.28 * missing], dtype=np.float32
    )
