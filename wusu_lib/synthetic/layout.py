"""Where everything lies in one area, and what becomes of each lot from date to date.

Streets, river, blocks, lots, and the use each lot starts with. The plan repeats by districts of about 450
x 290 m. Each district gets one block of every kind that the 11 classes need before the rest is drawn at
random, so that a part of the scene as small as half a demo test half holds all classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from wusu_lib.synthetic.acquisition import DATES
from wusu_lib.synthetic.street_grid import BANK, Box, Frame, River

# Where everything lies in one area: streets, river, blocks, lots, and the use each lot starts with.

DISTRICT = (290.0, 450.0)  # metres (y, x)
VERGE = 4.0  # pavement between a street and the lots
LANE = 7.0  # between the lots of a block
STREET_SPACING = (118.0, 160.0)
_STRIP = 16  # rows worked out at a time: they stay in the processor's cache


@dataclass(frozen=True)
class Street:
    """A street along constant u (``across`` = "u") or constant v, at ``at``, ``width`` metres wide.

    Some minor streets are not annotated, as in WUSU.
    """

    across: str
    at: float
    width: float
    annotated: bool

    @property
    def major(self) -> bool:
        """Major streets have a bridge over the river."""
        return self.width > 14


@dataclass(frozen=True)
class Lot:
    """A piece of a block, under one use at a time.

    ``area`` is what is in view and off the river (m2), ``district`` the number of its district.
    """

    number: int
    box: Box
    use: str
    area: float
    district: int


@dataclass(frozen=True)
class Layout:
    """One area's plan. ``lanes``: boxes between the lots of built-up blocks."""

    shape: tuple[int, int]
    frame: Frame
    river: River
    streets: tuple[Street, ...]
    lanes: tuple[Box, ...]
    lots: tuple[Lot, ...]
    districts: int

    def extent(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Lowest and highest (u, v) of the scene's corners."""
        u, v = _corners(self.frame, self.shape)
        return (float(u.min()), float(v.min())), (float(u.max()), float(v.max()))

    @cached_property
    def coordinates(self) -> tuple[np.ndarray, np.ndarray]:
        """Grid coordinates (u, v) of every pixel, each float64 [H, W]: worked out once for all dates."""
        us, vs = np.empty(self.shape), np.empty(self.shape)
        x = np.arange(self.shape[1], dtype=np.float32)[None, :]
        for top in range(0, self.shape[0], _STRIP):
            rows = slice(top, min(top + _STRIP, self.shape[0]))
            us[rows], vs[rows] = self.frame.uv(np.arange(top, rows.stop, dtype=np.float32)[:, None], x)
        return us, vs


# What every district needs for the 11 classes: uses for its largest lot, for the next largest, for the next.
MANDATORY = (
    ("stadium",),
    ("park", "farm", "excavation", "wood"),
    ("towers", "lowrise", "bare", "oldtown", "lawn"),
)
REST = {
    **{"lowrise": 0.28, "oldtown": 0.16, "slabs": 0.15, "towers": 0.10, "commerce": 0.07, "industry": 0.08},
    **{"farm": 0.04, "wood": 0.05, "plaza": 0.03, "greenhouse": 0.04},
}


def _corners(frame: Frame, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    height, width = shape
    return frame.uv(np.array([0, 0, height, height]), np.array([0, width, 0, width]))


def _streets(across: str, low: float, high: float, rng: np.random.Generator) -> list[Street]:
    streets: list[Street] = []
    at, count = low - rng.uniform(0, 60), int(rng.integers(3))
    while not streets or streets[-1].at < high:  # the last one lies out of view and closes the last blocks
        width = rng.uniform(14.5, 18) if count % 3 == 0 else rng.uniform(7, 9.5)
        streets.append(Street(across, at, width, count % 3 == 0 or rng.random() < 0.85))
        at += rng.uniform(*STREET_SPACING)
        count += 1
    return streets


def _blocks(streets: list[Street]) -> list[Box]:
    by_axis = {axis: [s for s in streets if s.across == axis] for axis in "uv"}
    spans = {
        axis: [(a.at + a.width / 2 + VERGE, b.at - b.width / 2 - VERGE) for a, b in pairwise(line)]
        for axis, line in by_axis.items()
    }
    return [Box(u0, u1, v0, v1) for v0, v1 in spans["v"] for u0, u1 in spans["u"]]


def _in_view(box: Box, frame: Frame, river: River, shape: tuple[int, int]) -> tuple[float, float, float]:
    """Area in view and off the river (m2) and the centre (y, x) of that part."""
    us, vs = np.meshgrid(np.linspace(box.u0, box.u1, 12), np.linspace(box.v0, box.v1, 12))
    y, x = frame.yx(us, vs)
    seen = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1]) & (river.clearance(y, x) > BANK)
    if not seen.any():
        return 0.0, 0.0, 0.0
    return box.width * box.depth * float(seen.mean()), float(y[seen].mean()), float(x[seen].mean())


def _deal(
    areas: list[float],
    rng: np.random.Generator,
    needed: tuple[tuple[str, ...], ...],
    rest: Mapping[str, float],
) -> list[str]:
    """Uses for the lots of one district: what every district needs goes to its largest lots."""
    largest = np.argsort([-area for area in areas], kind="stable")
    uses = [str(use) for use in rng.choice(list(rest), len(areas), p=list(rest.values()))]
    first = [use for uses_alike in needed for use in rng.permutation(uses_alike)]
    for lot, use in zip(largest, first, strict=False):
        uses[lot] = str(use)
    return uses


