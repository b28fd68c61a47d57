"""Buildings: rows of low ones, old town, slabs and towers with their facades, commerce, industry."""

from collections.abc import Callable

import numpy as np

from wusu_lib.synthetic import green, materials
from wusu_lib.synthetic.canvas import Pen, Window
from wusu_lib.synthetic.street_grid import Box

LOW, HIGH, GRASS = 2, 3, 7

_LOW_ROOFS = ("roof grey", "roof dark", "roof light", "roof blue", "roof red", "roof orange")
_LOW_SHARES = (0.40, 0.16, 0.10, 0.12, 0.12, 0.10)
_HIGH_ROOFS = ("roof grey", "roof dark", "roof light", "roof red")
_HIGH_SHARES = (0.56, 0.18, 0.18, 0.08)


def _gable(slope: float) -> Callable[[Window], np.ndarray]:
    """Two roof planes along u: the southern one brighter."""
    return lambda w: np.where(w.v > 0, 1 + slope, 1 - slope).astype(np.float32)


def _flat(a: float, b: float, seed: float) -> Callable[[Window], np.ndarray]:
    """A flat roof: bright parapet, stair heads and tanks in a row."""

    def shade(w: Window) -> np.ndarray:
        edge = (np.abs(w.u) > a - 1.2) | (np.abs(w.v) > b - 1.2)
        boxes = (np.abs(w.v + 0.3 * b) < 1.8) & (np.abs((w.u + 50 * seed) % 11 - 5.5) < 2.0)
        return (1 + 0.22 * edge - 0.35 * (boxes & ~edge)).astype(np.float32)

    return shade


def _framed(a: float, b: float, diagonal: bool) -> Callable[[Window], np.ndarray]:
    """A tower's roof: white rim, often a diagonal, a darker machine room."""

    def shade(w: Window) -> np.ndarray:
        rim = (np.abs(w.u) > a - 1.8) | (np.abs(w.v) > b - 1.8)
        room = (np.abs(w.u) < 0.35 * a) & (np.abs(w.v) < 0.4 * b)
        line = np.abs(w.u * b - w.v * a) < 0.9 * np.hypot(a, b)
        bright = rim | (line & diagonal)
        return (1 + 0.9 * bright - 0.4 * (room & ~bright)).astype(np.float32)

    return shade


def _stripes(period: float, depth: float) -> Callable[[Window], np.ndarray]:
    """Sheet metal: bright and dark bands across u."""
    return lambda w: (1 + depth * np.sign(np.sin(2 * np.pi * w.u / period))).astype(np.float32)


def _facade(pen: Pen, u: float, v: float, a: float, b: float, height: int, rng: np.random.Generator) -> None:
    """The side of a tall building that the tilted view shows, unlabelled."""
    spectrum = materials.sample_spectra("facade", rng)
    du, dv = pen.frame.turn(*(height * k for k in pen.acquisition.lean))
    window = pen.window(u, v, a + abs(du), b + abs(dv))
    if window is None:
        return
    side = np.zeros(window.u.shape, dtype=bool)
    for t in np.linspace(0, 1, 6):
        side |= (np.abs(window.u - t * du) < a) & (np.abs(window.v - t * dv) < b)
    floors = 1 + 0.35 * np.sign(np.sin(1.5 * (window.u + window.v)))
    pen.fill(window, side, spectrum, rough=0.15, shade=floors.astype(np.float32))
    pen.erase(window, side)


def low(
    pen: Pen, u: float, v: float, a: float, b: float, rng: np.random.Generator, turn: float = 0.0
) -> None:
    """One low building of half sides a, b: gabled if narrow, else flat."""
    roof = materials.pick(_LOW_ROOFS, _LOW_SHARES, rng)
    gabled, slope, seed = rng.random() < 0.6, rng.uniform(0.08, 0.25), rng.random()
    shade = _gable(slope) if gabled and min(a, b) < 7 else _flat(a, b, seed)
    height = int(rng.integers(4, 12))
    if pen.dry(u, v, max(a, b) + 8):
        pen.rect(u, v, a, b, roof, rng, code=LOW, height=height, turn=turn, shade=shade)


def high(pen: Pen, u: float, v: float, a: float, b: float, height: int, rng: np.random.Generator) -> None:
    """One high building with its facade."""
    roof = materials.pick(_HIGH_ROOFS, _HIGH_SHARES, rng)
    framed, diagonal, seed = rng.random() < 0.5, rng.random() < 0.5, rng.random()
    if not pen.dry(u, v, max(a, b) + 8):
        return
    _facade(pen, u, v, a, b, height, rng)
    shade = _framed(a, b, diagonal) if framed else _flat(a, b, seed)
    pen.rect(u, v, a, b, roof, rng, code=HIGH, height=height, shade=shade)


