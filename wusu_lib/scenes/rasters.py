"""Rasters of a scene: images checked and put on one grid of pixels, maps written with colours and names.

Where two dates lie on different grids the second is put on the first's. Maps are cloud-optimised
GeoTIFFs, written in bounded memory.
"""

import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree as Xml

import numpy as np

from wusu_lib import legend, transitions
from wusu_lib.files import DRAFT, faults_told, replacing
from wusu_lib.imagery import BAND_NAMES, without_georeference
from wusu_lib.legend import LabelSpace

# Grids of pixels on the ground, and how two of them lie to each other.

ALIGNED = 1e-3  # pixels: closer than this, two grids are the same
EDGE_POINTS = 21  # a side of an image is followed through a change of coordinates at so many points


@dataclass(frozen=True)
class Grid:
    """Pixels on the ground: ``crs`` (WKT, empty: none), ``transform`` (a, b, c, d, e, f), size in pixels."""

    crs: str
    transform: tuple[float, ...]
    height: int
    width: int

    def ground(self, points: np.ndarray) -> np.ndarray:
        """Coordinates (x, y) of points (column, row) in pixels from the upper left corner: float64 [n, 2]."""
        a, b, c, d, e, f = self.transform
        return points @ np.array([[a, d], [b, e]]) + (c, f)

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """The inverse of ``ground``."""
        a, b, c, d, e, f = self.transform
        return (points - (c, f)) @ np.linalg.inv(np.array([[a, d], [b, e]]))

    def cut(self, row: int, column: int, height: int, width: int) -> "Grid":
        """The part that starts at a pixel of this grid."""
        a, b, c, d, e, f = self.transform
        moved = (a, b, c + a * column + b * row, d, e, f + d * column + e * row)
        return Grid(self.crs, moved, height, width)


def overlap(first: Grid, second: Grid) -> tuple[int, int, int, int]:
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
    from rasterio.warp import transform

    along = np.linspace(0, 1, EDGE_POINTS)
    zero, one = np.zeros(EDGE_POINTS), np.ones(EDGE_POINTS)
    columns = np.concatenate([along, along, zero, one]) * grid.width
    rows = np.concatenate([zero, one, along, along]) * grid.height
    points = grid.ground(np.stack([columns, rows], axis=1))
    if grid.crs != other.crs:
        points = np.stack(transform(grid.crs, other.crs, *points.T), axis=1)
    pixels = other.pixels(points)
    return pixels[np.isfinite(pixels).all(axis=1)] if np.isfinite(pixels).any() else np.full((1, 2), np.inf)


def _extent(grid: Grid) -> str:
    """Bounds of a grid in words, in its own coordinates."""
    from rasterio.crs import CRS

    corners = np.array([(0, 0), (grid.width, 0), (0, grid.height), (grid.width, grid.height)], dtype=float)
    x, y = grid.ground(corners).T
    crs = CRS.from_wkt(grid.crs).to_string()
    shown = crs if len(crs) < 40 else crs.split('"')[1]
    return f"x {min(x):g} to {max(x):g}, y {min(y):g} to {max(y):g} ({shown})"


def whole_shift(grid: Grid, other: Grid) -> tuple[int, int] | None:
    """Where ``grid`` starts on ``other`` (row, column) if it lies inside and their pixels coincide."""
    from rasterio.crs import CRS

    if CRS.from_wkt(grid.crs) != CRS.from_wkt(other.crs):
        return None
    corners = np.array([(0, 0), (grid.width, 0), (0, grid.height)], dtype=float)
    there = other.pixels(grid.ground(corners))
    column, row = (int(value) for value in np.rint(there[0]))
    if np.abs(there - corners - (column, row)).max() > ALIGNED:
        return None
    inside = (
        min(row, column) >= 0 and row + grid.height <= other.height and column + grid.width <= other.width
    )
    return (row, column) if inside else None


# Images of a scene: checked, and put on one grid of pixels where there are two dates.
#
# A pair with a coordinate reference system is compared on the first image's grid, cut to where both lie; the
# second image is read through a virtual warp (bilinear), a window at a time, unless its pixels coincide with
# the first's. A pair without one (as WUSU's files) is compared pixel by pixel and must have the same size.