def _grid(shape: tuple[int, int]) -> tuple[int, int]:
    """Districts along y and x; an even number along x, so that none straddles the two halves."""
    return max(1, round(shape[0] / DISTRICT[0])), 2 * max(1, round(shape[1] / 2 / DISTRICT[1]))


def _subdivide(blocks: list[Box], rng: np.random.Generator) -> tuple[list[Box], list[Box]]:
    """Lots, and the lanes between them: two to a block, some halved once more."""
    lots, lanes = [], []
    for block in blocks:
        halves = block.split(2, LANE)
        lanes.append(_between(*halves))
        for half in halves:
            parts = half.split(2, LANE) if rng.random() < 0.5 else [half]
            lanes += [_between(*parts)] if len(parts) == 2 else []
            lots += parts
    return lots, lanes


def plan(
    shape: tuple[int, int],
    angle: float,
    rng: np.random.Generator,
    needed: tuple[tuple[str, ...], ...] = MANDATORY,
    rest: Mapping[str, float] = REST,
) -> Layout:
    """Lay out an area of ``shape`` [H, W] pixels with streets at ``angle`` radians to the image.

    ``needed``: the uses of every district's largest lots, in groups of falling size; ``rest``: shares (sum 1)
    of the uses that the other lots are drawn from.
    """
    height, width = shape
    frame = Frame(angle, 7.0, 430.0, tuple(rng.uniform(0, 2 * np.pi, 2)))
    sign = 1 if rng.random() < 0.5 else -1
    river = River(height / 2, sign * 0.27 * height, width / 2, 50 + 0.02 * max(0, height - 600))
    corners = _corners(frame, shape)
    streets = [
        s for axis, c in zip("uv", corners, strict=True) for s in _streets(axis, c.min(), c.max(), rng)
    ]
    boxes, lanes = _subdivide(_blocks(streets), rng)
    seen = [(box, *_in_view(box, frame, river, shape)) for box in boxes]
    seen = [entry for entry in seen if entry[1] > 200]
    rows, columns = _grid(shape)
    home = [int(y * rows / height) * columns + int(x * columns / width) for _, _, y, x in seen]
    lots: list[Lot] = []
    for district in range(rows * columns):
        members = [entry for entry, h in zip(seen, home, strict=True) if h == district]
        dealt = _deal([m[1] for m in members], rng, needed, rest)
        for (box, area, *_), use in zip(members, dealt, strict=True):
            lots.append(Lot(len(lots) + 1, box, use, area, district))
    # Minor streets first, so that the major ones run through at the crossings.
    streets.sort(key=lambda street: street.width)
    return Layout(shape, frame, river, tuple(streets), tuple(lanes), tuple(lots), rows * columns)


def _between(first: Box, second: Box) -> Box:
    """The gap between two neighbouring boxes."""
    if second.u0 > first.u1:
        return Box(first.u1, second.u0, first.v0, first.v1)
    return Box(first.u0, first.u1, first.v1, second.v0)


# What becomes of each lot from date to date: building sites on old land, then what is built on them.

# Plausible next uses; a use that is not listed stays.
NEXT: dict[str, tuple[str, ...]] = {
    "farm": ("excavation", "bare", "greenhouse", "lawn", "street"),
    "wood": ("excavation", "bare", "street"),
    "park": ("excavation", "bare"),  # a lake filled in
    "oldtown": ("excavation", "bare", "plaza"),
    "lowrise": ("excavation", "bare"),
    "industry": ("excavation", "bare"),
    "greenhouse": ("bare", "excavation", "farm"),
    "plaza": ("excavation", "lawn"),
    "lawn": ("plaza", "excavation", "wood"),
    "bare": ("lawn", "plaza", "industry", "street", "excavation", "wood"),
    "excavation": ("towers", "slabs", "towers", "lowrise", "commerce", "slabs", "street", "plaza"),
}
CHANGED_AREA = 0.077  # of a district's area, an interval
SITE_HASTE = 4.0  # how much sooner a building site or cleared ground comes up for change than other land


def unfold(layout: Layout, rng: np.random.Generator) -> list[dict[int, str]]:
    """Use of every lot at every date of ``DATES``: one dict (lot number -> use) a date.

    In each interval and district, lots change until ``CHANGED_AREA`` of the district's ground has.
    """
    uses = [{lot.number: lot.use for lot in layout.lots}]
    quota = CHANGED_AREA * layout.shape[0] * layout.shape[1] / layout.districts
    for _ in DATES[1:]:
        now = dict(uses[-1])
        for district in range(layout.districts):
            lots = [lot for lot in layout.lots if lot.district == district and uses[-1][lot.number] in NEXT]
            changed = 0.0
            haste = [SITE_HASTE if uses[-1][lot.number] in ("excavation", "bare") else 1.0 for lot in lots]
            for k in np.argsort(rng.random(len(lots)) / haste):
                choice = rng.random()
                if changed + 0.75 * lots[k].area > quota:
                    continue
                following = NEXT[uses[-1][lots[k].number]]
                now[lots[k].number] = following[int(choice * len(following))]
                changed += lots[k].area
        uses.append(now)
    return uses
