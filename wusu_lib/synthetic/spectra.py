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
    "asphalt": Material((0.200, 0.200, 0.200, 0.215), 0.20, 0.018, 0.06),
    "concrete": Material((0.285, 0.285, 0.285, 0.305), 0.16, 0.018, 0.06),
    "paving": Material((0.265, 0.265, 0.268, 0.285), 0.25, 0.03, 0.10),
    "court": Material((0.180, 0.215, 0.225, 0.260), 0.30, 0.12, 0.05),
    "track": Material((0.200, 0.205, 0.265, 0.300), 0.18, 0.12, 0.04),
    "film": Material((0.330, 0.335, 0.330, 0.380), 0.20, 0.03, 0.10),
    "yard": Material((0.225, 0.225, 0.228, 0.255), 0.25, 0.036, 0.16),
    "roof grey": Material((0.235, 0.235, 0.235, 0.255), 0.30, 0.03, 0.09),
    "roof dark": Material((0.140, 0.140, 0.140, 0.155), 0.25, 0.03, 0.09),
    "roof light": Material((0.420, 0.425, 0.425, 0.450), 0.20, 0.018, 0.08),
    "roof blue": Material((0.290, 0.235, 0.190, 0.280), 0.20, 0.036, 0.06),
    "roof red": Material((0.150, 0.180, 0.300, 0.335), 0.22, 0.048, 0.08),
    "roof orange": Material((0.205, 0.255, 0.345, 0.385), 0.18, 0.036, 0.08),
    "facade": Material((0.170, 0.170, 0.175, 0.190), 0.30, 0.036, 0.20),
    "soil": Material((0.208, 0.228, 0.248, 0.310), 0.20, 0.03, 0.12),
    "rubble": Material((0.290, 0.295, 0.305, 0.345), 0.22, 0.036, 0.22),
    "clay": Material((0.250, 0.270, 0.294, 0.345), 0.22, 0.03, 0.20),
    "bare": Material((0.252, 0.270, 0.288, 0.345), 0.22, 0.03, 0.10),
    "crop": Material((0.125, 0.154, 0.142, 0.385), 0.18, 0.042, 0.07),
    "grass": Material((0.132, 0.160, 0.146, 0.385), 0.18, 0.036, 0.08),
    "tree": Material((0.108, 0.128, 0.108, 0.390), 0.14, 0.03, 0.10),
    "twigs": Material((0.145, 0.150, 0.160, 0.255), 0.12, 0.024, 0.10),
    "water": Material((0.150, 0.160, 0.142, 0.085), 0.16, 0.042, 0.03),
    "white": Material((0.620, 0.620, 0.620, 0.640), 0.12, 0.012, 0.02),
    "black": Material((0.070, 0.070, 0.070, 0.075), 0.15, 0.018, 0.02),
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