BANDS = len(BAND_NAMES)
ADDRESS = r"/vsi|[A-Za-z][A-Za-z0-9+.-]+:"  # of what GDAL would fetch or unpack
CACHE_MB = 128  # of decoded blocks; GDAL's own default is a twentieth of the machine's memory


@dataclass(frozen=True)
class Layer:
    """One image as seen on a grid: by its own pixels from (``row``, ``column``) on, or warped to it.

    ``light``: mean and standard deviation of its bands (``lit``), where a model is to see it in the light of
    its training images; None where it sees the counts as they are.
    """

    path: str
    grid: Grid
    row: int = 0
    column: int = 0
    warped: bool = False
    light: "Light | None" = None

    def cut(self, row: int, column: int, height: int, width: int) -> "Layer":
        """The part that starts at a pixel of the grid."""
        grid = self.grid.cut(row, column, height, width)
        if self.warped:
            return replace(self, grid=grid)
        return replace(self, grid=grid, row=self.row + row, column=self.column + column)

    @contextmanager
    def open(self) -> Iterator["Reader"]:
        """Open the file for reading on the grid."""
        with opened(self.path) as source:
            if not self.warped:
                yield Reader(source, self.row, self.column, self.light)
                return
            with _as_data(source, self.path) as plain, _warped(plain, self.grid) as view:
                yield Reader(view, 0, 0, self.light)


Light = tuple[tuple[float, ...], tuple[float, ...]]  # mean and deviation of the bands, on the scale 0 to 1


def lit(layer: Layer) -> Layer:
    """The layer with the mean and deviation of its bands over all pixels with data, on the scale 0 to 1."""
    number, total, squares = 0, np.zeros(BANDS), np.zeros(BANDS)
    with layer.open() as reader:
        for top in range(0, layer.grid.height, TILE):
            height = min(TILE, layer.grid.height - top)
            counts, valid = reader.read(top, 0, height, layer.grid.width)
            values = counts[:, valid].astype(np.int64)
            number += values.shape[1]
            total += values.sum(axis=1)
            squares += (values**2).sum(axis=1)
    if not number:
        return layer
    mean = total / number
    deviation = np.sqrt(np.maximum(squares / number - mean**2, 1.0))  # a band of one value stays finite
    return replace(layer, light=(tuple((mean / 255).tolist()), tuple((deviation / 255).tolist())))


