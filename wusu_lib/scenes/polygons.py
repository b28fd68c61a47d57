"""From-to raster -> polygons of the changes that were asked for, and their files.

One row each, with area and confidence; traced on the pixel grid, from-to rasters in bounded memory, objects
with the whole scene in memory; measured on the ground, written as a GeoPackage and a GeoJSON.
"""

import difflib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from wusu_lib import legend
from wusu_lib.change.finding import Rule, Targets, drawn
from wusu_lib.files import DRAFT, claim, faults_told, recorded
from wusu_lib.imagery import without_georeference
from wusu_lib.legend import ELEVEN, LabelSpace
from wusu_lib.scenes.maps import KIND, OUTPUTS, SceneMaps
from wusu_lib.scenes.rasters import opened, values
from wusu_lib.transitions import FIRST, N_LABELS, SECOND

if TYPE_CHECKING:
    import geopandas


# Which changes are asked for: names of classes -> the labels of a from-to map.


def target_members(labels: LabelSpace = ELEVEN) -> dict[str, tuple[int, ...]]:
    """Class indices behind each name that can be a target: the classes of the legend and the merged ones."""
    known = {labels.names[index]: (index,) for index in labels.annotated().scored}
    return known | {merged.name: merged.members for merged in legend.MERGED}


def resolve_targets(targets: Sequence[str], labels: LabelSpace = ELEVEN) -> dict[str, tuple[int, ...]]:
    """The targets by their proper names with their class indices; all classes of the legend for none.

    Case does not matter. "Building" and "Water" stand for both buildings and both waters. Raises ValueError
    for an unknown name, listing the known ones, and for a class that is asked for twice.
    """
    known = target_members(labels)
    by_case = {name.lower(): name for name in known}
    chosen: dict[str, tuple[int, ...]] = {}
    for given in targets or labels.annotated().class_names:
        name = by_case.get(str(given).strip().lower())
        if name is None:
            close = difflib.get_close_matches(str(given).strip().lower(), by_case, n=1)
            hint = f"; did you mean {by_case[close[0]]}?" if close else ""
            raise ValueError(f"targets: got {given!r}; known: {', '.join(known)}{hint}")
        double = [other for other, indices in chosen.items() if set(indices) & set(known[name])]
        if double:
            raise ValueError(f"targets: {name} and {double[0]} share a class; name one of them")
        chosen[name] = known[name]
    return chosen


def label_targets(chosen: dict[str, tuple[int, ...]]) -> np.ndarray:
    """Target of each from-to label: uint8 [256], the position in ``chosen`` from 1; 0 where none.

    A label belongs to the target of its class at the second date. A change inside a target (from a low
    building to a high one, with "Building") is no change to it.
    """
    table = np.zeros(256, dtype=np.uint8)
    for label in range(1, N_LABELS):
        for number, indices in enumerate(chosen.values(), start=1):
            if SECOND[label] in indices and FIRST[label] not in indices:
                table[label] = number
    return table


# A from-to raster traced into polygons on the pixel grid, in bounded memory.
#
# The raster is traced as a whole, so that no polygon is cut at a block's edge, but it is never held as a
# whole: the labels that are asked for go to a temporary file in strips, and GDAL reads that file line by
# line. Memory is that of the polygons. Outlines follow the edges of the pixels and have a vertex at each
# corner of a pixel, which makes the outlines of neighbours equal vertex by vertex: only then can they be
# simplified together.

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
        _check_polygons_trace(source)
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


def _check_polygons_trace(source: Any) -> None:
    if source.count != 1 or source.dtypes[0] != "uint8":
        raise ValueError(
            f"{source.name}: expected a from-to raster of one uint8 band, got {source.count} band(s) of "
            f"{source.dtypes[0]}"
        )


def _keep(source: Any, wanted: np.ndarray, path: Path) -> None:
    """Copy a raster to ``path`` with the labels that are not wanted set to 0, and without a georeference."""
    import rasterio

    table = np.where(wanted > 0, np.arange(256), 0).astype(np.uint8)
    shape = {"count": 1, "width": source.width, "height": source.height}
    with without_georeference():  # pixel coordinates are what is wanted
        file = rasterio.open(path, "w", driver="GTiff", dtype="uint8", compress="lzw", **shape)
    with file:
        for _, window in _strips(source):
            file.write(table[source.read(1, window=window)], 1, window=window)


