"""From the ground to the delivered image: cast shadows, grain, blur, pan-sharpening, misregistration,
stretch and noise.

Works through the scene tile by tile: a tile stays in the processor's cache, and memory beyond the canvas
and the result stays bounded.
"""

from collections.abc import Iterable, Iterator
from itertools import product

import numpy as np

from wusu_lib.synthetic import materials
from wusu_lib.synthetic.acquisition import Acquisition
from wusu_lib.synthetic.canvas import Canvas
from wusu_lib.synthetic.materials import Textures

TILE = (128, 512)  # rows, columns; multiples of RATIO
EDGE = 8  # pixels about a tile that blur and pan-sharpening look at; a multiple of RATIO
STRIP = 512  # rows that noise is drawn for at a time, band after band
FEW = 16  # rows delivered at a time: they stay in the cache as well
LONGEST = 120  # px, the longest shadow
SKYLIGHT = np.array([0.46, 0.40, 0.36, 0.30], dtype=np.float32)  # of full light, left in a shadow; bluish
RATIO = 4  # the multispectral bands are 4 m, the panchromatic one 1 m
PSF = 0.75  # standard deviation in px
NOISE = np.array([1.3, 1.2, 1.3, 1.5], dtype=np.float32)  # standard deviation in counts


def sense(
    canvas: Canvas, acquisition: Acquisition, textures: Textures, rng: np.random.Generator
) -> np.ndarray:
    """The image of a canvas: uint8 [4,H,W] in B,G,R,NIR."""
    light = np.empty_like(canvas.bands)
    total, squares = np.zeros(4), np.zeros(4)
    for rows, columns, tile in tiles(canvas, acquisition, textures):
        light[:, rows, columns] = tile
        exact = tile.astype(np.float64)
        total += exact.sum(axis=(1, 2))
        squares += np.square(exact, out=exact).sum(axis=(1, 2))
    mean = total / canvas.codes.size
    std = np.sqrt(squares / canvas.codes.size - mean**2)
    return _deliver(light, mean, std, acquisition, rng)


def tiles(
    canvas: Canvas, acquisition: Acquisition, textures: Textures
) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Rows and columns of the scene and the light that reaches the sensor there.

    The light is float32 [4, rows, columns], relative reflectance.
    """
    shadow = shadows(canvas.height, acquisition)
    grain = 0.75 * textures.fine + 0.45 * textures.patchy
    for rows, columns in _tiling(canvas.codes.shape):
        yield rows, columns, _expose(canvas, shadow, grain, acquisition.shift, rows, columns)


def _tiling(shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    spans = (
        [slice(start, min(start + side, extent)) for start in range(0, extent, side)]
        for extent, side in zip(shape, TILE, strict=True)
    )
    return product(*spans)


def _deliver(
    light: np.ndarray, mean: np.ndarray, std: np.ndarray, acquisition: Acquisition, rng: np.random.Generator
) -> np.ndarray:
    """Gain and haze of the date (a linear stretch [4] to its mean and deviation), noise, 8 bits."""
    gain = (acquisition.std / std).astype(np.float32)
    haze = (acquisition.mean - mean * acquisition.std / std).astype(np.float32)
    image = np.empty(light.shape, dtype=np.uint8)
    height = light.shape[1]
    for top, band in product(range(0, height, STRIP), range(4)):
        bottom = min(top + STRIP, height)
        for first in range(top, bottom, FEW):
            rows = slice(first, min(first + FEW, bottom))
            counts = light[band, rows].astype(np.float32)
            counts *= gain[band]
            counts += haze[band]
            noise = rng.standard_normal(counts.shape, dtype=np.float32)
            noise *= NOISE[band]
            counts += noise
            image[band, rows] = np.clip(np.rint(counts, out=counts), 0, 255, out=counts)
    return image


def _expose(
    canvas: Canvas,
    shadow: np.ndarray,
    grain: np.ndarray,
    shift: tuple[float, float],
    rows: slice,
    columns: slice,
) -> np.ndarray:
    """Light that reaches the sensor's grid in a tile: float32 [4, rows, columns]."""
    ys, xs = (
        slice(max(span.start - EDGE, 0), min(span.stop + EDGE, extent))
        for span, extent in zip((rows, columns), canvas.codes.shape, strict=True)
    )
    ground = canvas.bands[:, ys, xs].astype(np.float32)
    texture = canvas.rough[ys, xs].astype(np.float32)
    texture /= 100
    texture *= materials.cut_texture(grain, ys, xs)
    texture += 1
    ground *= texture
    lit = (~shadow[ys, xs]).astype(np.float32)
    for band, left in zip(ground, SKYLIGHT, strict=True):
        band *= np.maximum(lit, left, out=texture)
    sharp = pan_sharpen(blur(ground, shift))
    return sharp[
        :, rows.start - ys.start : rows.stop - ys.start, columns.start - xs.start : columns.stop - xs.start
    ]


