"""One HTML file to look at the changes with: both dates under a movable border, the polygons on top.

The file holds everything that it shows, so it works without a network and can be sent by mail. The two
dates are small pictures in natural colour, brightened alike.
"""

import base64
import html
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wusu_lib.files import claim, recorded, replacing
from wusu_lib.imagery import rgb, stretch, without_georeference
from wusu_lib.legend import ELEVEN, LabelSpace
from wusu_lib.scenes.maps import KIND, OUTPUTS
from wusu_lib.scenes.rasters import Grid, Layer, Reader, pair

if TYPE_CHECKING:
    import geopandas


SIDE = 2000  # pixels of the longer side at most
QUALITY = 82  # of the JPEG
STRIP = 256  # rows of the scene held at a time, about
NO_DATA = 200  # grey of pixels without data


def reduction(height: int, width: int) -> int:
    """How many pixels of the scene, a side, become one of a picture."""
    return -(-max(height, width) // SIDE)


def pictures(layers: tuple[Layer, Layer]) -> list[np.ndarray]:
    """Both dates as RGB uint8 [h, w, 3], every ``reduction`` pixels averaged to one, with one stretch."""
    small = [reduced(layer) for layer in layers]
    known = [counts[:, valid][:, :, None] for counts, valid in small if valid.any()]
    low, high = stretch(known) if known else (np.zeros(4), np.full(4, 255.0))
    shown = [np.round(255 * rgb(counts, low, high)).astype(np.uint8) for counts, _ in small]
    for picture, (_, valid) in zip(shown, small, strict=True):
        picture[~valid] = NO_DATA
    return shown


def data_uri(picture: np.ndarray) -> str:
    """A picture uint8 [h, w, 3] as a JPEG that stands in the page itself."""
    from rasterio.io import MemoryFile

    height, width, _ = picture.shape
    shape = {"height": height, "width": width, "count": 3, "dtype": "uint8"}
    with without_georeference(), MemoryFile() as memory:  # a picture is no map
        with memory.open(driver="JPEG", QUALITY=QUALITY, **shape) as file:
            file.write(np.moveaxis(picture, -1, 0))  # [h, w, 3] -> [3, h, w]
        return "data:image/jpeg;base64," + base64.b64encode(memory.read()).decode()


def reduced(layer: Layer) -> tuple[np.ndarray, np.ndarray]:
    """Counts uint8 [4, h, w] averaged over blocks, and which blocks hold data, bool [h, w]."""
    step = reduction(layer.grid.height, layer.grid.width)
    with layer.open() as reader:
        parts = [_blocks(*strip, step) for strip in _strips(reader, layer, step)]
    counts, valid = zip(*parts, strict=True)
    return np.concatenate(counts, axis=1), np.concatenate(valid, axis=0)


def _strips(reader: Reader, layer: Layer, step: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    rows = step * max(1, STRIP // step)
    for top in range(0, layer.grid.height, rows):
        yield reader.read(top, 0, min(rows, layer.grid.height - top), layer.grid.width)


def _blocks(counts: np.ndarray, valid: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the valid pixels of each block of ``step`` x ``step`` (fewer at the right and lower edge)."""
    if step == 1:
        return counts, valid
    masked = np.where(valid, counts, 0).astype(np.uint32)  # [4, H, W]
    number = _sums(valid.astype(np.uint32), step)
    mean = _sums(masked, step) / np.maximum(number, 1)
    return np.round(mean).astype(np.uint8), number > 0


def _sums(values: np.ndarray, step: int) -> np.ndarray:
    rows, columns = (np.arange(0, side, step) for side in values.shape[-2:])
    return np.add.reduceat(np.add.reduceat(values, rows, axis=-2), columns, axis=-1)


NAME = "changes.html"
MOST = 5000  # polygons drawn; more are slow on a phone and heavy to send
TENTHS = 10  # corners are stored in tenths of a picture's pixel
HINT = "Drag the handle to compare the dates. Click a polygon to see what changed."


@dataclass(frozen=True)
class Page:
    """The file written, how many pixels of the scene became one of it (a side), and how many polygons."""

    path: Path
    reduction: int
    polygons: int


def write_page(
    t1: str | Path,
    t2: str | Path,
    changes: "geopandas.GeoDataFrame",
    folder: str | Path,
    *,
    dates: tuple[str, str] = ("t1", "t2"),
    title: str = "",
    labels: LabelSpace = ELEVEN,
) -> Page:
    """Write ``changes.html``: two images, t1 to the left of a movable border, and ``changes`` on top.

    ``t1``, ``t2``: the images, put on one grid as for the maps. ``changes``: what ``polygons`` gave for them.
    The pictures have at most 2,000 pixels a side and the same stretch; of the polygons at most the 5,000 of
    the largest objects are drawn. Both is said on the page. Errors as ``rasters.pair`` and ``files.claim``.
    """
    target = claim(folder, KIND, [t1, t2], OUTPUTS) / NAME
    layers = pair(t1, t2)
    grid = layers[0].grid
    factor = reduction(grid.height, grid.width)
    shown = pictures(layers)
    drawn = changes.iloc[:MOST]
    colours = dict(zip(labels.names, labels.colours, strict=True))
    content = {
        "size": [shown[0].shape[1], shown[0].shape[0]],
        "dates": list(dates),
        "pictures": [data_uri(picture) for picture in shown],
        "colours": {name: colours[name] for name in dict.fromkeys(changes["to"])},
        "totals": changes.groupby("to")["area_m2"].sum().sort_values(ascending=False).to_dict(),
        "polygons": _rows(drawn, grid, factor),
        "hint": HINT if len(changes) else "No change was found. Drag the handle to compare the dates.",
    }
    text = _filled(
        title=html.escape(title or f"Changes from {dates[0]} to {dates[1]}"),
        summary=html.escape(_summary(changes, dates)),
        notes=html.escape(
            " ".join(
                [
                    changes.attrs.get("measured", ""),
                    _notes(factor, len(drawn), len(changes)),
                    changes.attrs.get("area", ""),
                ]
            ).strip()
        ),
        style=_asset("page.css"),
        script=_asset("page.js"),
        data=json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
    )
    with recorded(target.parent, [NAME]), replacing(target) as draft:
        draft.write_text(text, encoding="utf-8")
    return Page(target, factor, len(drawn))


def _asset(name: str) -> str:
    return resources.files("wusu_lib.scenes.viewer").joinpath(name).read_text(encoding="utf-8").strip()


def _filled(**parts: str) -> str:
    """The page's frame with its parts, all put in at once: no text in them is taken for a place."""
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], _asset("page.html"))


def _summary(changes: "geopandas.GeoDataFrame", dates: Sequence[str]) -> str:
    if changes.empty:
        return f"No change of the kind and size asked for was found between {dates[0]} and {dates[1]}."
    hectares = changes["area_m2"].sum() / 1e4
    count, places = len(changes), changes["object"].nunique()
    return (
        f"{count:,} polygon{'s' * (count != 1)} in {places:,} place{'s' * (places != 1)}, {hectares:,.2f} ha "
        "in all. Natural colour, both dates brightened alike. Polygons and confidence are a model's."
    )


def _notes(factor: int, drawn: int, found: int) -> str:
    reduced = (
        f"The pictures are reduced: {factor} x {factor} pixels of the scene are one here."
        if factor > 1
        else "The pictures have the scene's own pixels."
    )
    if drawn == found:
        return reduced
    return f"{reduced} Of {found:,} polygons the {drawn:,} of the largest changes are drawn."


def _rows(changes: "geopandas.GeoDataFrame", grid: Grid, factor: int) -> list[dict[str, Any]]:
    """The polygons as the page's script reads them, in pixels of the pictures."""
    import shapely
    from affine import Affine

    back = ~Affine(*grid.transform)
    matrix = np.array([[back.a, back.d], [back.b, back.e]])
    placed = shapely.transform(
        changes.geometry.to_numpy(), lambda xy: (xy @ matrix + (back.c, back.f)) / factor
    )
    boxes = np.round(shapely.bounds(placed), 1).reshape(-1, 4).tolist()
    names = {"target": "target", "from": "from", "to": "to", "object": "object"} | {
        "area": "area_m2",
        "whole": "object_m2",
        "confidence": "confidence",
    }
    columns = [changes[column].tolist() for column in names.values()]
    return [
        dict(zip(names, values, strict=True)) | {"box": box, "rings": _rings(polygon)}
        for polygon, box, *values in zip(placed, boxes, *columns, strict=True)
    ]


def _rings(polygon: Any) -> list[list[int]]:
    """Outer ring and holes as steps from corner to corner in tenths of a pixel: x, y, dx, dy, ..."""
    rings = []
    for ring in (polygon.exterior, *polygon.interiors):
        corners = np.rint(np.asarray(ring.coords)[:-1] * TENTHS).astype(int)
        rings.append(np.diff(corners, axis=0, prepend=0).ravel().tolist())
    return rings
