"""The real data set's layout without its images: patches that overlap by half, and their blocks.

The test folder of OpenWUSU512 has 288 patches of Hongshan and 270 of Jiang'an, which is what windows of 512
pixels at a stride of half a window give over half of each scene: 24 x 12 and 27 x 10. One pixel is one metre.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import pandas as pd

from wusu_lib.patches.overlaps import PAIR_COLUMNS, Overlaps
from wusu_lib.patches.splits import Scheme, assign

STRIDE = 256  # pixels, half a patch: the side of a cell
AREAS = {"HS": (24, 12), "JA": (27, 10)}  # patches along and across half a scene
DATES = (15, 16, 18)


@dataclass(frozen=True)
class Ground:
    """Cells of 256 x 256 pixels, and the patches of 2 x 2 cells that lie on them.

    area: int [cells], which scene. places: [cells, 2], y and x of the centres in metres. member: float
    [sites, cells], 1 where a site covers a cell. blocks: [sites], name of each site's spatial block.
    """

    area: np.ndarray
    places: np.ndarray
    member: np.ndarray
    blocks: np.ndarray

    @property
    def n_sites(self) -> int:
        """Number of patches of one date."""
        return len(self.blocks)

    @cached_property
    def cells_in_blocks(self) -> np.ndarray:
        """How many sites of each block cover each cell: float [blocks, cells]."""
        names, block = np.unique(self.blocks, return_inverse=True)
        return (block == np.arange(len(names))[:, None]).astype(np.float64) @ self.member


@lru_cache
def half_scenes(split: Scheme = "folders") -> Ground:
    """Ground of the patches that a comparison uses, with blocks as ``patches.assign`` makes them.

    "folders": the whole test folder, 558 sites. "blocks": the validation half of it, without the gap.
    """
    layout = pd.concat([_sites(area, *size) for area, size in AREAS.items()], ignore_index=True)
    layout["component"] = pd.factorize(layout["area"])[0]
    table = layout.assign(folder="test", split="test", date=DATES[0], patch=layout["site"], mask="")
    table = assign(table, split, Overlaps(_pairs(layout), layout.drop(columns=["area", "index"])))
    used = table[table["split"] == ("test" if split == "folders" else "val")]
    cells = [
        (i, y, x) for i, (ny, nx) in enumerate(AREAS.values()) for y in range(ny + 1) for x in range(nx + 1)
    ]
    area, rows, columns = np.array(cells).T
    covers = [
        (area == row.component) & _within(rows, row.y) & _within(columns, row.x) for row in used.itertuples()
    ]
    member = np.array(covers)
    seen = member.any(axis=0)
    places = np.stack([rows, columns], axis=1)[seen] * STRIDE + STRIDE / 2
    return Ground(area[seen], places, member[:, seen].astype(np.float64), used["block"].to_numpy(str))


def _sites(area: str, along: int, across: int) -> pd.DataFrame:
    """One row a site of half a scene: its name and its window in pixels."""
    y, x = (each.ravel() * STRIDE for each in np.indices((along, across)))
    index = np.arange(along * across)
    names = [f"test/{area}_{i}" for i in index]
    window = {"y": y, "x": x, "height": 2 * STRIDE, "width": 2 * STRIDE}
    return pd.DataFrame({"site": names, "area": area, "index": index, **window})


def _pairs(layout: pd.DataFrame) -> pd.DataFrame:
    """The pairs of sites that share ground, as the audit of a real tree lists them."""
    rows = []
    for _, part in layout.groupby("component"):
        y, x = part["y"].to_numpy(), part["x"].to_numpy()
        dy, dx = y[None] - y[:, None], x[None] - x[:, None]
        near = (abs(dy) < 2 * STRIDE) & (abs(dx) < 2 * STRIDE) & np.triu(np.ones(dy.shape, dtype=bool), 1)
        names = part["site"].to_numpy()
        for i, j in np.argwhere(near):
            shared = (2 * STRIDE - abs(dy[i, j])) * (2 * STRIDE - abs(dx[i, j]))
            rows.append((names[i], names[j], dy[i, j], dx[i, j], shared))
    return pd.DataFrame(rows, columns=PAIR_COLUMNS)


def _within(cells: np.ndarray, start: int) -> np.ndarray:
    """Which cells a patch that starts at pixel ``start`` covers along one axis."""
    return (cells >= start // STRIDE) & (cells <= start // STRIDE + 1)