def _strips(source: Any) -> Iterator[tuple[int, Any]]:
    """First row and window of each strip of a raster."""
    from rasterio.windows import Window

    for top in range(0, source.height, STRIP):
        yield top, Window(0, top, source.width, min(STRIP, source.height - top))


# Where and how large polygons of pixels are on the ground: the grid's coordinates and square metres.

DISTORTION = 0.01  # a grid whose areas are off by more (Web Mercator's: by a third) is not measured in


def placed(polygons: np.ndarray, grid: Any) -> np.ndarray:
    """Polygons in pixel coordinates (column, row) -> in the coordinates of an open raster's grid."""
    import shapely

    t = grid.transform
    matrix = np.array([[t.a, t.d], [t.b, t.e]])
    return shapely.transform(polygons, lambda xy: xy @ matrix + (t.c, t.f))


def square_metres(polygons: np.ndarray, grid: Any, pixel: float) -> tuple[np.ndarray, str]:
    """Area of polygons in pixel coordinates, float64 [N], and a sentence that says how it was measured.

    In the grid's own CRS where that is metric and true to area within 1 %, else in an equal-area projection
    centred on the raster. Without a CRS a pixel is taken for a square of ``pixel`` metres a side.
    """
    import shapely

    counted = shapely.area(polygons)  # in pixels
    if grid.crs is None:
        return counted * pixel**2, (
            f"The scene has no coordinate system, so areas assume pixels of {pixel:g} m a side."
        )
    name = grid.crs.to_string() if len(grid.crs.to_string()) < 30 else "the scene's projection"
    if grid.crs.is_projected:
        own = abs(grid.transform.determinant) * grid.crs.linear_units_factor[1] ** 2
        if abs(own / _equal_area(middle_pixel(grid), grid)[0] - 1) <= DISTORTION:
            return counted * own, f"Areas are measured in the scene's own grid ({name})."
    return _equal_area(polygons, grid), (
        f"Areas are measured in an equal-area projection, since {name} is not true to area in metres."
    )


def middle_pixel(grid: Any) -> np.ndarray:
    """The pixel in the middle of an open raster as a polygon [1] in pixel coordinates."""
    import shapely

    column, row = grid.width / 2, grid.height / 2
    return np.array([shapely.box(column - 0.5, row - 0.5, column + 0.5, row + 0.5)])


def _equal_area(polygons: np.ndarray, grid: Any) -> np.ndarray:
    """Areas in Lambert's azimuthal equal-area projection centred on the raster."""
    import geopandas

    centre = geopandas.GeoSeries(placed(middle_pixel(grid), grid), crs=grid.crs).to_crs(4326)[0].centroid
    local = f"+proj=laea +lat_0={centre.y} +lon_0={centre.x} +datum=WGS84 +units=m"
    return geopandas.GeoSeries(placed(polygons, grid), crs=grid.crs).to_crs(local).area.to_numpy()


# From-to raster -> polygons of the changes that were asked for, one row each, with area and confidence.

COLUMNS = ("target", "from", "to", "area_m2", "confidence", "object", "object_m2", "date1", "date2")
FULL = 255  # value of the confidence raster that stands for a probability of 1