def _spare_a_grove(pen: Pen, box: Box, rng: np.random.Generator) -> Box:
    """Plant a strip of trees at one end of some lots; what is left of the box."""
    wanted, at_start, width = rng.random() < 0.6, rng.random() < 0.5, rng.uniform(9, 14)
    if not wanted or box.width < 40:
        return box
    if at_start:
        green.grove(pen, Box(box.u0, box.u0 + width, box.v0, box.v1), rng)
        return Box(box.u0 + width, box.u1, box.v0, box.v1)
    green.grove(pen, Box(box.u1 - width, box.u1, box.v0, box.v1), rng)
    return Box(box.u0, box.u1 - width, box.v0, box.v1)


def lowrise(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """Parallel rows of low buildings with trees between them."""
    green.lay(pen, box, "yard", rng.uniform(0.1, 0.5), rng)
    green.scatter(pen, box, rng.uniform(0.15, 0.45), rng)
    box = _spare_a_grove(pen, box, rng)
    pitch, depth = rng.uniform(13.5, 17.5), rng.uniform(4.2, 5.4)
    for v in np.arange(box.v0 + depth + 2, box.v1 - depth - 1, pitch):
        u = box.u0 + rng.uniform(2, 6)
        while u < box.u1 - 12:
            half = min(rng.uniform(8, 20), (box.u1 - 2 - u) / 2)
            low(pen, u + half, float(v), half, depth, rng)
            u += 2 * half + rng.uniform(3, 6.5)


def oldtown(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """Small houses close together, each turned a little."""
    green.lay(pen, box, "yard", 0.15, rng)
    green.scatter(pen, box, 0.22, rng)
    for v in np.arange(box.v0 + 6, box.v1 - 4, 11.0):
        for u in np.arange(box.u0 + 6, box.u1 - 4, 12.5):
            du, dv, turn, skip = rng.uniform(-1.5, 1.5), rng.uniform(-1, 1), rng.normal(0, 0.14), rng.random()
            a, b = rng.uniform(3.6, 6.2), rng.uniform(3.2, 5.0)
            if skip > 0.12:
                low(pen, float(u) + du, float(v) + dv, a, b, rng, turn)


def slabs(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """Long high blocks, one behind the other at a distance."""
    green.lay(pen, box, "yard", 0.45, rng)
    green.scatter(pen, box, 0.35, rng)
    box = _spare_a_grove(pen, box, rng)
    height = int(rng.integers(24, 40))
    for v in np.arange(box.v0 + 9, box.v1 - 7, rng.uniform(23, 30)):
        half = min(rng.uniform(17, 26), box.width / 2 - 3)
        for u in np.arange(box.u0 + half + 2, box.u1 - half, 2 * half + 9):
            high(pen, float(u), float(v), half, 7.0, height, rng)


def towers(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """High buildings set apart on lawns, with a court."""
    green.lay(pen, box, "yard", 0.55, rng)
    lawn_u, lawn_v = rng.uniform(box.u0 + 12, box.u1 - 12), rng.uniform(box.v0 + 12, box.v1 - 12)
    pen.rect(lawn_u, lawn_v, rng.uniform(9, 17), rng.uniform(8, 14), "grass", rng, code=GRASS)
    green.scatter(pen, box, rng.uniform(0.15, 0.4), rng)
    step = rng.uniform(29, 36)
    for v in np.arange(box.v0 + 13, box.v1 - 10, step):
        for u in np.arange(box.u0 + 14, box.u1 - 10, step):
            a, b, height = rng.uniform(9, 13), rng.uniform(8, 12), int(rng.integers(40, 72))
            high(pen, float(u) + rng.uniform(-3, 3), float(v) + rng.uniform(-3, 3), a, b, height, rng)


def commerce(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """A shopping centre with a tower on it and cars parked around."""
    green.lay(pen, box, "yard", 0.05, rng)
    u, v = box.centre
    a, b = min(34, box.width / 2 - 9), min(26, box.depth / 2 - 9)
    low(pen, u, v, a, b, rng)
    side = 1 if rng.random() < 0.5 else -1
    height = int(rng.integers(45, 75))
    high(pen, u + side * (a - 12), v, 10, min(10, b - 3), height, rng)
    green.scatter(pen, Box(box.u0, box.u0 + 7, box.v0, box.v1), 0.5, rng)
    green.park_cars(pen, box, (a + 2, b + 2), rng)


def industry(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """Large sheds of sheet metal on a paved yard."""
    green.lay(pen, box, "yard", 0.1, rng)
    roofs = ("roof blue", "roof light", "roof grey", "roof red", "roof dark")
    count = max(1, int(max(box.width, box.depth) // 34))
    for part in box.shrunk(4).split(count, 9.0):
        roof, period = materials.pick(roofs, (0.34, 0.2, 0.26, 0.1, 0.1), rng), rng.uniform(5, 9)
        a, b = part.width / 2 - rng.uniform(0, 4), part.depth / 2 - rng.uniform(0, 8)
        if pen.dry(*part.centre, max(a, b) + 4):
            shade = _stripes(period, 0.08)
            pen.rect(*part.centre, a, b, roof, rng, code=LOW, height=9, shade=shade)
    green.scatter(pen, Box(box.u0, box.u1, box.v0, box.v0 + 5), 0.4, rng)
