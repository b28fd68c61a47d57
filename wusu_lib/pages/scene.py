"""A whole scene shown: its maps, what changed on it, and what the notebook ``map_change`` says of it."""

import html
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from pandas.io.formats.style import Styler

from wusu_lib import legend, transitions
from wusu_lib.change.finding import OVERLAPS
from wusu_lib.imagery import BAND_NAMES, class_image, shrink, swatches
from wusu_lib.pages import style
from wusu_lib.pages.style import (
    MISSING,
    QUIET,
    SMALL,
    WIDTH,
    Sentence,
    captioned,
    counted,
    legend_below,
    listed,
    open_figure,
    styled,
    styled_table,
)
from wusu_lib.scenes.maps import SceneMaps
from wusu_lib.scenes.rasters import opened
from wusu_lib.scenes.tool import Task, Written, judge_objects, judge_targets
from wusu_lib.scenes.viewer.page import reduced
from wusu_lib.training.progress import lasting
from wusu_lib.transitions import from_to

if TYPE_CHECKING:
    import geopandas


# A whole scene: both dates, their class maps, and what changed, all on one extent.

SIDE = 600  # pixels of the longer side of a class map at most


@styled
def scene_maps_figure(task: Any, maps: Any) -> Figure:
    """Two rows of two panels: the images of both dates with one stretch, and the class maps below.

    ``task`` and ``maps``: of ``tool``. Axes in metres from the upper left corner, or in pixels where
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
        _show(axes, class_image(index, task.predictor.labels), task)
    for axes in grid.flat:
        axes.label_outer()
    present = [i for i in np.unique(np.stack(classes)).tolist() if i]
    legend_below(figure, swatches(present, task.predictor.labels))
    return captioned(
        figure,
        "dates",
        "Both dates in natural colour with the same stretch, and the classes that the model sees in them.",
        "Two satellite images of one place at two dates above two maps of their land cover.",
    )


@styled
def scene_changes_figure(task: Any, changes: "geopandas.GeoDataFrame") -> Figure:
    """The changes in the colour of what is there now, over the second date in grey, on the same extent."""
    picture = _pictures(task)[1]
    grey = np.repeat((250 - 0.45 * (255 - picture.mean(axis=-1, keepdims=True))).astype(np.uint8), 3, axis=-1)
    height, width = picture.shape[:2]
    figure = open_figure(min(9.0, 5.6 * height / width + 1.2))
    axes = figure.subplots()
    _show(axes, grey, task)
    labels = task.predictor.labels
    colours = dict(zip(labels.names, labels.colours, strict=True))
    patches = [PathPatch(_path(polygon, task)) for polygon in changes.geometry]
    faces = [colours[name] for name in changes["to"]]
    axes.add_collection(PatchCollection(patches, facecolor=faces, edgecolor="#1a1a1a", linewidth=0.4))
    axes.set_title(f"New since {task.dates[0]}, seen in {task.dates[1]}")
    names = list(labels.names)
    legend_below(figure, swatches({names.index(name) for name in changes["to"]}, labels))
    return captioned(
        figure,
        "changes",
        "The changes asked for, in the colour of what is there at the second date, over that date's image "
        "in grey. The extent is that of the maps above.",
        "Map of polygons of the changes asked for over a grey satellite image.",
    )


def _pictures(task: Any) -> list[np.ndarray]:
    """Both dates, RGB uint8, small enough for a figure."""
    from wusu_lib.scenes.viewer.page import pictures

    return [shrink(picture / 255, 2) for picture in pictures(task.layers)]


def _thinned(path: Any) -> np.ndarray:
    """A class map at ``SIDE`` at most, by nearest pixel."""

    with opened(path) as raster:
        step = max(1.0, max(raster.shape) / SIDE)
        return raster.read(1, out_shape=tuple(max(1, round(side / step)) for side in raster.shape))


def _unit(task: Any) -> tuple[float, float, str]:
    """Width and height of a pixel in the axes' unit, and the unit."""
    from rasterio.crs import CRS

    grid = task.layers[0].grid
    if not grid.crs or not CRS.from_wkt(grid.crs).is_projected:
        return 1.0, 1.0, "px"
    metres = CRS.from_wkt(grid.crs).linear_units_factor[1]
    a, b, _, d, e, _ = grid.transform
    return float(np.hypot(a, d)) * metres, float(np.hypot(b, e)) * metres, "m"