def shadows(height: np.ndarray, acquisition: Acquisition) -> np.ndarray:
    """Mask [H, W] of the pixels whose view of the sun something blocks; ``height`` uint8 [H, W] in m, 1 m a
    pixel.

    Marches from each pixel towards the sun; steps of 2 px beyond 16 px, where only wide objects are tall
    enough.
    """
    azimuth, rise = np.radians(acquisition.sun_azimuth), np.tan(np.radians(acquisition.sun_elevation))
    south, east = -np.cos(azimuth), np.sin(azimuth)
    steps = [
        (round(step * south), round(step * east), int(step * rise))
        for step in [*range(1, 17), *range(18, LONGEST + 1, 2)]
    ]
    padded = np.pad(height, ((0, LONGEST), (LONGEST, LONGEST)))
    dark = np.zeros(height.shape, dtype=bool)
    for rows, columns in _tiling(height.shape):
        about = padded[rows.start : rows.stop + LONGEST, columns.start : columns.stop + 2 * LONGEST]
        dark[rows, columns] = _cast(about, steps) > height[rows, columns]
    return dark


def _cast(about: np.ndarray, steps: list[tuple[int, int, int]]) -> np.ndarray:
    """How high the shadow reaches in a tile, m; ``about`` is the height there, below it and on both sides."""
    rows, columns = about.shape[0] - LONGEST, about.shape[1] - 2 * LONGEST
    reached = np.zeros((rows, columns), dtype=np.uint8)
    lowered = np.empty_like(reached)
    tallest = about.max()
    for dy, dx, rise in steps:
        if rise >= tallest:
            break
        left = LONGEST + dx
        np.maximum(about[dy : dy + rows, left : left + columns], rise, out=lowered)
        lowered -= np.uint8(rise)
        np.maximum(reached, lowered, out=reached)
    return reached


def blur(ground: np.ndarray, shift: tuple[float, float]) -> np.ndarray:
    """Point spread of the telescope, centred ``shift`` px (y, x) off: the misregistration of the date."""
    from scipy.ndimage import correlate1d

    offsets = np.arange(-3, 4)
    for axis, move in zip((1, 2), shift, strict=True):
        kernel = np.exp(-((offsets - move) ** 2) / (2 * PSF**2))
        ground = correlate1d(ground, kernel / kernel.sum(), axis=axis, mode="nearest")
    return ground


def pan_sharpen(sharp: np.ndarray) -> np.ndarray:
    """Bands [4,H,W] sampled at 4 m and sharpened by ratio (Brovey) with their mean at 1 m, a panchromatic
    band."""
    pan = sharp.mean(axis=0)
    detail = pan / np.maximum(_coarse(pan), 1e-3)
    return np.stack([_coarse(band) * detail for band in sharp])


def _coarse(band: np.ndarray) -> np.ndarray:
    """A band [H,W] averaged over 4 x 4 px and interpolated back, by the mean of 5 x 5 px."""
    height, width = band.shape
    padded = np.pad(band, ((0, -height % RATIO), (0, -width % RATIO)), mode="edge")
    low = _sum_of_four(padded[:, k::RATIO] for k in range(RATIO))
    low = _sum_of_four(low[k::RATIO] for k in range(RATIO)) / RATIO**2
    return _spread(_spread(low).T).T[:height, :width]


def _sum_of_four(parts: Iterable[np.ndarray]) -> np.ndarray:
    first, *others = parts
    total = first + others[0]
    for other in others[1:]:
        total += other
    return total


def _spread(low: np.ndarray) -> np.ndarray:
    """Each row [H,W] four times over, every one the mean of the five rows about it: float32 [4H,W]."""
    exact = low.astype(np.float64)
    before, after = np.concatenate([exact[:1], exact[:-1]]), np.concatenate([exact[1:], exact[-1:]])
    spread = np.empty((RATIO * low.shape[0], low.shape[1]), dtype=np.float32)
    most = 4 * exact
    spread[0::RATIO] = (2 * before + 3 * exact) / 5
    spread[1::RATIO] = (before + most) / 5
    spread[2::RATIO] = (most + after) / 5
    spread[3::RATIO] = (3 * exact + 2 * after) / 5
    return spread
