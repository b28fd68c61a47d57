"""The two dates of a scene as small pictures in natural colour, brightened alike."""

import base64
import warnings
from collections.abc import Iterator

import numpy as np

from wusu_lib.figures.imagery import rgb, stretch
from wusu_lib.scenes.rasters import Layer, Reader

SIDE = 2000  # pixels of the longer side at most
QUALITY = 82  # of the JPEG
STRIP = 256  # rows of the scene held at a time, about
NO_DATA = 200  # grey of pixels without data


def reduction(height: int, width: int) -> int:
    """How many pixels of the scene, a side, become one of a picture."""
    return -(-max(height, width) // SIDE)


def pictures(layers: tuple[Layer, Layer]) -> list[np.ndarray]:
    """Both dates as RGB uint8 [h, w, 3], every ``reduction`` pixels averaged to one, with one stretch."""
    small = [reduced(layer) for layer in layers]
    known = [counts[:, valid][:, :, None] for counts, valid in small if valid.any()]
    low, high = stretch(known) if known else (np.zeros(4), np.full(4, 255.0))
    shown = [np.round(255 * rgb(counts, low, high)).astype(np.uint8) for counts, _ in small]
    for picture, (_, valid) in zip(shown, small, strict=True):
        picture[~valid] = NO_DATA
    return shown


def data_uri(picture: np.ndarray) -> str:
    """A picture uint8 [h, w, 3] as a JPEG that stands in the page itself."""
    from rasterio.errors import NotGeoreferencedWarning
    from rasterio.io import MemoryFile

    height, width, _ = picture.shape
    shape = {"height": height, "width": width, "count": 3, "dtype": "uint8"}
    with warnings.catch_warnings(), MemoryFile() as memory:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # a picture is no map
        with memory.open(driver="JPEG", QUALITY=QUALITY, **shape) as file:
            file.write(np.moveaxis(picture, -1, 0))  # [h, w, 3] -> [3, h, w]
        return "data:image/jpeg;base64," + base64.b64encode(memory.read()).decode()


def reduced(layer: Layer) -> tuple[np.ndarray, np.ndarray]:
    """Counts uint8 [4, h, w] averaged over blocks, and which blocks hold data, bool [h, w]."""
    step = reduction(layer.grid.height, layer.grid.width)
    with layer.open() as reader:
        parts = [_blocks(*strip, step) for strip in _strips(reader, layer, step)]
    counts, valid = zip(*parts, strict=True)
    return np.concatenate(counts, axis=1), np.concatenate(valid, axis=0)


def _strips(reader: Reader, layer: Layer, step: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    rows = step * max(1, STRIP // step)
    for top in range(0, layer.grid.height, rows):
        yield reader.read(top, 0, min(rows, layer.grid.height - top), layer.grid.width)


def _blocks(counts: np.ndarray, valid: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the valid pixels of each block of ``step`` x ``step`` (fewer at the right and lower edge)."""
    if step == 1:
        return counts, valid
    masked = np.where(valid, counts, 0).astype(np.uint32)  # [4, H, W]
    number = _sums(valid.astype(np.uint32), step)
    mean = _sums(masked, step) / np.maximum(number, 1)
    return np.round(mean).astype(np.uint8), number > 0


def _sums(values: np.ndarray, step: int) -> np.ndarray:
    rows, columns = (np.arange(0, side, step) for side in values.shape[-2:])
    return np.add.reduceat(np.add.reduceat(values, rows, axis=-2), columns, axis=-1)
