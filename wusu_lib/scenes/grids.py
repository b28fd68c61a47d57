"""Grids of pixels on the ground, and how two of them lie to each other."""

from dataclasses import dataclass

import numpy as np

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
