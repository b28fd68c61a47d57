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

ALIGNED = 1e-3  # pixels: closer than this, two grids are the same
EDGE_POINTS = 21  # a side of an image is followed through a change of coordinates at so many points
CACHE_MB = 128  # of decoded blocks; GDAL's own default is a twentieth of the machine's memory
_OPENING = threading.Lock()  # warnings.catch_warnings swaps global state


@dataclass(frozen=True)
class Grid:
    """Pixels on the ground: ``crs`` (WKT, empty: none), ``transform`` (a, b, c, d, e, f), size in pixels."""

    crs: str
    transform: tuple[float, ...]
    height: int
    width: int

    def cut(self, row: int, column: int, height: int, width: int) -> "Grid":
        """The part that starts at a pixel of this grid."""
        a, b, c, d, e, f = self.transform
        moved = (a, b, c + a * column + b * row, d, e, f + d * column + e * row)
        return Grid(self.crs, moved, height, width)


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
            with _warped(source, self.grid) as view:
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
        bands = list(range(1, len(BAND_NAMES) + 1))
        valid = self.source.read_masks(bands, window=window).any(axis=0)  # [4, H, W] -> [H, W]
        return self.source.read(bands, window=window), valid


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
    row, column, height, width = _overlap(first, second)
    grid = first.cut(row, column, height, width)
    shift = _whole_shift(grid, second)
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

    wanted = f"expected {len(BAND_NAMES)} bands ({', '.join(BAND_NAMES)}) of uint8"
    types = sorted(set(source.dtypes))
    alpha = source.count == len(BAND_NAMES) + 1 and source.colorinterp[-1] == ColorInterp.alpha
    if source.count == 1:
        raise ValueError(f"{name}: {path} has one band; {wanted}. Is it a class map rather than an image?")
    if source.count != len(BAND_NAMES) and not alpha:
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


def _overlap(first: Grid, second: Grid) -> tuple[int, int, int, int]:
    """Part of the first grid whose pixel centres the second covers: row, column, height, width."""
    points = _outline(second, first)
    limits = (first.width, first.height)
    low, high = points.min(axis=0) - 0.5 - ALIGNED, points.max(axis=0) - 0.5 + ALIGNED
    start = [max(0, int(np.ceil(value))) for value in low]
    stop = [min(limit, int(np.floor(value)) + 1) for value, limit in zip(high, limits, strict=True)]
    (column, row), (width, height) = start, [b - a for a, b in zip(start, stop, strict=True)]
    if width < 1 or height < 1:
        raise ValueError(f"t1 and t2 do not overlap: t1 covers {_extent(first)}, t2 covers {_extent(second)}")
    return row, column, height, width


def _outline(grid: Grid, other: Grid) -> np.ndarray:
    """Points along a grid's four sides as (column, row) of another grid's pixels, float64 [n, 2]."""
    from affine import Affine
    from rasterio.warp import transform

    along = np.linspace(0, 1, EDGE_POINTS)
    zero, one = np.zeros(EDGE_POINTS), np.ones(EDGE_POINTS)
    columns = np.concatenate([along, along, zero, one]) * grid.width
    rows = np.concatenate([zero, one, along, along]) * grid.height
    x, y = Affine(*grid.transform) * (columns, rows)  # type: ignore[operator]  # arrays work too
    if grid.crs != other.crs:
        x, y = transform(grid.crs, other.crs, x, y)
    pixels = np.stack(~Affine(*other.transform) * (np.asarray(x), np.asarray(y)), axis=1)
    return pixels[np.isfinite(pixels).all(axis=1)] if np.isfinite(pixels).any() else np.full((1, 2), np.inf)


def _extent(grid: Grid) -> str:
    """Bounds of a grid in words, in its own coordinates."""
    from affine import Affine
    from rasterio.crs import CRS

    corners = np.array([(0, 0), (grid.width, 0), (0, grid.height), (grid.width, grid.height)], dtype=float)
    x, y = Affine(*grid.transform) * corners.T
    crs = CRS.from_wkt(grid.crs).to_string()
    shown = crs if len(crs) < 40 else crs.split('"')[1]
    return f"x {min(x):g} to {max(x):g}, y {min(y):g} to {max(y):g} ({shown})"


def _whole_shift(grid: Grid, other: Grid) -> tuple[int, int] | None:
    """Where ``grid`` starts on ``other`` (row, column) if it lies inside and their pixels coincide."""
    from affine import Affine
    from rasterio.crs import CRS

    if CRS.from_wkt(grid.crs) != CRS.from_wkt(other.crs):
        return None
    corners = np.array([(0, 0), (grid.width, 0), (0, grid.height)], dtype=float)
    x, y = Affine(*grid.transform) * corners.T
    there = np.stack(~Affine(*other.transform) * (x, y), axis=1)
    column, row = (int(value) for value in np.rint(there[0]))
    if np.abs(there - corners - (column, row)).max() > ALIGNED:
        return None
    inside = (
        min(row, column) >= 0 and row + grid.height <= other.height and column + grid.width <= other.width
    )
    return (row, column) if inside else None


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
        # A pixel is without data only where all bands are: a dark band of water may well hold the value.
        UNIFIED_SRC_NODATA="YES",
    )