def polygons(
    fromto: str | Path,
    confidence: str | Path,
    targets: Sequence[str] = (),
    minimum_area: float = 0.0,
    dates: tuple[str, str] = ("t1", "t2"),
    *,
    labels: LabelSpace = ELEVEN,
    tolerance: float = 1.0,
    pixel: float = 1.0,
) -> "geopandas.GeoDataFrame":
    """Changes to the ``targets`` as polygons in the CRS of the from-to raster, the largest objects first.

    ``fromto``: GeoTIFF of ``transitions`` labels (uint8, 0 unchanged, 255 unlabelled). ``confidence``:
    uint8 GeoTIFF on the same grid, probability x 255. ``targets``: classes at the second date, see
    ``resolve_targets``; none = all.

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
    chosen = resolve_targets(targets, labels)
    _check_polygons(Path(fromto), Path(confidence), minimum_area, tolerance)
    table = label_targets(chosen)
    traced, change = trace(Path(fromto), table)
    objects = _objects(traced, table[change])
    with opened(fromto) as grid:
        areas, note = square_metres(traced, grid, pixel)
        whole = np.bincount(objects, weights=areas)[objects].astype(float)
        kept = np.flatnonzero(whole >= minimum_area)
        kept = kept[np.lexsort((-areas[kept], objects[kept], -whole[kept]))]
        names = np.array(labels.names)
        columns = {
            "target": np.array(["", *chosen])[table[change[kept]]],
            "from": names[FIRST[change[kept]]],
            "to": names[SECOND[change[kept]]],
            "area_m2": np.round(areas[kept], 2),
            "confidence": np.round(mean_values(Path(confidence), traced[kept]) / FULL, 4),
            "object": _numbered(objects[kept]),
            "object_m2": np.round(whole[kept], 2),
        }
        return _frame(columns, placed(_simplified(traced[kept], tolerance), grid), dates, grid.crs, note)


def object_polygons(
    maps: SceneMaps,
    targets: Targets,
    rules: Mapping[str, Rule],
    minimum_area: float = 0.0,
    dates: tuple[str, str] = ("t1", "t2"),
    *,
    labels: LabelSpace = ELEVEN,
    tolerance: float = 1.0,
    pixel: float = 1.0,
) -> "geopandas.GeoDataFrame":
    """What is new by the scores of ``targets``, drawn by their rules; columns and errors as of ``polygons``.

    An object is one row, or one for each of its parts that touch at a corner only. ``from`` is the commonest
    class of the object at the first date that is not the target, perhaps "Unlabelled"; ``to`` the commonest
    of the target's at the second. ``confidence`` is that of the rule. Where two targets claim a pixel, the
    higher score has it. The whole scene is held in memory: about 25 bytes a pixel for three targets.
    """
    _require_not_negative(minimum_area=minimum_area, tolerance=tolerance)
    numbers, sure = _reported(maps, targets, rules)
    before, after = (legend.index_from_code(values(path)) for path in (maps.t1, maps.t2))
    rows: dict[str, list[Any]] = {"target": [], "from": [], "to": [], "confidence": [], "object": []}
    traced: list[Any] = []
    for (name, indices), number, confidence in zip(targets.items(), numbers, sure, strict=True):
        shapes, mine = _outlines(number)
        first, second = _commonest(number, before, indices, False), _commonest(number, after, indices, True)
        traced += shapes
        rows["object"] += (mine + (max(rows["object"], default=-1) + 1)).tolist()
        rows["target"] += [name] * len(mine)
        for column, values_of in (("from", first), ("to", second)):
            rows[column] += [labels.names[index] for index in values_of[mine]]
        rows["confidence"] += np.round(confidence[mine], 4).tolist()
    outlines, objects = np.array(traced, dtype=object), np.array(rows["object"], dtype=int)
    with opened(maps.t2) as grid:
        areas, note = square_metres(outlines, grid, pixel)
        whole = np.bincount(objects, weights=areas)[objects].astype(float)
        kept = np.flatnonzero(whole >= minimum_area)
        kept = kept[np.lexsort((-areas[kept], objects[kept], -whole[kept]))]
        columns = {name: np.array(column, dtype=object)[kept] for name, column in rows.items()} | {
            "confidence": np.array(rows["confidence"], dtype=float)[kept],
            "object": _numbered(objects[kept]),
            "area_m2": np.round(areas[kept], 2),
            "object_m2": np.round(whole[kept], 2),
        }
        placed_outlines = placed(_simplified(outlines[kept], tolerance), grid)
        return _frame(columns, placed_outlines, dates, grid.crs, note)


def _reported(
    maps: SceneMaps, targets: Targets, rules: Mapping[str, Rule]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Numbers of the reported objects int32 [targets, H, W], and the confidence of each target's objects."""
    scores = np.stack([values(maps.score(name)) for name in targets])
    numbers, sure = np.zeros(scores.shape, dtype=np.int32), []
    for name, score, number in zip(targets, scores, numbers, strict=True):
        found, rows = drawn(score, rules[name])
        confidence = rules[name].confidence(rows)
        number[:] = np.where(np.concatenate([[False], confidence >= rules[name].least])[found], found, 0)
        sure.append(np.concatenate([[0.0], confidence]))
    winner = np.where(numbers > 0, scores, 0).argmax(axis=0)
    for place, number in enumerate(numbers):
        number[winner != place] = 0
    return numbers, sure