def relit(counts: np.ndarray, own: Light | None, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """Counts [4, H, W] of a layer in its own light as they would be in another, float32.

    ``mean``, ``std``: of that other light, on the scale 0 to 1. As they are where ``own`` is not known.
    """
    if own is None:
        return counts
    here, there = (np.array(each, dtype=np.float32)[..., None, None] for each in (own, (mean, std)))
    return ((counts / np.float32(255) - here[0]) / here[1] * there[1] + there[0]) * np.float32(255)


@dataclass(frozen=True)
class Reader:
    """An open image."""

    source: Any
    row: int
    column: int
    light: "Light | None" = None

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

    Raises FileNotFoundError, and ValueError for a file that is no raster, not of four bands of uint8 (an
    alpha band may follow), cut off before its last pixels, or of a CRS that is nowhere on Earth.
    """
    with opened(path, name) as source:
        _check_bands(source, path, name)
        _check_end(source, path, name)
        crs = source.crs.to_wkt() if source.crs else ""
        _check_crs(source.crs, path, name)
        return Grid(crs, tuple(source.transform)[:6], source.height, source.width)


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

    _check_path(path, name)
    try:
        with without_georeference():
            source = rasterio.open(path)
    except RasterioError as error:
        raise ValueError(f"{name}: {path} is not a raster that GDAL can read ({error})") from error
    with rasterio.Env(GDAL_CACHEMAX=CACHE_MB), source:
        yield source


def values(path: Path) -> np.ndarray:
    """The only band of a raster, [H, W]."""
    with opened(path) as source:
        return source.read(1)


def _check_path(path: str | Path, name: str) -> None:
    """Raise FileNotFoundError or ValueError, in words, unless this is a file that can be asked for."""
    text = os.fspath(path)
    if re.match(ADDRESS, text):
        raise ValueError(
            f"{name}: got {text}; addresses and archives are not read, download or unpack the file"
        )
    try:
        text.encode()
        found = os.stat(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{name}: no such file {path}") from error
    except UnicodeEncodeError as error:
        raise ValueError(f"{name}: the name {text!r} is not UTF-8; rename the file") from error
    except (OSError, ValueError) as error:  # the latter: a NUL in it
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(f"{name}: {text[:200]!r} cannot be read ({reason})") from error
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "no plain file"
        raise ValueError(f"{name}: {path} is {kind}; give a GeoTIFF")


def _check_end(source: Any, path: str | Path, name: str) -> None:
    """Raise ValueError unless the last pixel of each band can be read."""
    from rasterio.errors import RasterioError

    row, column = source.height - 1, source.width - 1
    try:
        source.read(window=((row, row + 1), (column, column + 1)))
    except RasterioError as error:
        raise ValueError(
            f"{name}: {path} is truncated or damaged: its last pixels cannot be read; copy or download it "
            "again"
        ) from error


def _check_crs(crs: Any, path: str | Path, name: str) -> None:
    """Raise ValueError for a CRS that no other can be computed from: engineering ones, vertical ones."""
    from pyproj import CRS, Transformer
    from pyproj.exceptions import ProjError

    if not crs:
        return
    try:
        Transformer.from_crs(CRS.from_wkt(crs.to_wkt()), "EPSG:4326")
    except ProjError as error:
        raise ValueError(
            f"{name}: {path} has a coordinate system that is tied to no place on Earth "
            f"({crs.to_wkt()[:60]}); "
            "assign the true one (gdal_edit.py -a_srs EPSG:...), or take it from both images (gdal_edit.py "
            '-a_srs ""), which compares them pixel by pixel'
        ) from error


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


# Maps as cloud-optimised GeoTIFFs, with colours, names and nodata, written in bounded memory.
#
# Names of values are no part of a TIFF: they stand beside it in GDAL's .aux.xml, as a raster attribute
# table, which GIS programs use for their legends, and as category names.

TILE = 512  # pixels
Read = Callable[[int, int, int, int], np.ndarray]  # top, left, height, width -> uint8 [height, width]


@dataclass(frozen=True)
class Style:
    """What the values of a map mean: nodata, RGB by value (uint8 [256, 3]), name by value, scale to units."""

    nodata: int
    colours: np.ndarray | None = None
    names: dict[int, str] | None = None
    scale: float | None = None
    description: str = ""


def write(path: Path, grid: Grid, style: Style, read: Read, rows: int = TILE) -> None:
    """Write what ``read`` gives, ``rows`` (a multiple of 512) x the same number of columns at a time.

    The file is complete or absent. Beside it ``path``.aux.xml if values have names.
    """
    import rasterio
    from rasterio.shutil import copy

    environment = rasterio.Env(GDAL_CACHEMAX=CACHE_MB, GDAL_PAM_ENABLED="NO")
    drafts = TemporaryDirectory(dir=path.parent, prefix=".", suffix=DRAFT)
    with faults_told(path.parent), drafts as scratch, environment:
        plain, whole = Path(scratch) / "plain.tif", Path(scratch) / "whole.tif"
        _write_plain(plain, grid, style, read, rows)
        with without_georeference():
            copy(
                plain,
                whole,
                driver="COG",
                compress="DEFLATE",
                blocksize=TILE,
                overview_resampling="NEAREST" if style.colours is not None else "AVERAGE",
                bigtiff="IF_SAFER",
            )
        if style.names is not None:
            _write_names(path.with_name(f"{path.name}.aux.xml"), style.names, style.colours)
        os.replace(whole, path)


def write_image(path: Path, image: np.ndarray) -> Path:
    """Write uint8 [C, H, W] as a plain GeoTIFF that lies nowhere on Earth; gives its path."""
    import rasterio

    count, height, width = image.shape
    shape = {"count": count, "height": height, "width": width, "dtype": image.dtype}
    with without_georeference():
        file = rasterio.open(path, "w", driver="GTiff", compress="deflate", tiled=True, **shape)
    with file:
        file.write(image)
    return path


def _write_plain(path: Path, grid: Grid, style: Style, read: Read, rows: int) -> None:
    """A tiled file without overviews: what GDAL makes a cloud-optimised one of."""
    import rasterio
    from affine import Affine

    profile = {
        "driver": "GTiff",
        "dtype": "uint8",
        "count": 1,
        "height": grid.height,
        "width": grid.width,
        "crs": grid.crs or None,
        "transform": Affine(*grid.transform),
        "nodata": style.nodata,
        "tiled": True,
        "blockxsize": TILE,
        "blockysize": TILE,
        "compress": "DEFLATE",
        "zlevel": 1,
        "bigtiff": "IF_SAFER",
    }
    with without_georeference():
        file = rasterio.open(path, "w", **profile)
    with file:
        if style.colours is not None:
            file.write_colormap(1, {v: (*map(int, rgb), 255) for v, rgb in enumerate(style.colours)})
        if style.scale is not None:
            file.scales = (style.scale,)
        file.set_band_description(1, style.description)
        for top in range(0, grid.height, rows):
            for left in range(0, grid.width, rows):
                height, width = min(rows, grid.height - top), min(rows, grid.width - left)
                window = ((top, top + height), (left, left + width))
                file.write(read(top, left, height, width), 1, window=window)


def _write_names(path: Path, names: dict[int, str], colours: np.ndarray | None) -> None:
    """GDAL's side file: category names by position, and a table of value, name and colour."""
    root = Xml.Element("PAMDataset")
    band = Xml.SubElement(root, "PAMRasterBand", band="1")
    categories = Xml.SubElement(band, "CategoryNames")
    for value in range(max(names) + 1):
        Xml.SubElement(categories, "Category").text = names.get(value, "")
    table = Xml.SubElement(band, "GDALRasterAttributeTable", tableType="thematic")
    # Type 0 is a whole number, 2 a text; usages 5, 2, 6, 7, 8: the value, its name, red, green, blue.
    columns: list[tuple[str, int, int]] = [("Value", 0, 5), ("Name", 2, 2)]
    columns += [("Red", 0, 6), ("Green", 0, 7), ("Blue", 0, 8)] if colours is not None else []
    for number, (name, kind, usage) in enumerate(columns):
        field = Xml.SubElement(table, "FieldDefn", index=str(number))
        for tag, text in (("Name", name), ("Type", kind), ("Usage", usage)):
            Xml.SubElement(field, tag).text = str(text)
    for number, (value, name) in enumerate(sorted(names.items())):
        row = Xml.SubElement(table, "Row", index=str(number))
        rgb: Sequence[int] = colours[value].tolist() if colours is not None else []
        for cell in (value, name, *rgb):
            Xml.SubElement(row, "F").text = str(cell)
    Xml.indent(root)
    with replacing(path) as draft:
        draft.write_text(Xml.tostring(root, encoding="unicode") + "\n", encoding="utf-8")


# Colours, names and values without data of the maps of a scene.

CONFIDENCE = Style(
    nodata=0, scale=1 / 255, description="probability of the classes of all dates, by the model's own opinion"
)


def score_style(target: str) -> Style:
    """The score of a target, 0 to 255 for 0 to 1."""
    return Style(nodata=0, scale=1 / 255, description=f"probability that ground became {target}")


def class_style(labels: LabelSpace) -> Style:
    """A class map in WUSU's codes. Merged classes stand under their first member's code."""
    colours = np.full((256, 3), 255, dtype=np.uint8)
    names = {}
    for index in (0, *labels.annotated().scored):
        code = legend.CODES[index]
        colours[code] = _rgb(labels.colours[index])
        names[code] = labels.names[index]
    return Style(0, colours, names, description="land cover")


def change_style(labels: LabelSpace) -> Style:
    """A from-to map in the labels of ``transitions``; transitions of merged classes by their names."""
    kept, named = labels.annotated().scored, labels.names
    names = {transitions.UNCHANGED: transitions.UNCHANGED_NAME, transitions.UNLABELLED: legend.UNLABELLED}
    for first in kept:
        for second in kept:
            if first != second:
                names[int(transitions.LABEL[first, second])] = f"{named[first]} to {named[second]}"
    return Style(transitions.UNLABELLED, transitions.colour_table(labels), names, description="change")


def _rgb(colour: str) -> list[int]:
    return [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