def _show(axes: Axes, picture: np.ndarray, task: Any) -> None:
    wide, high, unit = _unit(task)
    grid = task.layers[0].grid
    axes.imshow(picture, extent=(0, grid.width * wide, grid.height * high, 0))
    axes.set(xlabel=unit, ylabel=unit)
    axes.tick_params(labelsize=SMALL, color=QUIET)


def _path(polygon: Any, task: Any) -> Any:
    """A polygon in the scene's coordinates as a path in the axes' units."""
    wide, high, _ = _unit(task)
    grid = task.layers[0].grid
    rings = [
        grid.pixels(np.asarray(ring.coords)) * (wide, high) for ring in (polygon.exterior, *polygon.interiors)
    ]
    return Outline.make_compound_path(*(Outline(ring, closed=True) for ring in rings))


# What the notebook ``map_change`` says: computed sentences and tables.

FAR = 1.0  # standard deviations of the training images, from which on a band's mean is called different
EMBEDDED = 3e6  # bytes; a larger page is linked only
LINES = 12


def parameters_table(task: Task) -> Styler:
    """The parameters as they were understood."""
    stated = {name: MISSING if value in ("", []) else str(value) for name, value in task.parameters}
    return styled_table(pd.DataFrame({"value": stated}).rename_axis("parameter"), "task", prose=["value"])


def compared_sentence(task: Task) -> Sentence:
    """Which images, which grid, how large."""
    grid = task.layers[0].grid
    second = task.layers[1]
    how = (
        "Both images have the same pixels"
        if not second.warped and grid.crs
        else f"{task.t2.name} is resampled to the grid of {task.t1.name}"
        if second.warped
        else "Neither image has a coordinate system, so they are compared pixel by pixel"
    )
    return Sentence(
        f"`{task.t1.name}` ({task.dates[0]}) is compared with `{task.t2.name}` ({task.dates[1]}) on "
        f"{grid.height:,} x {grid.width:,} pixels. {how}."
    )


def work_sentence(task: Task) -> Sentence:
    """How many windows, how much disk and about how long, before any of it is done."""
    work, grid = task.work(), task.layers[0].grid
    disk = f"{work.disk / 1e9:,.1f} GB" if work.disk >= 1e9 else f"{work.disk / 1e6:,.1f} MB"
    needed = (
        f"{grid.height:,} x {grid.width:,} pixels at two dates are {work.windows:,} windows of {work.side} x "
        f"{work.side} pixels. Up to {disk} are written to `{task.out}` on the way."
    )
    if work.pace is None:
        return Sentence(
            f"{needed} No time is foretold: the windows are few, or the middle of the scene holds no data."
        )
    took = work.measured * work.pace
    shown = f"{took:.2f} s" if took < 10 else lasting(took)
    where = "one worker like this machine" if task.parameters.engine == "ray" else "this machine"
    return Sentence(
        f"{needed} On {where} all windows take about {lasting(work.pace * work.windows)}: "
        f"{work.measured} of them, in the middle of the scene, took {shown} just now. "
        "That holds while the machine is as busy as it was then; maps, polygons and the page come on "
        "top, and what is stored already is not computed again."
    )


def radiometry_sentence(task: Task) -> Sentence:
    """Whether the scene is as bright as what the model learnt from; a warning where it is not."""
    mean, std = (255 * np.asarray(v) for v in (task.predictor.mean, task.predictor.std))
    far = []
    for date, layer in zip(task.dates, task.layers, strict=True):
        counts, valid = reduced(layer)
        if not valid.any():
            return Sentence(f"**Warning.** The image of {date} holds no data.")
        shift = (counts[:, valid].mean(axis=1) - mean) / std
        far += [
            f"{band.lower()} in {date} ({size:+.1f})"
            for band, size in zip(BAND_NAMES, shift, strict=True)
            if abs(size) > FAR
        ]
    brought = (
        " Each image is brought to the mean and deviation of the training images, band by band, so another "
        "exposure matters little. A scene of one cover, all forest or all water, is distorted by it: there "
        'use `radiometry="training"`.'
        if task.parameters.radiometry == "scene"
        else ""
    )
    if not far:
        return Sentence(
            "The mean of each band is within one standard deviation of the training images at both dates."
            + brought
        )
    return Sentence(
        f"**Warning.** The scene looks unlike the images that the model learnt from. Off by more than one "
        f"standard deviation of the training images: {listed(far)}. Expect more errors than the model made "
        f"there.{brought}"
    )


