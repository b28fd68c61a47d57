"""A from-to raster traced into polygons on the pixel grid, in bounded memory.

The raster is traced as a whole, so that no polygon is cut at a block's edge, but it is never held as a
whole: the labels that are asked for go to a temporary file in strips, and GDAL reads that file line by line.
Memory is that of the polygons. Outlines follow the edges of the pixels and have a vertex at each corner of a
pixel, which makes the outlines of neighbours equal vertex by vertex: only then can they be simplified
together.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from wusu_lib.scenes.rasters import opened

STRIP = 512  # rows held at a time


def trace(fromto: Path, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Polygons [N] (shapely, in pixel coordinates: column, row) and their labels uint8 [N].

    ``wanted``: [256], non-zero for the labels of the raster to trace. Pixels that share an edge are
    connected. Raises ValueError for a raster that is not one band of uint8.
    """
    import rasterio
    import shapely
    from rasterio.features import shapes
    from rasterio.transform import IDENTITY
    from shapely.geometry import shape

    with opened(fromto) as source, TemporaryDirectory() as scratch:
        _check(source)
        kept = Path(scratch) / "wanted.tif"
        _keep(source, wanted, kept)
        with opened(kept) as file:
            band = rasterio.band(file, 1)
            found = [
                (shape(s), int(v)) for s, v in shapes(band, mask=band, connectivity=4, transform=IDENTITY)
            ]
    traced = np.array([polygon for polygon, _ in found], dtype=object)
    labels = np.array([label for _, label in found], dtype=np.uint8)
    return shapely.transform(shapely.segmentize(traced, 1.0), np.rint), labels


def mean_values(raster: Path, traced: np.ndarray) -> np.ndarray:
    """Mean of a one-band raster over each polygon [N] in pixel coordinates, float64 [N]."""
    import shapely
    from rasterio.features import rasterize
    from rasterio.transform import Affine

    total, count = np.zeros((2, len(traced) + 1))
    bounds = shapely.bounds(traced).reshape(-1, 4)
    with opened(raster) as source:
        for top, window in _strips(source):
            inside = np.flatnonzero((bounds[:, 1] < top + window.height) & (bounds[:, 3] > top))
            if not inside.size:
                continue
            numbers = rasterize(
                ((traced[i], i + 1) for i in inside.tolist()),
                out_shape=(window.height, window.width),
                transform=Affine.translation(0, top),
                dtype="int32",
            )
            here = numbers > 0
            values = source.read(1, window=window)[here]
            total += np.bincount(numbers[here], weights=values, minlength=len(total))
            count += np.bincount(numbers[here], minlength=len(count))
    return np.divide(total[1:], count[1:], out=np.full(len(traced), np.nan), where=count[1:] > 0)


def _check(source: Any) -> None:
    if source.count != 1 or source.dtypes[0] != "uint8":
        raise ValueError(
            f"{source.name}: expected a from-to raster of one uint8 band, got {source.count} band(s) of "
            f"{source.dtypes[0]}"
        )


def _keep(source: Any, wanted: np.ndarray, path: Path) -> None:
    """Copy a raster to ``path`` with the labels that are not wanted set to 0, and without a georeference."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    table = np.where(wanted > 0, np.arange(256), 0).astype(np.uint8)
    shape = {"count": 1, "width": source.width, "height": source.height}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # pixel coordinates are what is wanted
        with rasterio.open(path, "w", driver="GTiff", dtype="uint8", compress="lzw", **shape) as file:
            for _, window in _strips(source):
                file.write(table[source.read(1, window=window)], 1, window=window)


def _strips(source: Any) -> Iterator[tuple[int, Any]]:
    """First row and window of each strip of a raster."""
    from rasterio.windows import Window

    for top in range(0, source.height, STRIP):
        yield top, Window(0, top, source.width, min(STRIP, source.height - top))
