"""Images of a scene: checked, and put on one grid of pixels where there are two dates.

A pair with a coordinate reference system is compared on the first image's grid, cut to where both lie; the
second image is read through a virtual warp (bilinear), a window at a time, unless its pixels coincide with
the first's. A pair without one (as WUSU's files) is compared pixel by pixel and must have the same size.
"""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wusu_lib.patches.contents import BAND_NAMES
from wusu_lib.scenes.grids import Grid, overlap, whole_shift

BANDS = len(BAND_NAMES)
CACHE_MB = 128  # of decoded blocks; GDAL's own default is a twentieth of the machine's memory
_OPENING = threading.Lock()  # warnings.catch_warnings swaps global state


@dataclass(frozen=True)
class Layer:
    """One image as seen on a grid: by its own pixels from (``row``, ``column``) on, or warped to it."""

    path: str
    grid: Grid
    row: int = 0
    column: int = 0
    warped: bool = False

    @contextmanager
    def open(self) -> Iterator["Reader"]:
        """Open the file for reading on the grid."""
        with opened(self.path) as source:
            if not self.warped:
                yield Reader(source, self.row, self.column)
                return
            with _as_data(source, self.path) as plain, _warped(plain, self.grid) as view:
                yield Reader(view, 0, 0)


@dataclass(frozen=True)
class Reader:
    """An open image."""

    source: Any
    row: int
    column: int

    def read(self, top: int, left: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Counts uint8 [4, height, width] and which pixels hold data, bool [height, width].

        A pixel holds data unless the alpha band or mask says that it does not, or all of its bands have the
        nodata value.
        """
        rows, columns = self.row + top, self.column + left
        window = ((rows, rows + height), (columns, columns + width))
        counts = self.source.read(list(range(1, BANDS + 1)), window=window)
        return counts, _valid(self.source, counts, window)


def _valid(source: Any, counts: np.ndarray, window: Any) -> np.ndarray:
    """Which pixels of a window hold data: bool [H, W] for counts [4, H, W].

    GDAL's own mask would not do: it takes a fourth band that is marked as alpha for one, as GDAL itself marks
    the infrared of a plain four-band TIFF.
    """
    from rasterio.enums import MaskFlags

    flags = source.mask_flag_enums[0]
    if source.count > BANDS:
        return source.read(BANDS + 1, window=window) > 0
    if source.nodata is not None:
        return (counts != source.nodata).any(axis=0)
    if MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags:
        return source.read_masks(1, window=window) > 0
    return np.ones(counts.shape[1:], dtype=bool)


def check(path: str | Path, name: str) -> Grid:
    """The grid of an image after checking that it can be mapped; ``name`` is what errors call it.

    Raises FileNotFoundError, and ValueError for a file that is no raster, or not of four bands of uint8 (an
    alpha band may follow).
    """
    with opened(path, name) as source:
        _check_bands(source, path, name)
        crs = source.crs.to_wkt() if source.crs else ""
        return Grid(crs, tuple(source.transform)[:6], source.height, source.width)


def single(path: str | Path) -> Layer:
    """One image on its own grid. Errors as ``check``."""
    return Layer(str(Path(path).resolve()), check(path, "image"))


def pair(t1: str | Path, t2: str | Path) -> tuple[Layer, Layer]:
    """Two dates on one grid: that of ``t1``, cut to where both lie. Errors as ``check``.

    Also raises ValueError where only one has a coordinate reference system, where neither has and the sizes
    differ, and, with both extents, where the two do not overlap.
    """
    first, second = check(t1, "t1"), check(t2, "t2")
    paths = [str(Path(path).resolve()) for path in (t1, t2)]
    if bool(first.crs) != bool(second.crs):
        without = "t1" if second.crs else "t2"
        raise ValueError(
            f"{without} has no coordinate reference system and the other image has one; give both one "
            "(gdal_edit.py -a_srs EPSG:...) or neither, which compares them pixel by pixel"
        )
    if not first.crs:
        return _by_pixel(first, second, paths)
    row, column, height, width = overlap(first, second)
    grid = first.cut(row, column, height, width)
    shift = whole_shift(grid, second)
    layer1 = Layer(paths[0], grid, row, column)
    return layer1, Layer(paths[1], grid, warped=True) if shift is None else Layer(paths[1], grid, *shift)


@contextmanager
def opened(path: str | Path, name: str = "image") -> Iterator[Any]:
    """An open raster; files without georeference are as welcome as others."""
    import rasterio
    from rasterio.errors import RasterioError

    if not Path(path).is_file():
        raise FileNotFoundError(f"{name}: no such file {path}")
    try:
        with without_georeference():
            source = rasterio.open(path)
    except RasterioError as error:
        raise ValueError(f"{name}: {path} is not a raster that GDAL can read ({error})") from error
    with rasterio.Env(GDAL_CACHEMAX=CACHE_MB), source:
        yield source


@contextmanager
def without_georeference() -> Iterator[None]:
    """Open or make files in the block without rasterio's warning that they are not georeferenced."""
    from rasterio.errors import NotGeoreferencedWarning

    with _OPENING, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def _check_bands(source: Any, path: str | Path, name: str) -> None:
    """Raise ValueError unless there are four bands of uint8, perhaps followed by an alpha band."""
    from rasterio.enums import ColorInterp

    wanted = f"expected {BANDS} bands ({', '.join(BAND_NAMES)}) of uint8"
    types = sorted(set(source.dtypes))
    alpha = source.count == BANDS + 1 and source.colorinterp[-1] == ColorInterp.alpha
    if source.count == 1:
        raise ValueError(f"{name}: {path} has one band; {wanted}. Is it a class map rather than an image?")
    if source.count != BANDS and not alpha:
        raise ValueError(f"{name}: {path} has {source.count} bands; {wanted}")
    if types != ["uint8"]:
        raise ValueError(
            f"{name}: {path} holds {', '.join(types)}; {wanted}. Rescale it to 8 bits as the training images "
            "were, for instance gdal_translate -ot Byte -scale LOW HIGH 1 255 in.tif out.tif"
        )


def _by_pixel(first: Grid, second: Grid, paths: list[str]) -> tuple[Layer, Layer]:
    if (first.height, first.width) != (second.height, second.width):
        raise ValueError(
            f"t1 has {first.height} x {first.width} px and t2 {second.height} x {second.width} px, and "
            "neither has a coordinate reference system; without one the two must have the same size"
        )
    return Layer(paths[0], first), Layer(paths[1], first)


@contextmanager
def _as_data(source: Any, path: str) -> Iterator[Any]:
    """The source; where its fourth band is marked as alpha, a view in which it is a band like the others.

    A warp would weight the other bands by it.
    """
    import rasterio
    from rasterio.enums import ColorInterp

    if source.colorinterp[BANDS - 1] != ColorInterp.alpha:
        yield source
        return
    bands = list(range(1, BANDS + 1))
    with rasterio.open(_view(source, path, bands)) as view:
        yield view


def _view(source: Any, path: str, bands: list[int]) -> str:
    """GDAL's description of a virtual raster: the bands of a file, with its grid and nodata value."""
    from xml.etree import ElementTree as Xml

    root = Xml.Element("VRTDataset", rasterXSize=str(source.width), rasterYSize=str(source.height))
    Xml.SubElement(root, "SRS").text = source.crs.to_wkt()
    Xml.SubElement(root, "GeoTransform").text = ", ".join(map(repr, source.transform.to_gdal()))
    for number in bands:
        band = Xml.SubElement(root, "VRTRasterBand", dataType="Byte", band=str(number))
        if source.nodata is not None:
            Xml.SubElement(band, "NoDataValue").text = repr(source.nodata)
        part = Xml.SubElement(band, "SimpleSource")
        Xml.SubElement(part, "SourceFilename", relativeToVRT="0").text = path
        Xml.SubElement(part, "SourceBand").text = str(number)
    return Xml.tostring(root, encoding="unicode")


def _warped(source: Any, grid: Grid) -> Any:
    """The source on a grid, bilinear, with an alpha band that says where it has data."""
    from affine import Affine
    from rasterio.enums import ColorInterp, Resampling
    from rasterio.vrt import WarpedVRT

    return WarpedVRT(
        source,
        crs=grid.crs,
        transform=Affine(*grid.transform),
        width=grid.width,
        height=grid.height,
        resampling=Resampling.bilinear,
        add_alpha=source.colorinterp[-1] != ColorInterp.alpha,
        # What the source does not cover starts at 0 and transparent. rasterio would start it at "no data", of
        # which an alpha band has no value: GDAL complains of that at every reading.
        init_dest_nodata=False,
        INIT_DEST="0",
        # A pixel is without data only where all bands are: a dark band of water may well hold the value.
        UNIFIED_SRC_NODATA="YES",
    )