def pixel_area(maps: SceneMaps) -> float:
    """Square metres of the scene's middle pixel; 1 where the scene has no coordinate system."""
    from wusu_lib.scenes.polygons import middle_pixel, square_metres

    with opened(maps.fromto) as grid:
        return float(square_metres(middle_pixel(grid), grid, 1.0)[0][0])


def areas_table(task: Task, maps: SceneMaps) -> Styler:
    """The largest transitions of the whole scene in hectares, whatever their size and class."""
    pixels = {int(label): count for label, count in maps.record["pixels"].items()}
    known = sum(count for label, count in pixels.items() if label != transitions.UNLABELLED)
    names, size = task.predictor.labels.names, pixel_area(maps) / 1e4
    changed = [(label, n) for label, n in pixels.items() if 0 < label < transitions.N_LABELS]
    ordered = sorted(changed, key=lambda pair: -pair[1])
    rows = [
        (names[transitions.FIRST[label]], names[transitions.SECOND[label]], n * size, n / known)
        for label, n in ordered[:LINES]
    ]
    rest = sum(n for _, n in ordered[LINES:])
    rows += [("all others", "", rest * size, rest / known)] if rest else []
    rows += [("unchanged", "", pixels.get(0, 0) * size, pixels.get(0, 0) / max(known, 1))]
    frame = pd.DataFrame(rows, columns=["from", "to", "ha", "share"])
    return styled_table(frame, "areas", index=False).format({"ha": "{:,.2f}", "share": "{:.1%}"})


def found_sentence(task: Task, changes: "geopandas.GeoDataFrame") -> Sentence:
    """How many changes of the kind and size asked for there are, or that there are none."""
    stated = task.parameters
    wanted = listed([name.lower() for name in stated.targets], "or") or "any class"
    limits = f"to {wanted} of at least {stated.minimum_area:g} m²"
    note = changes.attrs["area"]
    if changes.empty:
        return Sentence(
            f"No change {limits} was found between {listed(task.dates)}. "
            f"The files below are valid and empty. {note}"
        )
    hectares = changes["area_m2"].sum() / 1e4
    places = counted(changes["object"].nunique(), "place")
    return Sentence(
        f"{counted(len(changes), 'polygon')} in {places} changed {limits}: {hectares:,.2f} ha in all. "
        f"{note} Areas are those of the pixels; the outlines are simplified."
    )


def largest_table(changes: "geopandas.GeoDataFrame", most: int = 10) -> Styler:
    """The largest places that changed, one row each: polygons that touch and have the same target."""
    columns = ["place", "target", "from", "to", "m²", "confidence"]
    weighted = changes.assign(weight=changes["area_m2"] * changes["confidence"])
    rows = [
        (
            number,
            part["target"].iloc[0],
            ", ".join(dict.fromkeys(part["from"])),
            ", ".join(dict.fromkeys(part["to"])),
            part["area_m2"].sum(),
            part["weight"].sum() / part["area_m2"].sum(),
        )
        for number, part in list(weighted.groupby("object"))[:most]
    ]
    frame = pd.DataFrame(rows or [("–", "no change was found", "", "", np.nan, np.nan)], columns=columns)
    style = styled_table(frame, "largest", index=False, prose=["from", "to"])
    return style.format({"m²": "{:,.0f}", "confidence": "{:.2f}"}, na_rep=MISSING)


