"""From the ground to the delivered image: cast shadows, grain, blur, pan-sharpening, misregistration,
stretch and noise.

Works through the scene in strips of rows, so that memory beyond the canvas and the result stays bounded.
"""

from collections.abc import Iterator

import numpy as np

from wusu_lib.synthetic import materials
from wusu_lib.synthetic.acquisition import Acquisition
from wusu_lib.synthetic.canvas import Canvas
from wusu_lib.synthetic.materials import Textures

STRIP = 512  # rows
HALO = 128  # rows on either side that a strip needs: the longest shadow
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
    for rows, strip in strips(canvas, acquisition, textures):
        light[:, rows] = strip
        total += strip.sum(axis=(1, 2), dtype=np.float64)
        squares += np.square(strip, dtype=np.float64).sum(axis=(1, 2))
    mean = total / canvas.codes.size
    std = np.sqrt(squares / canvas.codes.size - mean**2)
    return _deliver(light, mean, std, acquisition, rng)


def strips(
    canvas: Canvas, acquisition: Acquisition, textures: Textures
) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows of the scene and the light that reaches the sensor: [4, rows, W] float32, relative reflectance."""
    height = canvas.codes.shape[0]
    for top in range(0, height, STRIP):
        bottom = min(top + STRIP, height)
        yield slice(top, bottom), _expose(canvas, acquisition, textures, top, bottom)


def _deliver(
    light: np.ndarray, mean: np.ndarray, std: np.ndarray, acquisition: Acquisition, rng: np.random.Generator
) -> np.ndarray:
    """Gain and haze of the date (a linear stretch [4] to its mean and deviation), noise, 8 bits."""
    gain = (acquisition.std / std).astype(np.float32)[:, None, None]
    haze = (acquisition.mean - mean * acquisition.std / std).astype(np.float32)[:, None, None]
    image = np.empty(light.shape, dtype=np.uint8)
    for top in range(0, light.shape[1], STRIP):
        counts = light[:, top : top + STRIP].astype(np.float32) * gain + haze
        counts += rng.standard_normal(counts.shape, dtype=np.float32) * NOISE[:, None, None]
        image[:, top : top + STRIP] = np.clip(np.rint(counts), 0, 255)
    return image


def _expose(
    canvas: Canvas, acquisition: Acquisition, textures: Textures, top: int, bottom: int
) -> np.ndarray:
    """Light that reaches the sensor's grid from rows top to bottom: float32 [4, bottom - top, W]."""
    first = max(top - HALO, 0)
    last = min(bottom + 2 * HALO, canvas.codes.shape[0])
    rows, columns = slice(first, last), slice(0, canvas.codes.shape[1])
    ground = canvas.bands[:, rows].astype(np.float32)
    grain = 0.75 * materials.cut_texture(textures.fine, rows, columns) + 0.45 * materials.cut_texture(
        textures.patchy, rows, columns
    )
    ground *= 1 + canvas.rough[rows].astype(np.float32) / 100 * grain
    shadow = shadows(canvas.height[rows], acquisition)
    ground *= np.where(shadow, SKYLIGHT[:, None, None], np.float32(1))
    stop = min(bottom + HALO, last)
    sharp = pan_sharpen(blur(ground[:, : stop - first], acquisition.shift))
    return sharp[:, top - first : bottom - first]


def shadows(height: np.ndarray, acquisition: Acquisition) -> np.ndarray:
    """Mask [H, W] of the pixels whose view of the sun something blocks; ``height`` uint8 [H, W] in m, 1 m a
    pixel.

    Marches from each pixel towards the sun; steps of 2 px beyond 16 px, where only wide objects are tall
    enough.
    """
    azimuth, rise = np.radians(acquisition.sun_azimuth), np.tan(np.radians(acquisition.sun_elevation))
    south, east = -np.cos(azimuth), np.sin(azimuth)
    reach = int(min(height.max() / rise, HALO - 8)) + 1
    padded = np.pad(height.astype(np.int16), ((0, reach + 1), (reach + 1, reach + 1)))
    rows, columns = height.shape
    own = height.astype(np.int16)
    dark = np.zeros(height.shape, dtype=bool)
    for step in [*range(1, min(16, reach) + 1), *range(18, reach + 1, 2)]:
        dy, dx = round(step * south), reach + 1 + round(step * east)
        dark |= padded[dy : dy + rows, dx : dx + columns] > own + int(step * rise)
    return dark


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
    pan = sharp.mean(axis=0, keepdims=True)
    coarse = _coarse(np.concatenate([sharp, pan]))
    return coarse[:4] * (pan / np.maximum(coarse[4:], 1e-3))


def _coarse(bands: np.ndarray) -> np.ndarray:
    """Bands [C,H,W] averaged over 4 x 4 px and interpolated back."""
    from scipy.ndimage import uniform_filter

    channels, height, width = bands.shape
    padded = np.pad(bands, ((0, 0), (0, -height % RATIO), (0, -width % RATIO)), mode="edge")
    blocks = padded.reshape(channels, padded.shape[1] // RATIO, RATIO, padded.shape[2] // RATIO, RATIO)
    low = blocks.mean(axis=(2, 4))
    back = np.repeat(np.repeat(low, RATIO, axis=1), RATIO, axis=2)
    return uniform_filter(back, size=(1, RATIO + 1, RATIO + 1), mode="nearest")[:, :height, :width]
