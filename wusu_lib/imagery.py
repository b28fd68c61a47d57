"""Images as arrays: the one reader of a tree's files, and pixels made ready to show.

The reader takes a plain TIFF without georeference, any band count. To be shown are composites with a
common stretch and class maps in the legend's colours.
"""

import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from wusu_lib.legend import ELEVEN, LabelSpace

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.patches import Patch


BAND_NAMES = ("blue", "green", "red", "NIR")
BANDS = {"image": 4, "mask": 1, "bcd": 1, "scd": 1}


# Reading one file of a tree: a plain TIFF, usually without georeference, any band count.

# warnings.catch_warnings swaps global state: two threads inside it at once could leave a filter behind.
_OPENING = threading.Lock()


@contextmanager
def opened(path: str | Path) -> Iterator[Any]:
    """Give the open rasterio dataset of a file; what goes wrong in the block is told with the file's name.

    WUSU's patches carry no geotransform by design, so rasterio's warning about it is silenced for this
    opening only. Raises FileNotFoundError if there is no such file and ValueError, naming the file, if it is
    not a complete readable raster.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with _OPENING, warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            source = rasterio.open(path)
        with source:
            yield source
    except RasterioError as error:
        raise ValueError(
            f"{path}: unreadable or truncated ({error}); copy or download the file again"
        ) from error


def read(path: str | Path) -> np.ndarray:
    """Read all bands of a file as [bands, H, W] in the dtype on disk. Errors as ``opened``."""
    with opened(path) as source:
        return source.read()


def missing(source: Any) -> np.ndarray | None:
    """Which pixels of the first band an open dataset itself says to be without a value: bool [H, W].

    By its declared nodata value or its mask; None where it says so of no pixel.
    """
    from rasterio.enums import MaskFlags

    if MaskFlags.all_valid in source.mask_flag_enums[0]:
        return None
    without = source.read_masks(1) == 0
    return without if without.any() else None


# Pixels made ready to show: composites with a common stretch, class maps in the legend's colours.

Composite = Literal["natural", "infrared"]
_CHANNELS = {"natural": (2, 1, 0), "infrared": (3, 2, 1)}  # of B,G,R,NIR, as shown in red, green, blue
GAMMA = 1.4  # lifts dark ground beside white roofs, as imagery viewers do
BUDGET = 200_000  # px of imagery in one figure: keeps its PNG under about 400 kB
_LEVELS = 31  # steps a channel: finer ones are lost in the noise of the image and double the PNG


def rgb(
    image: np.ndarray, low: np.ndarray | float, high: np.ndarray | float, composite: Composite = "natural"
) -> np.ndarray:
    """Composite to show, float32 [H,W,3] in 0..1, of ``image`` [4,H,W] in B,G,R,NIR counts.

    ``low`` and ``high``: counts shown as black and as full, one for all bands or one a band [4]. Give
    images that are compared the same pair, from ``stretch``. ``composite="infrared"`` shows NIR, R, G as
    red, green, blue. Between them the display is brightened by ``GAMMA``. Raises ValueError on another
    shape, on an unknown composite, or where ``high`` is not above ``low``.
    """
    if image.ndim != 3 or image.shape[0] != 4:
        raise ValueError(f"image: expected [4,H,W] in B,G,R,NIR, got shape {image.shape}")
    if composite not in _CHANNELS:
        raise ValueError(f"composite: got {composite!r}; allowed: {', '.join(_CHANNELS)}")
    low, high = (np.broadcast_to(np.asarray(v, dtype=np.float32), (4,)) for v in (low, high))
    if not (high > low).all():
        raise ValueError(f"stretch: high {high.tolist()} has to be above low {low.tolist()} in every band")
    bands = list(_CHANNELS[composite])
    shown = (image[bands].astype(np.float32) - low[bands, None, None]) / (high - low)[bands, None, None]
    return np.moveaxis(np.clip(shown, 0, 1) ** (1 / GAMMA), 0, -1)  # [3,H,W] -> [H,W,3]


def stretch(images: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Counts (low [4], high [4]) that hold the middle 98 % of each band over all ``images`` [4,H,W]."""
    pooled = np.concatenate([image.reshape(4, -1) for image in images], axis=1)
    low, high = np.percentile(pooled, [1, 99], axis=1)
    return low, np.maximum(high, low + 1)


def shrink(shown: np.ndarray, count: int) -> np.ndarray:
    """A composite [H,W,3] as uint8, averaged over blocks until ``count`` of its kind fit in ``BUDGET``."""
    step = int(np.ceil(max(shown.shape[:2]) / np.sqrt(BUDGET / count)))
    down, across = (min(step, side) for side in shown.shape[:2])  # a scene may be one pixel high
    height, width = shown.shape[0] // down, shown.shape[1] // across
    blocks = shown[: height * down, : width * across].reshape(height, down, width, across, 3)
    return np.round(np.round(blocks.mean(axis=(1, 3)) * _LEVELS) * (255 / _LEVELS)).astype(np.uint8)


def class_image(index: np.ndarray, labels: LabelSpace = ELEVEN) -> np.ndarray:
    """Class indices [H,W] as uint8 [H,W,3] in the legend's colours; members of a merged class in its own."""
    from matplotlib.colors import to_rgb

    table = np.array([np.round(np.multiply(to_rgb(c), 255)) for c in labels.colours], dtype=np.uint8)
    return table[index]


def swatches(indices: Iterable[int], labels: LabelSpace = ELEVEN) -> "list[Patch]":
    """Legend entries (name and colour) of class indices, in the legend's order, each once."""
    from matplotlib.patches import Patch

    colours, names, stands_for = labels.colours, labels.names, labels.representatives
    return [
        Patch(facecolor=colours[i], edgecolor="#5f6368", linewidth=0.5, label=names[i])
        for i in sorted({int(stands_for[int(i)]) for i in indices})
    ]


def read_image(path: str | Path) -> np.ndarray:
    """All bands of a GeoTIFF, [C,H,W]. Raises FileNotFoundError where there is none."""
    import warnings

    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    if not Path(path).is_file():
        raise FileNotFoundError(f"no image at {path}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # WUSU patches carry no geotransform
        with rasterio.open(path) as source:
            return source.read()


def rows_of(table: "pd.DataFrame", patches: Sequence[str]) -> "pd.DataFrame":
    """Rows of a patch table in the order of ``patches``. Raises ValueError naming patches that it lacks."""
    known = table.set_index("patch", drop=False)
    missing = [patch for patch in patches if patch not in known.index]
    if missing or not len(patches):
        some = ", ".join(known.index[:3])
        raise ValueError(f"patches: {missing or 'none given'}; the table has {len(known)}, such as {some}")
    return known.loc[list(patches)]
