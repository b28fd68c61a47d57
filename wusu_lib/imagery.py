"""Images as arrays: the one reader of a tree's files, and pixels made ready to show.

The reader takes a plain TIFF without georeference, any band count. To be shown are composites with a
common stretch and class maps in the legend's colours. What files say of their place, their bands and their
edges is held against what is expected.
"""

import math
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from wusu_lib.legend import ELEVEN, LabelSpace

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.patches import Patch


BAND_NAMES = ("blue", "green", "red", "NIR")
Augmentation = Literal["flips", "turns", "colour", "zoom"]  # of training images: ``loading.augmented``
BANDS = {"image": 4, "mask": 1, "bcd": 1, "scd": 1}


# warnings.catch_warnings swaps global state: two threads inside it at once could leave a filter behind.
_OPENING = threading.Lock()


@contextmanager
def without_georeference() -> Iterator[None]:
    """Open or make files in the block without rasterio's warning that they are not georeferenced."""
    from rasterio.errors import NotGeoreferencedWarning

    with _OPENING, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


@contextmanager
def opened(path: str | Path) -> Iterator[Any]:
    """Give the open rasterio dataset of a file; what goes wrong in the block is told with the file's name.

    WUSU's patches carry no geotransform by design, so rasterio's warning about it is silenced for this
    opening only. Raises FileNotFoundError if there is no such file and ValueError, naming the file, if it is
    not a complete readable raster.
    """
    import rasterio
    from rasterio.errors import RasterioError

    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        # Told so, GDAL asks for the files that may stand beside a raster, and lists no folder of thousands.
        with without_georeference(), rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="TRUE"):
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


def rows_of(table: "pd.DataFrame", patches: Sequence[str]) -> "pd.DataFrame":
    """Rows of a patch table in the order of ``patches``. Raises ValueError naming patches that it lacks."""
    known = table.set_index("patch", drop=False)
    missing = [patch for patch in patches if patch not in known.index]
    if missing or not len(patches):
        some = ", ".join(known.index[:3])
        raise ValueError(f"patches: {missing or 'none given'}; the table has {len(known)}, such as {some}")
    return known.loc[list(patches)]


# What the files of a site say of their place, their bands and their edges, held against what is expected.
#
# WUSU's patches say nothing: no coordinates, no named bands. Other data in the same layout may, and then two
# files of a site that lie apart, bands in another order or a black collar are told before anything is
# trained.

REORDER = "write the bands as blue, green, red, near infrared (gdal_translate -b ...)"
OTHER_PIXELS = (0.5, 2.0)  # metres; WUSU has 1 m, and outside of this objects are of another size in pixels
SAME_GRID = 0.5  # pixels by which two files of a site may lie beside each other
DARK = 2  # counts: a resampled or compressed collar is not exactly 0
SMALLEST_COLLAR = 0.01  # share of a patch
_SPELLINGS = {
    "b": "blue", "blue": "blue", "g": "green", "green": "green", "r": "red", "red": "red", "n": "NIR",
    "nir": "NIR", "ir": "NIR", "infrared": "NIR", "near infrared": "NIR", "nearinfrared": "NIR",
}  # fmt: skip
DATES_APART = "dates lie apart"
NOT_RECTIFIED = "not rectified"
OTHER_GRID = "dates on other grids"
OTHER_SYSTEM = "coordinate systems differ"
OTHER_SIZE = "pixels of another size"
MARKED_BANDS = "bands marked in another order"
COLLAR = "black collar"
# Of each of these one row is told for the whole tree: they hold for many files or for none.
GATHERED = (NOT_RECTIFIED, OTHER_GRID, OTHER_SYSTEM, OTHER_SIZE, MARKED_BANDS, COLLAR)


@dataclass(frozen=True)
class Finding:
    """What is odd about a file: severity, problem, detail, and the pixels or files that it concerns."""

    severity: str
    problem: str
    detail: str
    count: int = 1


@dataclass(frozen=True)
class Placement:
    """Where a file says that it lies: coordinate system (None: not said), transform, size (height, width).

    ``points``: placed by ground control points or a sensor model alone.
    """

    crs: Any
    transform: Any
    size: tuple[int, int]
    points: bool

    @property
    def placed(self) -> bool:
        """Whether the transform says anything."""
        return not self.transform.is_identity

    @property
    def pixel(self) -> float:
        """Side of a pixel in metres; in the transform's own unit where no coordinate system says which."""
        side = math.sqrt(abs(self.transform.determinant))
        if self.crs is None:
            return side
        if self.crs.is_geographic:
            latitude = math.radians((self.transform @ (0, 0))[1])
            return side * 111_320 * math.sqrt(max(math.cos(latitude), 0.0))
        return side * (self.crs.linear_units_factor[1] if self.crs.is_projected else 1.0)


def placement(source: Any) -> Placement:
    """The placement of an open dataset."""
    points = bool(source.gcps[0]) or source.rpcs is not None
    return Placement(
        source.crs, source.transform, source.shape, points and bool(source.transform.is_identity)
    )


