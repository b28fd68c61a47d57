"""Change polygons as files: a GeoPackage in the scene's CRS and a GeoJSON in WGS 84 (RFC 7946)."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from wusu_lib.scenes.out_folder import writable

if TYPE_CHECKING:
    import geopandas

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
    gives valid files without features. Each file appears whole or not at all. Raises ValueError if the folder
    cannot be written to.
    """
    target = writable(folder)
    with TemporaryDirectory(dir=target, prefix=".") as scratch:
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
