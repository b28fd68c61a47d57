"""Where the patches of each split lie on the ground, and which ground two splits share."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from wusu_lib.figures.theme import QUIET, SMALL, SPLITS, WIDTH, open_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHARED = "#1a1a1a"
PANELS = 6  # components shown, the largest first
_CELLS = 400  # a panel's raster is at most about so many cells a side


@styled
def shared_ground(layout: pd.DataFrame, table: pd.DataFrame, size: int) -> "Figure":
    """Ground covered by the patches of each split, one panel a connected component; shared ground is black.

    ``layout``: columns site, component, y, x (recovered positions of the upper left corner, px). ``table``:
    patch table (columns site, split). ``size``: side of a patch in px. At most six components are drawn,
    the largest first; a note says how many are not. Raises ValueError where no site of the layout is in the
    table.
    """
    sites = table.drop_duplicates("site").set_index("site")["split"]
    placed = layout[layout["site"].isin(sites.index)].assign(split=lambda rows: rows["site"].map(sites))
    if placed.empty:
        raise ValueError(
            "shared_ground: no site of the layout is in the table; pass the table that was audited"
        )
    order = placed["component"].value_counts(sort=True).index
    groups = [placed[placed["component"] == component] for component in order[:PANELS]]
    figure, panels = _panels(groups, size)
    for axes, group in zip(panels, groups, strict=True):
        _draw(axes, group, size)
    handles = _handles(sorted(set(placed["split"]), key=list(SPLITS).index))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    if len(order) > PANELS:
        figure.suptitle(f"{PANELS} largest of {len(order)} separate pieces of ground", x=0.01, ha="left")
    return figure


def _panels(groups: list[pd.DataFrame], size: int) -> "tuple[Figure, list[Axes]]":
    """Panels side by side, at most four in a row, all at the same scale in px per inch."""
    columns = len(groups) if len(groups) <= 4 else 3
    rows = -(-len(groups) // columns)
    height = max(np.ptp(group["y"]) + size for group in groups)
    width = max(np.ptp(group["x"]) + size for group in groups)
    inches = min(WIDTH / columns * height / width, 4.0)
    figure = open_figure(rows * (inches + 0.65) + 0.4)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes in grid.flat[len(groups) :]:
        axes.set_visible(False)
    grid[0, 0].set(xlim=(-0.02 * width, 1.02 * width), ylim=(1.02 * height, -0.02 * height))
    return figure, list(grid.flat[: len(groups)])


def _coverage(group: pd.DataFrame, size: int) -> tuple[dict[str, np.ndarray], int]:
    """For each split a raster bool [H,W] of the ground that it covers, and the raster's cell in px."""
    y, x = (group[axis].to_numpy() - group[axis].min() for axis in ("y", "x"))
    cell = int(max(1, (max(y.max(), x.max()) + size) // _CELLS))
    shape = tuple(int(-(-(v.max() + size) // cell)) for v in (y, x))
    covered = {split: np.zeros(shape, dtype=bool) for split in SPLITS}
    for top, left, split in zip(y, x, group["split"], strict=True):
        rows, columns = (slice(int(v) // cell, -(-int(v + size) // cell)) for v in (top, left))
        covered[split][rows, columns] = True
    return covered, cell


def _draw(axes: "Axes", group: pd.DataFrame, size: int) -> None:
    """One component: its ground in the splits' colours, the outlines of its patches, the shared part."""
    from matplotlib.collections import PatchCollection
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Rectangle

    covered, cell = _coverage(group, size)
    times = sum(mask.astype(int) for mask in covered.values())
    picture = np.ones((*times.shape, 3))
    for split, mask in covered.items():
        picture[mask] = to_rgb(SPLITS[split])
    picture[times > 1] = to_rgb(SHARED)
    axes.imshow(picture, extent=(0, picture.shape[1] * cell, picture.shape[0] * cell, 0))
    corners = group[["x", "y"]] - group[["x", "y"]].min()
    outlines = [Rectangle((corner.x, corner.y), size, size) for corner in corners.itertuples()]
    axes.add_collection(PatchCollection(outlines, facecolor="none", edgecolor="white", linewidth=0.5))
    shared = (times > 1).sum() / max((times > 0).sum(), 1)
    area = "/".join(sorted({_place(site) for site in group["site"]}))
    axes.set_title(f"{area}\n{len(group)} sites\n{shared:.0%} shared", fontsize=9)
    axes.tick_params(labelsize=SMALL, color=QUIET)
    axes.set(xlabel="px", ylabel="px")
    axes.label_outer()


def _place(site: str) -> str:
    """Folder and area of a site: "test/HS_17" -> "test HS"."""
    folder, _, rest = site.partition("/")
    return f"{folder} {rest.rsplit('_', 1)[0]}"


def _handles(splits: list[str]) -> list[Any]:
    from matplotlib.patches import Patch

    own = [Patch(facecolor=SPLITS[split], label=split) for split in splits]
    return [*own, Patch(facecolor=SHARED, label="two splits (shared)")]