def _outlines(number: np.ndarray) -> tuple[list[Any], np.ndarray]:
    """Polygons in pixel coordinates, with a vertex at each corner of a pixel, and the number of each."""
    import shapely
    from rasterio.features import shapes
    from rasterio.transform import IDENTITY
    from shapely.geometry import shape

    found = list(shapes(number, mask=number > 0, connectivity=4, transform=IDENTITY))
    polygons = shapely.segmentize(np.array([shape(s) for s, _ in found], dtype=object), 1.0)
    return list(shapely.transform(polygons, np.rint)), np.array([int(v) for _, v in found], dtype=int)


def _commonest(number: np.ndarray, index: np.ndarray, indices: Sequence[int], inside: bool) -> np.ndarray:
    """The commonest class of each numbered object, int [N + 1]: of ``indices``, or of all others."""
    where = number > 0
    counted = np.bincount(
        number[where].astype(np.int64) * legend.N_INDEX + index[where],
        minlength=(int(number.max(initial=0)) + 1) * legend.N_INDEX,
    ).reshape(-1, legend.N_INDEX)
    allowed = np.isin(np.arange(legend.N_INDEX), list(indices)) == inside
    return np.where(allowed, counted, -1).argmax(axis=1)


def _check_polygons(fromto: Path, confidence: Path, minimum_area: float, tolerance: float) -> None:
    _require_not_negative(minimum_area=minimum_area, tolerance=tolerance)
    with opened(fromto, "fromto") as a, opened(confidence, "confidence") as b:
        if a.shape != b.shape:
            raise ValueError(
                f"{confidence} has {b.shape} rows and columns, but {fromto} {a.shape}; expected one grid"
            )


def _require_not_negative(**stated: float) -> None:
    for name, value in stated.items():
        if not value >= 0:
            raise ValueError(f"{name}: got {value}; expected 0 or more")


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


# Change polygons as files: a GeoPackage in the scene's CRS and a GeoJSON in WGS 84 (RFC 7946).

NAME = "changes"  # of both files and of the layer


@dataclass(frozen=True)
class PolygonFiles:
    """The files written; ``geojson`` is None without a CRS, and ``note`` says why."""

    geopackage: Path
    geojson: Path | None
    note: str


def write_polygons(frame: "geopandas.GeoDataFrame", folder: str | Path) -> PolygonFiles:
    """Write ``changes.gpkg`` and ``changes.geojson`` to ``folder``, which is made if need be.

    The GeoPackage has the frame's CRS; a frame without one gives an undefined CRS and pixel coordinates
    (column, row; rows count downwards). The GeoJSON has longitude and latitude with seven decimals, as RFC
    7946 wants it; without a CRS there is none, since nobody knows where the scene is. A frame without rows
    gives valid files without features. Each file appears whole or not at all, its
    hash in the folder's record. Errors as ``files.claim``.
    """
    target = claim(folder, KIND, names=OUTPUTS)
    with (
        recorded(target, [f"{NAME}.gpkg", f"{NAME}.geojson"]),
        faults_told(target),
        TemporaryDirectory(dir=target, prefix=".", suffix=DRAFT) as scratch,
    ):
        geopackage = _write(frame, Path(scratch), target, "gpkg", "GPKG", layer=NAME)
        if frame.crs is None:
            (target / f"{NAME}.geojson").unlink(missing_ok=True)  # of an earlier scene
            return PolygonFiles(
                geopackage,
                None,
                "The scene has no coordinate system: the GeoPackage holds pixel coordinates (column, row). "
                "No GeoJSON was written, since that format needs longitude and latitude.",
            )
        geographic = frame.to_crs(4326)
        geojson = _write(geographic, Path(scratch), target, "geojson", "GeoJSON", RFC7946="YES")
    return PolygonFiles(geopackage, geojson, "")


def _write(
    frame: "geopandas.GeoDataFrame", scratch: Path, folder: Path, suffix: str, driver: str, **options: Any
) -> Path:
    """Write one file beside its place and move it there."""
    name = f"{NAME}.{suffix}"
    with warnings.catch_warnings():
        # what a frame without CRS means is said in the docstring and in the note
        warnings.filterwarnings("ignore", message="'crs' was not provided")
        frame.to_file(
            scratch / name, driver=driver, engine="pyogrio", geometry_type="Polygon", index=False, **options
        )
    return (scratch / name).replace(folder / name)
