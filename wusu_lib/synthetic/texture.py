"""Seamless texture tiles that the whole scene shares: noise at three scales and tree crowns."""

from dataclasses import dataclass

import numpy as np

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
    for _ in range(SIZE * SIZE // 26):
        y, x, value = rng.integers(SIZE), rng.integers(SIZE), rng.random()
        stamp = rng.uniform(0.7, 1.0) * (1 - square / rng.uniform(2.0, 5.0) ** 2)
        where = np.ix_((y + offset) % SIZE, (x + offset) % SIZE)
        higher = stamp > crown[where]
        crown[where] = np.where(higher, stamp, crown[where])
        tree[where] = np.where(higher, value, tree[where])
    return crown, tree


def make(rng: np.random.Generator) -> Textures:
    """The tiles, drawn from ``rng``."""
    crown, tree = _crowns(rng)
    south_east = np.roll(crown, (-1, -1), axis=(0, 1))
    return Textures(_noise(rng, 0.8), _noise(rng, 4.0), _noise(rng, 18.0), crown, tree, crown - south_east)


def cut(tile: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
    """The tile repeated over a window of the scene, [rows, columns]."""
    ys = np.arange(rows.start, rows.stop) % SIZE
    xs = np.arange(columns.start, columns.stop) % SIZE
    return tile[np.ix_(ys, xs)]
