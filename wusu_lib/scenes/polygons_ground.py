"""Where and how large polygons of pixels are on the ground: the grid's coordinates and square metres."""

from typing import Any

import numpy as np

DISTORTION = (
    0.01  # a grid whose areas are off by more (Web Mercator's are by a third in Wuhan) is not measured in
)


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
