"""Where the patches of each split lie on the ground, and which ground two splits share."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from wusu_lib.figures.captions import captioned
from wusu_lib.figures.theme import QUIET, SMALL, SPLITS, WIDTH, open_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHARED = "#1a1a1a"
PANELS = 6  # components shown, the largest first
_CELLS = 400  # a panel's raster is at most about so many cells a side


@dataclass(frozen=True)
class Piece:
    """One connected component: its patches (columns site, y, x, height, width) and its ground.

    ``picture``: RGB floats [h,w,3], every ``cell``-th pixel of the ground. ``shared``: share of the ground,
    counted in all its pixels, that two splits or more cover.
    """

    rows: pd.DataFrame
    picture: np.ndarray
    cell: int
    shared: float


@styled
def shared_ground(overlaps: Any, table: pd.DataFrame) -> "Figure":
    """Ground covered by the patches of each split, one panel a connected component; shared ground is black.

    ``overlaps``: the audit of the patches, with ``layout`` and ``ground(table)``. ``table``: patch table
    (columns site, split). At most six components are drawn, the largest first; a note says how many there
    are. Raises ValueError where no site of the audit is in the table.
    """
    layout = overlaps.layout[overlaps.layout["site"].isin(table["site"])]
    if layout.empty:
        raise ValueError(
            "shared_ground: no site of the audit is in the table; pass the table that was audited"
        )
    order = layout["component"].value_counts().index
    pieces = {
        component: _piece(layout[layout["component"] == component], splits, covered)
        for component, splits, covered in overlaps.ground(table)
        if component in order[:PANELS]
    }
    figure, panels = _panels(len(pieces), layout)
    for axes, component in zip(panels, order, strict=False):
        _draw(axes, pieces[component])
    handles = _handles([split for split in SPLITS if split in set(table["split"])])
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    if len(order) > PANELS:
        figure.suptitle(f"The {PANELS} largest of {len(order)} separate pieces of ground", x=0.01, ha="left")
    return captioned(
        figure,
        "ground",
        "The patches in the positions that the audit recovered from their content. Colour is the split; "
        "black ground is seen by patches of two splits.",
        "Map of patch footprints coloured by split for each connected piece of ground.",
    )


def _piece(rows: pd.DataFrame, splits: list[str], covered: np.ndarray) -> Piece:
    """What a panel needs of ``covered``, bool [splits, H, W]: small enough to keep."""
    from matplotlib.colors import to_rgb

    times = covered.sum(axis=0)
    cell = -(-max(times.shape) // _CELLS)
    picture = np.ones((*times[::cell, ::cell].shape, 3))
    for split, mask in zip(splits, covered, strict=True):
        picture[mask[::cell, ::cell]] = to_rgb(SPLITS[split])
    picture[times[::cell, ::cell] > 1] = to_rgb(SHARED)
    shared = np.count_nonzero(times > 1) / np.count_nonzero(times)
    return Piece(rows, picture, cell, shared)


def _panels(count: int, layout: pd.DataFrame) -> "tuple[Figure, list[Axes]]":
    """Panels side by side, at most four in a row, all at the same scale in px per inch."""
    columns = count if count <= 4 else 3
    rows = -(-count // columns)
    height = (layout["y"] + layout["height"]).max()
    width = (layout["x"] + layout["width"]).max()
    inches = min(WIDTH / columns * height / width, 4.0 / rows)
    figure = open_figure(rows * (inches + 0.65) + 0.4)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes in grid.flat[count:]:
        axes.set_visible(False)
    grid[0, 0].set(xlim=(-0.02 * width, 1.02 * width), ylim=(1.02 * height, -0.02 * height))
    return figure, list(grid.flat[:count])


def _draw(axes: "Axes", piece: Piece) -> None:
    """One component: its ground in the splits' colours, the outlines of its patches, the shared part."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    limits = axes.get_xlim(), axes.get_ylim()
    height, width = (side * piece.cell for side in piece.picture.shape[:2])
    axes.imshow(piece.picture, extent=(0, width, height, 0))
    axes.set(xlim=limits[0], ylim=limits[1])  # imshow takes them to its own image
    outlines = [Rectangle((row.x, row.y), row.width, row.height) for row in piece.rows.itertuples()]
    axes.add_collection(PatchCollection(outlines, facecolor="none", edgecolor="white", linewidth=0.5))
    place = "/".join(sorted({_place(site) for site in piece.rows["site"]}))
    sites = f"{len(piece.rows)} site{'s' if len(piece.rows) > 1 else ''}"
    axes.set_title(f"{place}\n{sites}\n{_percent(piece.shared)} shared", fontsize=9)
    axes.tick_params(labelsize=SMALL, color=QUIET)
    axes.set(xlabel="px", ylabel="px")
    axes.label_outer()


def _percent(share: float) -> str:
    """A share in whole percent; a little is not written as nothing."""
    return "<1%" if 0 < share < 0.005 else f"{share:.0%}"


def _place(site: str) -> str:
    """Folder and area of a site: "test/HS_17" -> "test HS"."""
    folder, _, rest = site.partition("/")
    return f"{folder} {rest.rsplit('_', 1)[0]}"


def _handles(splits: list[str]) -> list[Any]:
    from matplotlib.patches import Patch

    own = [Patch(facecolor=SPLITS[split], label=split) for split in splits]
    return [*own, Patch(facecolor=SHARED, label="two splits (shared)")]
