"""Maps as cloud-optimised GeoTIFFs, with colours, names and nodata, written in bounded memory.

Names of values are no part of a TIFF: they stand beside it in GDAL's .aux.xml, as a raster attribute table,
which GIS programs use for their legends, and as category names.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as Xml

import numpy as np

from wusu_lib.scenes.grids import Grid
from wusu_lib.scenes.rasters import CACHE_MB, without_georeference

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

    plain = path.with_name(f".{path.name}.plain.tif")
    whole = path.with_name(f".{path.name}.whole.tif")
    with rasterio.Env(GDAL_CACHEMAX=CACHE_MB, GDAL_PAM_ENABLED="NO"):
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
    plain.unlink()
    if style.names is not None:
        _write_names(path.with_name(f"{path.name}.aux.xml"), style.names, style.colours)
    os.replace(whole, path)


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
    path.write_text(Xml.tostring(root, encoding="unicode") + "\n")