def of_image(source: Any, image: np.ndarray) -> list[Finding]:
    """What an open image of four bands, read as uint8 [4, H, W], says of itself."""
    found = [*_bands(source), *_alpha(image)]
    place = placement(source)
    if place.points:
        found.append(
            Finding(
                "warning",
                NOT_RECTIFIED,
                "placed by ground control points or a sensor model (RPC) alone; dates that were not warped "
                "to one grid (gdalwarp) do not lie on each other",
            )
        )
    if place.placed and not OTHER_PIXELS[0] <= place.pixel <= OTHER_PIXELS[1]:
        unit = "m" if place.crs is not None else "units (no coordinate system says which)"
        found.append(
            Finding(
                "warning",
                OTHER_SIZE,
                f"a pixel is {place.pixel:.3g} {unit}; WUSU has 1 m, and models and figures are about that",
            )
        )
    return found


def _bands(source: Any) -> Iterable[Finding]:
    """Bands that are named, or marked by colour, in another order than blue, green, red, near infrared."""
    named = tuple(
        _SPELLINGS.get((text or "").lower().replace("_", " ").replace("-", " ").strip())
        for text in source.descriptions
    )
    marks = tuple(mark.name for mark in source.colorinterp)
    if all(named) and len(set(named)) == len(BAND_NAMES):
        if named != BAND_NAMES:
            words = ", ".join(map(str, named))
            yield Finding("error", "bands in another order", f"named {words}; {REORDER}")
    elif marks[:3] == ("red", "green", "blue") and marks[3] != "alpha":
        # Red, green, blue, alpha is what GDAL marks any four bands of 8 bits with, so it says nothing.
        yield Finding(
            "error" if marks[3] == "nir" else "warning",
            "bands in another order" if marks[3] == "nir" else MARKED_BANDS,
            f"marked {', '.join(marks)}; if that is so, {REORDER}, else remove the marks",
        )


def _alpha(image: np.ndarray) -> Iterable[Finding]:
    """A fourth band that is opacity: nothing but 0 and 255, while the others vary."""
    values = np.unique(image[3])
    if 255 in values and set(values.tolist()) <= {0, 255} and image[:3].min() < image[:3].max():
        yield Finding(
            "error",
            "alpha instead of near infrared",
            "the fourth band holds nothing but 0 and 255; expected near infrared",
            image[3].size,
        )


def collar(image: np.ndarray, index: np.ndarray) -> list[Finding]:
    """Labelled ground where the image [4, H, W] is a black collar: dark in all bands, from an edge in.

    ``index``: class index uint8 [H, W].
    """
    dark = image.max(axis=0) <= DARK
    edge = np.concatenate([dark[0], dark[-1], dark[:, 0], dark[:, -1]])
    if not edge.any() or dark.sum() < SMALLEST_COLLAR * dark.size:
        return []
    from scipy import ndimage

    areas, _ = ndimage.label(dark)
    at_edge = np.unique(np.concatenate([areas[0], areas[-1], areas[:, 0], areas[:, -1]]))
    labelled = int((np.isin(areas, at_edge[at_edge > 0]) & (index > 0)).sum())
    if labelled < SMALLEST_COLLAR * dark.size:
        return []
    detail = (
        f"{labelled} pixels ({labelled / dark.size:.0%}) from the edge in are black (at most {DARK} in every "
        "band) and labelled; label them 0, or they are learnt as their class"
    )
    return [Finding("warning", COLLAR, detail, labelled)]


def of_pair(image: Placement, mask: Placement) -> list[Finding]:
    """An image and its own class mask that lie apart."""
    differing = _systems(image, mask, "image", "class mask")
    shift = None if differing else _shift(image, mask)
    if shift is not None and shift > SAME_GRID:
        detail = f"by {shift:.3g} pixels, by their transforms; the labels belong to other ground"
        return [Finding("error", "image and mask lie apart", detail)]
    return differing


def of_dates(places: Mapping[int, Placement]) -> list[Finding]:
    """Images of one site, by date, that do not lie on each other."""
    dates = sorted(places)
    for date in dates[1:]:
        first, other = places[dates[0]], places[date]
        if differing := _systems(first, other, f"20{dates[0]:02d}", f"20{date:02d}"):
            return differing
        shift = _shift(first, other)
        if shift is None or shift <= SAME_GRID:
            continue
        words = f"20{date:02d} lies {shift:.3g} pixels from 20{dates[0]:02d}, by the transforms"
        if shift > max(first.size) / 2:
            return [Finding("error", DATES_APART, f"{words}: other ground under the same name")]
        return [Finding("warning", OTHER_GRID, f"{words}; change is told pixel by pixel")]
    return []


def _systems(one: Placement, other: Placement, name: str, other_name: str) -> list[Finding]:
    """Two placed files with unlike coordinate systems, one of which may have none."""
    if not (one.placed and other.placed) or one.crs == other.crs:
        return []
    words = f"{name}: {_system(one.crs)}, {other_name}: {_system(other.crs)}"
    return [
        Finding("warning", OTHER_SYSTEM, f"{words}; whether they lie on each other cannot be told (gdalwarp)")
    ]


def _system(crs: Any) -> str:
    if crs is None:
        return "none"
    return crs.to_string() if crs.is_projected or crs.is_geographic else "a local system"


def _shift(one: Placement, other: Placement) -> float | None:
    """How far, in pixels of the first, any corner of the second lies from the first's; None if not said."""
    if not (one.placed and other.placed):
        return None
    height, width = one.size
    to_pixels = ~one.transform @ other.transform
    corners = [(0, 0), (width, 0), (0, height), (width, height)]
    return max(math.dist(corner, to_pixels @ corner) for corner in corners)
