"""One area from the plan to its images: paints every date and exposes it."""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from wusu_lib.synthetic import green, housing, layout, materials, optics, roads, works
from wusu_lib.synthetic.acquisition import ACQUISITIONS, DATES, Acquisition
from wusu_lib.synthetic.canvas import Canvas, LabelError, Pen
from wusu_lib.synthetic.layout import Layout
from wusu_lib.synthetic.materials import Textures
from wusu_lib.synthetic.street_grid import Box

Drawer = Callable[[Pen, Box, np.random.Generator], None]

DRAWERS: dict[str, Drawer] = {
    "lowrise": housing.lowrise,
    "oldtown": housing.oldtown,
    "slabs": housing.slabs,
    "towers": housing.towers,
    "commerce": housing.commerce,
    "industry": housing.industry,
    "wood": green.wood,
    "lawn": green.lawn,
    "park": green.park,
    "farm": green.farm,
    "stadium": works.stadium,
    "plaza": works.plaza,
    "greenhouse": works.greenhouse,
    "excavation": works.excavation,
    "bare": works.bare,
    "street": works.street,
}
_ANGLE = {"HS": 0.42, "JA": -0.28}  # radians between the streets and the image


@dataclass(frozen=True)
class Exposure:
    """One date of an area.

    ``image`` uint8 [4,H,W]; ``codes`` uint8 [H,W] as annotated; ``wrong`` int32 [H,W] the number of the
    wrongly annotated object, 0 where there is none; ``label_errors`` what is wrong with each.
    """

    date: int
    image: np.ndarray
    codes: np.ndarray
    wrong: np.ndarray
    label_errors: dict[int, LabelError]


def generator(seed: int, area: str, *purpose: str | int) -> np.random.Generator:
    """The random numbers of one purpose: a pure function of the seed, the area and the purpose."""
    words = [zlib.crc32(p.encode()) if isinstance(p, str) else p for p in (area, *purpose)]
    return np.random.default_rng([seed, *words])


def expose(area: str, shape: tuple[int, int], seed: int) -> Iterator[Exposure]:
    """The dates of an area of ``shape`` [H, W] pixels, one after the other."""
    plan = layout.plan(shape, _ANGLE[area], generator(seed, area, "layout"))
    uses = layout.unfold(plan, generator(seed, area, "history"))
    textures = materials.make_textures(generator(seed, area, "textures"))
    for date, now in zip(DATES, uses, strict=True):
        acquisition = ACQUISITIONS[area, date]
        canvas = paint(plan, now, textures, acquisition, seed)
        image = optics.sense(canvas, acquisition, textures, generator(seed, area, "noise", date))
        yield Exposure(date, image, canvas.codes, canvas.wrong, canvas.label_errors)


def paint(
    plan: Layout, uses: dict[int, str], textures: Textures, acquisition: Acquisition, seed: int
) -> Canvas:
    """Ground, lots, river and streets, in this order; what comes later lies on top."""
    canvas = Canvas.blank(*plan.shape)
    pen = Pen(canvas, plan, textures, acquisition)
    area = acquisition.area
    _pave(pen, plan, generator(seed, area, "pavement"))
    for lot in plan.lots:
        use = uses[lot.number]
        pen.start(lot.number)
        DRAWERS[use](pen, lot.box, generator(seed, area, use, lot.number))
    pen.start(len(plan.lots) + 1)
    roads.river(pen, plan, generator(seed, area, "river"))
    for number, box in enumerate(plan.lanes):
        pen.start(len(plan.lots) + 2 + number)
        roads.lane(pen, box, generator(seed, area, "lane", number))
    for number in range(len(plan.streets)):
        pen.start(len(plan.lots) + 2 + len(plan.lanes) + number)
        roads.street(pen, plan, number, generator(seed, area, "street", number))
    return canvas


def _pave(pen: Pen, plan: Layout, rng: np.random.Generator) -> None:
    """Pavement everywhere, tile by tile; streets and lots cover most of it."""
    seeds = int(rng.integers(2**31))
    (u0, v0), (u1, v1) = plan.extent()
    step = 400.0
    for u in np.arange(u0, u1, step):
        for v in np.arange(v0, v1, step):
            green.lay(pen, Box(u, u + step + 2, v, v + step + 2), "yard", 0.25, np.random.default_rng(seeds))
