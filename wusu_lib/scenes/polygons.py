"""From-to raster -> polygons of the changes that were asked for, one row each, with area and confidence."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wusu_lib import legend
from wusu_lib.change.transitions import FIRST, SECOND
from wusu_lib.legend import Scheme
from wusu_lib.scenes import targets as target_names
from wusu_lib.scenes.polygons_ground import placed, square_metres
from wusu_lib.scenes.polygons_trace import mean_values, trace
from wusu_lib.scenes.rasters import opened

if TYPE_CHECKING:
    import geopandas

COLUMNS = ("target", "from", "to", "area_m2", "confidence", "object", "object_m2", "date1", "date2")
FULL = 255  # value of the confidence raster that stands for a probability of 1


def polygons(
    fromto: str | Path,
    confidence: str | Path,
    targets: Sequence[str] = (),
    minimum_area: float = 0.0,
    dates: tuple[str, str] = ("t1", "t2"),
    *,
    classes: Scheme = "all",
    tolerance: float = 1.0,
    pixel: float = 1.0,
) -> "geopandas.GeoDataFrame":
    """Changes to the ``targets`` as polygons in the CRS of the from-to raster, the largest objects first.

    ``fromto``: GeoTIFF of ``change.transitions`` labels (uint8, 0 unchanged, 255 unlabelled). ``confidence``:
    uint8 GeoTIFF on the same grid, probability x 255. ``targets``: classes at the second date, see
    ``targets.resolve``; none = all.

    A row is one transition: target, from, to, area_m2 (of its pixels), confidence (mean probability, 0 to 1),
    object, object_m2, date1, date2, geometry. Rows that touch and have the same target are one **object**
    (a building on what was half field, half bare ground), numbered from 1; ``minimum_area`` (m2) is asked of
    objects, so that it opens no gap inside one. ``tolerance``: outlines are simplified until triangles of
    about its square (pixels) are gone, neighbours together, so that they keep their common edges. ``pixel``:
    metres a pixel, used only without a CRS. ``attrs["area"]`` says in a sentence how areas were measured.
    Nothing found gives no rows with the same columns.

    Raises ValueError for unknown targets, negative sizes, a raster that is not one band of uint8 and
    rasters of different size; FileNotFoundError for a missing one.
    """
    chosen = target_names.resolve(targets, classes)
    _check(Path(fromto), Path(confidence), minimum_area, tolerance)
    table = target_names.label_targets(chosen)
    traced, labels = trace(Path(fromto), table)
    objects = _objects(traced, table[labels])
    with opened(fromto) as grid:
        areas, note = square_metres(traced, grid, pixel)
        whole = np.bincount(objects, weights=areas)[objects].astype(float)
        kept = np.flatnonzero(whole >= minimum_area)
        kept = kept[np.lexsort((-areas[kept], objects[kept], -whole[kept]))]
        names = np.array(legend.names(classes))
        columns = {
            "target": np.array(["", *chosen])[table[labels[kept]]],
            "from": names[FIRST[labels[kept]]],
            "to": names[SECOND[labels[kept]]],
            "area_m2": np.round(areas[kept], 2),
            "confidence": np.round(mean_values(Path(confidence), traced[kept]) / FULL, 4),
            "object": _numbered(objects[kept]),
            "object_m2": np.round(whole[kept], 2),
        }
        return _frame(columns, placed(_simplified(traced[kept], tolerance), grid), dates, grid.crs, note)


def _check(fromto: Path, confidence: Path, minimum_area: float, tolerance: float) -> None:
    for name, value in (("minimum_area", minimum_area), ("tolerance", tolerance)):
        if not value >= 0:
            raise ValueError(f"{name}: got {value}; expected 0 or more")
    with opened(fromto, "fromto") as a, opened(confidence, "confidence") as b:
        if a.shape != b.shape:
            raise ValueError(
                f"{confidence} has {b.shape} rows and columns, but {fromto} {a.shape}; expected one grid"
            )


def _objects(traced: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Number of the object of each polygon, int [N]: those of one target that share an edge or a corner."""
    import shapely
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(traced):
        return np.zeros(0, dtype=int)
    left, right = shapely.STRtree(traced).query(traced, predicate="intersects")
    same = target[left] == target[right]
    links = coo_array((np.ones(same.sum(), dtype=bool), (left[same], right[same])), shape=(len(traced),) * 2)
    return connected_components(links, directed=False)[1]


def _numbered(objects: np.ndarray) -> np.ndarray:
    """Numbers from 1 in the order in which the objects come."""
    order = {number: position for position, number in enumerate(dict.fromkeys(objects.tolist()), start=1)}
    return np.array([order[number] for number in objects.tolist()], dtype=np.int64)


def _simplified(traced: np.ndarray, tolerance: float) -> np.ndarray:
    """The polygons with simpler outlines; a common edge stays common (Visvalingam and Whyatt 1993)."""
    import shapely

    return shapely.coverage_simplify(traced, tolerance) if len(traced) else traced


def _frame(
    columns: dict[str, Any], geometry: np.ndarray, dates: tuple[str, str], crs: Any, note: str
) -> "geopandas.GeoDataFrame":
    """The table with its types, which it also has without rows."""
    import geopandas

    frame = geopandas.GeoDataFrame(columns, geometry=geopandas.GeoSeries(list(geometry)), crs=crs)
    for name in ("target", "from", "to"):
        frame[name] = frame[name].astype("str")
    for name, date in zip(("date1", "date2"), dates, strict=True):
        frame[name] = np.full(len(frame), date, dtype=object)
        frame[name] = frame[name].astype("str")
    frame.attrs["area"] = note
    return frame[[*COLUMNS, "geometry"]]
