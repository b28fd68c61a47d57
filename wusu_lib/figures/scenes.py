"""A whole scene: both dates, their class maps, and what changed, all on one extent."""

from typing import TYPE_CHECKING, Any

import numpy as np

from wusu_lib import legend
from wusu_lib.figures.captions import captioned
from wusu_lib.figures.imagery import class_image, shrink
from wusu_lib.figures.theme import QUIET, SMALL, WIDTH, open_figure, styled

if TYPE_CHECKING:
    import geopandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE = 600  # pixels of the longer side of a class map at most


@styled
def scene_maps(task: Any, maps: Any) -> "Figure":
    """Two rows of two panels: the images of both dates with one stretch, and the class maps below.

    ``task`` and ``maps``: of ``scenes.task``. Axes in metres from the upper left corner, or in pixels where
    the scene has no coordinate system.
    """
    shown = _pictures(task)
    codes = [_thinned(path) for path in (maps.t1, maps.t2)]
    classes = [legend.index_from_code(values) for values in codes]
    height, width = shown[0].shape[:2]
    figure = open_figure(min(10.5, (WIDTH - 0.9) * height / width + 1.5))
    grid = figure.subplots(2, 2, sharex=True, sharey=True)
    for axes, picture, date in zip(grid[0], shown, task.dates, strict=True):
        _show(axes, picture, task)
        axes.set_title(date)
    for axes, index in zip(grid[1], classes, strict=True):
        _show(axes, class_image(index), task)
    for axes in grid.flat:
        axes.label_outer()
    present = [i for i in np.unique(np.stack(classes)).tolist() if i]
    _legend(figure, present, task.predictor.classes)
    return captioned(
        figure,
        "dates",
        "Both dates in natural colour with the same stretch, and the classes that the model sees in them.",
        "Two satellite images of one place at two dates above two maps of their land cover.",
    )


@styled
def scene_changes(task: Any, changes: "geopandas.GeoDataFrame") -> "Figure":
    """The changes in the colour of what is there now, over the second date in grey, on the same extent."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import PathPatch

    picture = _pictures(task)[1]
    grey = np.repeat((250 - 0.45 * (255 - picture.mean(axis=-1, keepdims=True))).astype(np.uint8), 3, axis=-1)
    height, width = picture.shape[:2]
    figure = open_figure(min(9.0, 5.6 * height / width + 1.2))
    axes = figure.subplots()
    _show(axes, grey, task)
    scheme = task.predictor.classes
    colours = dict(zip(legend.names(scheme), legend.colours(scheme), strict=True))
    patches = [PathPatch(_path(polygon, task)) for polygon in changes.geometry]
    faces = [colours[name] for name in changes["to"]]
    axes.add_collection(PatchCollection(patches, facecolor=faces, edgecolor="#1a1a1a", linewidth=0.4))
    axes.set_title(f"New since {task.dates[0]}, seen in {task.dates[1]}")
    names = list(legend.names(scheme))
    _legend(figure, sorted({names.index(name) for name in changes["to"]}), scheme)
    return captioned(
        figure,
        "changes",
        "The changes asked for, in the colour of what is there at the second date, over that date's image "
        "in grey. The extent is that of the maps above.",
        "Map of polygons of the changes asked for over a grey satellite image.",
    )


def _pictures(task: Any) -> list[np.ndarray]:
    """Both dates, RGB uint8, small enough for a figure."""
    from wusu_lib.scenes.page_pictures import pictures

    return [shrink(picture / 255, 2) for picture in pictures(task.layers)]


def _thinned(path: Any) -> np.ndarray:
    """A class map at ``SIDE`` at most, by nearest pixel."""
    from wusu_lib.scenes.rasters import opened

    with opened(path) as raster:
        step = max(1.0, max(raster.shape) / SIDE)
        return raster.read(1, out_shape=tuple(round(side / step) for side in raster.shape))


def _unit(task: Any) -> tuple[float, float, str]:
    """Width and height of a pixel in the axes' unit, and the unit."""
    from rasterio.crs import CRS

    grid = task.layers[0].grid
    if not grid.crs or not CRS.from_wkt(grid.crs).is_projected:
        return 1.0, 1.0, "px"
    metres = CRS.from_wkt(grid.crs).linear_units_factor[1]
    a, b, _, d, e, _ = grid.transform
    return float(np.hypot(a, d)) * metres, float(np.hypot(b, e)) * metres, "m"


def _show(axes: "Axes", picture: np.ndarray, task: Any) -> None:
    wide, high, unit = _unit(task)
    grid = task.layers[0].grid
    axes.imshow(picture, extent=(0, grid.width * wide, grid.height * high, 0))
    axes.set(xlabel=unit, ylabel=unit)
    axes.tick_params(labelsize=SMALL, color=QUIET)


def _path(polygon: Any, task: Any) -> Any:
    """A polygon in the scene's coordinates as a path in the axes' units."""
    from matplotlib.path import Path

    wide, high, _ = _unit(task)
    grid = task.layers[0].grid
    rings = [
        grid.pixels(np.asarray(ring.coords)) * (wide, high) for ring in (polygon.exterior, *polygon.interiors)
    ]
    return Path.make_compound_path(*(Path(ring, closed=True) for ring in rings))


def _legend(figure: "Figure", indices: list[int], scheme: Any) -> None:
    from matplotlib.patches import Patch

    names, colours = legend.names(scheme), legend.colours(scheme)
    handles = [Patch(facecolor=colours[i], edgecolor=QUIET, linewidth=0.5, label=names[i]) for i in indices]
    if handles:
        figure.legend(
            handles=handles, loc="outside lower center", ncols=min(4, len(handles)), handlelength=1.2
        )