def truth_sentence(task: Task, changes: "geopandas.GeoDataFrame") -> Sentence:
    """How many of the true changes were found, for the mini city; of other scenes nobody knows."""
    if task.classes is None:
        return Sentence("Nobody annotated this scene, so how many of these changes are true is not known.")
    stated, labels = task.parameters, task.predictor.labels
    known = "This part of the mini city was not trained on, and its truth is known."
    if task.finder is not None:
        held = judge_objects(task.classes, changes, stated.targets, stated.minimum_area, labels)
        words = [
            f"{name.lower()}: {row['right']} of {row['true']} true ones found, {row['right']} of "
            f"{row['reported']} reported ones right"
            for name, row in held.iterrows()
        ]
        return Sentence(
            f"{known} New {'; new '.join(words)}. An object is right where it and a true one share "
            f"{OVERLAPS[0]:.0%} of what they cover together, each true one counted once. What may have stood "
            "there before, hidden behind a leaning house, is not judged."
        )
    judged = judge_targets(from_to(*task.classes), changes, stated.targets, stated.minimum_area, labels)
    words = [
        f"{name.lower()}: {row['found']} of {row['true']} true ones found, {row['right']} of "
        f"{row['reported']} reported ones right"
        for name, row in judged.iterrows()
    ]
    return Sentence(
        f"{known} New {'; new '.join(words)}. "
        "An area counts as found, or as right, if half of its pixels are. Areas without annotation are not "
        "judged."
    )


def finder_sentence(task: Task) -> Sentence:
    """How objects are found, and how well on known ground; or that maps are compared as they are."""
    if task.finder is None:
        return Sentence(
            "The two class maps are compared pixel by pixel, so whatever either has wrong is a change. "
            '`decode="objects"` finds objects instead, with a precision that was measured.'
        )
    return Sentence(
        f"{task.finder.sentence()} The rules were chosen on validation ground, so that at least "
        f"{task.finder.minimum_precision:.0%} of the objects reported there are right."
    )


def files_table(task: Task, maps: SceneMaps, written: Written) -> Styler:
    """What was written, with sizes; paths as seen from the working directory."""
    listed_files = {
        written.page.path: "page to look at the changes with",
        written.polygons.geopackage: "polygons in the scene's coordinates",
        written.polygons.geojson: "polygons in longitude and latitude",
        maps.fromto: "from-to map",
        maps.t1: f"classes in {task.dates[0]}",
        maps.t2: f"classes in {task.dates[1]}",
        maps.confidence: "confidence",
    } | {
        maps.score(name): f"probability that ground became {name}"
        for name in (task.finder.asked.targets if task.finder else ())
    }
    rows = [
        (path, what, path.stat().st_size / 1e6) for path, what in listed_files.items() if path is not None
    ]
    frame = pd.DataFrame(rows, columns=["file", "what", "MB"])
    return styled_table(frame, "files", index=False, prose=["file", "what"]).format(
        {"MB": "{:.2f}", "file": _link}
    )


def _link(path: Path) -> str:
    """A link where the file lies below the working directory, where the report stands too; else its path."""
    relative = os.path.relpath(path)
    text = style.shown(relative)
    if relative.startswith(".."):
        return text
    return f'<a href="{quote(os.fsencode(relative))}">{text}</a>'


def notes_sentence(written: Written) -> Sentence:
    """What the files cannot hold, and how far the page is reduced."""
    factor = written.page.reduction
    reduction = f"The page shows every {factor} x {factor} pixels as one." if factor > 1 else ""
    whole = "The page shows every pixel of the scene." if factor == 1 else ""
    return Sentence(" ".join(filter(None, [written.polygons.note, reduction, whole])))


def embedded(written: Written) -> Any:
    """The page inside the report, unless it is large: then only its link."""
    page = written.page
    if page.path.stat().st_size > EMBEDDED:
        return HTML(f"<p>The page is too large to stand in this report: {_link(page.path)}</p>")
    content = html.escape(page.path.read_text(encoding="utf-8"))
    return HTML(
        f'<div><iframe srcdoc="{content}" title="Map of the changes" loading="lazy" sandbox="allow-scripts" '
        'style="width: 100%; height: 760px; border: 0"></iframe></div>'
    )
