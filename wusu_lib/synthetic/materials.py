"""What surfaces look like: relative reflectance in B,G,R,NIR, and seamless texture tiles."""

from bisect import bisect_right
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

# Surface spectra of the mini city: relative reflectance in B,G,R,NIR, overlapping between classes.


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


def pick(names: tuple[str, ...], shares: tuple[float, ...], rng: np.random.Generator) -> str:
    """One of the names, as ``rng.choice`` with these shares would draw it, but far faster."""
    return names[bisect_right(_cumulated(shares), rng.random())]


@cache
def _cumulated(shares: tuple[float, ...]) -> list[float]:
    total = np.cumsum(shares)
    return (total / total[-1]).tolist()


def sample_spectra(name: str, rng: np.random.Generator) -> np.ndarray:
    """Spectrum of one object of the named material: float32 [4] in B,G,R,NIR, relative reflectance.

    Always draws five numbers, so that what is drawn after it does not depend on the material.
    """
    material = MATERIALS[name]
    drawn = rng.standard_normal(5)
    deviation = material.spread * drawn[0] + material.hue * drawn[1:]
    return (np.array(material.bands) * np.exp(deviation)).astype(np.float32)


def plants(spectrum: np.ndarray, leaf: float) -> np.ndarray:
    """Spectrum [4] of plants with the share ``leaf`` of their foliage: less leaf, less NIR and more red."""
    missing = 1.0 - leaf
    return spectrum * np.array(
        [1 + 0.12 * missing, 1.0, 1 + 0.35 * missing, 1 - 0.28 * missing], dtype=np.float32
    )


# Seamless texture tiles that the whole scene shares: noise at three scales and tree crowns.

SIZE = 512


@dataclass(frozen=True)
class Textures:
    """Tiles [SIZE, SIZE] float32 that wrap around.

    ``fine``, ``patchy`` and ``cloudy`` are noise of zero mean and unit variance at about 1, 5 and 20 px;
    ``crown`` is the height of the canopy (0 between crowns to 1), ``tree`` a value in 0 to 1 that is
    constant within a crown, ``lit`` the slope of the crown towards the south-east, where the sun stands.
    """

    fine: np.ndarray
    patchy: np.ndarray
    cloudy: np.ndarray
    crown: np.ndarray
    tree: np.ndarray
    lit: np.ndarray

    @cached_property
    def thresholds(self) -> dict[tuple[slice, slice, float], float]:
        """What was worked out for a window and a share: the same lots ask at every date."""
        return {}


def _noise(rng: np.random.Generator, scale: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(rng.standard_normal((SIZE, SIZE)), scale, mode="wrap")
    return (noise / noise.std()).astype(np.float32)


def _crowns(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Canopy height and crown value of overlapping paraboloids with radii of 2 to 5 px."""
    crown = np.zeros((SIZE, SIZE), dtype=np.float32)
    tree = np.ones((SIZE, SIZE), dtype=np.float32)
    offset = np.arange(-5, 6)
    square = (offset[:, None] ** 2 + offset[None, :] ** 2).astype(np.float32)
    around = (np.arange(SIZE)[:, None] + offset) % SIZE  # of each place, along either axis
    for _ in range(SIZE * SIZE // 26):
        y, x, value = rng.integers(SIZE), rng.integers(SIZE), rng.random()
        stamp = rng.uniform(0.7, 1.0) * (1 - square / rng.uniform(2.0, 5.0) ** 2)
        where = around[y, :, None], around[x]
        before = crown[where]
        higher = stamp > before
        crown[where] = np.maximum(stamp, before)
        tree[where] = np.where(higher, value, tree[where])
    return crown, tree


def make_textures(rng: np.random.Generator) -> Textures:
    """The tiles, drawn from ``rng``."""
    crown, tree = _crowns(rng)
    south_east = np.roll(crown, (-1, -1), axis=(0, 1))
    return Textures(_noise(rng, 0.8), _noise(rng, 4.0), _noise(rng, 18.0), crown, tree, crown - south_east)


def cut_texture(tile: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
    """The tile repeated over a window of the scene, [rows, columns]."""
    return _wrapped(_wrapped(tile, rows, 0), columns, 1)


def _wrapped(tile: np.ndarray, span: slice, axis: int) -> np.ndarray:
    """The tile repeated along one axis; no copy where it need not be repeated."""
    start, length = span.start % SIZE, span.stop - span.start
    if start + length <= SIZE:
        inside = slice(start, start + length)
        return tile[inside] if axis == 0 else tile[:, inside]
    return tile.take(np.arange(start, start + length) % SIZE, axis=axis)
