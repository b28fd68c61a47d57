"""The river with its banks, and the streets and lanes with their markings, trees and traffic."""

import numpy as np

from wusu_lib.synthetic import green, materials
from wusu_lib.synthetic.canvas import Pen, Window
from wusu_lib.synthetic.layout import Layout, Street
from wusu_lib.synthetic.street_grid import BANK, Box

ROAD, RIVER = 1, 8
SEGMENT = 60.0  # metres of street that are annotated, or forgotten, together
CHUNK = 256  # columns of the scene painted at once
CARS, CAR_SHARES = ("white", "black", "roof light", "roof red"), (0.25, 0.35, 0.32, 0.08)
BRIDGE = 7  # metres above the water


def river(pen: Pen, layout: Layout, rng: np.random.Generator) -> None:
    """Water and embankments, from the left to the right edge of the scene."""
    width = layout.shape[1]
    seeds, bank = rng.integers(2**31, size=2), materials.sample_spectra("concrete", rng)
    for left in range(0, width, CHUNK):
        columns = slice(left, min(left + CHUNK, width))
        window, clearance = _along_river(layout, columns)
        everywhere = np.ones(clearance.shape, dtype=bool)
        pen.erase(window, everywhere)
        pen.fill(window, everywhere, bank, rough=0.06)
        _riverside(pen, window, clearance > 5, np.random.default_rng(seeds[0]))
        upstream = np.sin(window.u * (2 * np.pi / 610) + window.v * (2 * np.pi / 430))
        green.flood(pen, window, clearance < 0, np.random.default_rng(seeds[1]), upstream)
        pen.annotate(window, clearance < 0, RIVER, rng)


def _along_river(layout: Layout, columns: slice) -> tuple[Window, np.ndarray]:
    """The pixels of the river and its banks in some columns of the scene, and their clearance [n]."""
    height, width = layout.shape
    y = np.arange(height, dtype=np.float32)[:, None]
    x = np.arange(columns.start, columns.stop, dtype=np.float32)[None, :]
    clearance = layout.river.clearance(y, x)
    near = clearance < BANK
    ys, xs = near.nonzero()
    u, v = (xs + columns.start).astype(np.float32), ys.astype(np.float32)
    return Window(ys, xs + columns.start, u, v, width, (slice(0, height), columns)), clearance[near]


def _riverside(pen: Pen, window: Window, mask: np.ndarray, rng: np.random.Generator) -> None:
    """Groves and lawns by turns along the embankment, partly annotated."""
    cloudy = pen.texture("cloudy", window)
    green.meadow(pen, window, mask & (cloudy < 0.2), rng)
    green.grow(pen, window, mask & (cloudy >= 0.2), rng)
    pen.erase(window, mask & (np.abs(cloudy) > 1.1))


def street(pen: Pen, layout: Layout, number: int, rng: np.random.Generator) -> None:
    """One street, segment by segment."""
    line = layout.streets[number]
    low, high = layout.extent()
    material = "concrete" if rng.random() < 0.3 else "asphalt"
    spectrum, median = materials.sample_spectra(material, rng), rng.random() < 0.5
    along = 1 if line.across == "u" else 0
    for at in np.arange(low[along], high[along], SEGMENT):
        _segment(pen, line, float(at) + SEGMENT / 2, spectrum, median, rng)


def _segment(
    pen: Pen, line: Street, at: float, spectrum: np.ndarray, median: bool, rng: np.random.Generator
) -> None:
    half, across_u = line.width / 2, line.across == "u"
    u, v = (line.at, at) if across_u else (at, line.at)
    reach = half + 4
    window = pen.window(u, v, reach, SEGMENT / 2) if across_u else pen.window(u, v, SEGMENT / 2, reach)
    if window is None:
        return
    q, p = (window.u, window.v) if across_u else (window.v, window.u)
    dry = pen.off_river(window)
    span = np.abs(p) <= SEGMENT / 2
    pen.trees(window, span & dry & (np.abs(np.abs(q) - half - 2) < 2.0), 0.3, rng)
    surface = span & (np.abs(q) < half)
    if not line.major:
        surface &= dry
    deck = np.where(dry, 0, BRIDGE).astype(np.uint8)
    pen.fill(window, surface, spectrum, rough=0.05, height=deck)
    _markings(pen, window, surface, q, p, half, median and line.major)
    _traffic(pen, window, surface, q, p, half, rng)
    if line.annotated:
        pen.annotate(window, surface, ROAD, rng)
    else:
        pen.erase(window, surface)


def _markings(
    pen: Pen, window: Window, surface: np.ndarray, q: np.ndarray, p: np.ndarray, half: float, median: bool
) -> None:
    """Lane lines, brightened by what a line much thinner than a pixel adds; a planted strip in the middle."""
    lines = surface & (np.abs(q % 3.5 - 1.75) < 0.5) & (p % 9 < 4) & (np.abs(q) < half - 1)
    pen.brighten(window, lines, 1.25)
    if median:
        grass = materials.plants(np.array(materials.MATERIALS["grass"].bands), pen.acquisition.leaf)
        pen.fill(window, surface & (np.abs(q) < 1.2), grass.astype(np.float32), rough=0.2)


def _traffic(
    pen: Pen,
    window: Window,
    surface: np.ndarray,
    q: np.ndarray,
    p: np.ndarray,
    half: float,
    rng: np.random.Generator,
) -> None:
    """Cars and a few buses, other ones at each date."""
    today = np.random.default_rng([int(rng.integers(2**31)), pen.acquisition.index])
    paved = np.flatnonzero(surface)
    q, p = q[paved], p[paved]
    for _ in range(today.poisson(SEGMENT * half / 130)):
        lane, place = today.uniform(-half + 1.5, half - 1.5), today.uniform(-SEGMENT / 2, SEGMENT / 2)
        length = 5.5 if today.random() < 0.1 else 2.2
        name = materials.pick(CARS, CAR_SHARES, today)
        car = (np.abs(q - lane) < 0.9) & (np.abs(p - place) < length)
        pen.fill(window, paved[car], materials.sample_spectra(name, today), rough=0.0, height=2)


def lane(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """A narrow lane between the lots of a block; only the wider part of them is annotated, as in WUSU."""
    annotated, spectrum = rng.random() < 0.4, materials.sample_spectra("concrete", rng)
    window = pen.box(box)
    if window is None:
        return
    along_u = box.width >= box.depth
    q = window.v if along_u else window.u
    half = (box.depth if along_u else box.width) / 2
    inside = window.within(box.width / 2 + 4, box.depth / 2 + 4) & pen.off_river(window)
    surface = inside & (np.abs(q) < half - 0.5)
    pen.fill(window, surface, spectrum, rough=0.06)
    if annotated:
        pen.annotate(window, surface, ROAD, rng)
    pen.trees(window, inside, 0.06, rng)
