"""Green and blue: woodland, lawns, parks with a lake, parcelled arable land."""

import numpy as np

from wusu_lib.synthetic import ground, spectra
from wusu_lib.synthetic.frame import Box
from wusu_lib.synthetic.pen import Pen, Window

ARABLE, WOOD, GRASS, LAKE = 4, 6, 7, 9


def grow(
    pen: Pen, window: Window, mask: np.ndarray, rng: np.random.Generator, code: int | None = WOOD
) -> None:
    """Closed woodland over ``mask`` [h, w]: dark floor, crowns on it."""
    floor = spectra.plants(spectra.sample("tree", rng) * 0.55, pen.acquisition.leaf)
    pen.fill(window, mask, floor, rough=0.15, height=1)
    pen.trees(window, mask, 1.0, rng)
    if code is not None:
        pen.annotate(window, mask, code, rng)


def wood(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """A wood that fills the lot but for a ragged margin, sometimes with a clearing."""
    ground.lay(pen, box, "soil", 0.7, rng)
    ground.scatter(pen, box, 0.4, rng)
    margin, clearing, shape = rng.uniform(1, 5), rng.random() < 0.4, ground.draw_shape(rng, 0.2)
    off = rng.uniform(-0.25, 0.25, 2) * (box.width, box.depth)
    window = pen.box(box)
    if window is None:
        return
    ragged = margin * (1 + 0.6 * pen.texture("patchy", window))
    mask = (np.abs(window.u) < box.width / 2 - ragged) & (np.abs(window.v) < box.depth / 2 - ragged)
    if clearing:
        centred = Window(window.rows, window.columns, window.u - off[0], window.v - off[1])
        mask &= ~ground.outline(centred, 0.2 * min(box.width, box.depth), shape)
    grow(pen, window, mask, rng)


def grove(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """A strip of annotated woodland with a ragged edge that fills a box."""
    window = pen.box(box)
    if window is not None:
        ragged = 1.5 + pen.texture("patchy", window)
        mask = (np.abs(window.u) < box.width / 2 - ragged) & (np.abs(window.v) < box.depth / 2 - ragged)
        grow(pen, window, mask, rng)


def meadow(pen: Pen, window: Window, mask: np.ndarray, rng: np.random.Generator) -> None:
    """Grassland over ``mask`` [h, w], mown unevenly."""
    spectrum = spectra.plants(spectra.sample("grass", rng), pen.acquisition.leaf)
    shade = 1 + 0.06 * pen.texture("patchy", window) + 0.08 * pen.texture("cloudy", window)
    pen.fill(window, mask, spectrum, rough=0.07, shade=shade)
    pen.annotate(window, mask, GRASS, rng)


def lawn(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """A public lawn with paths across it and a few trees."""
    ground.lay(pen, box, "paving", 0.3, rng)
    path, tilt = rng.uniform(-0.2, 0.2) * box.width, rng.uniform(-0.6, 0.6)
    window = pen.box(box)
    if window is None:
        return
    inside = window.within(box.width / 2 - 3, box.depth / 2 - 3)
    paths = np.abs(window.u - path - tilt * window.v) < 1.6
    meadow(pen, window, inside & ~paths, rng)
    pen.trees(window, inside, 0.06, rng)


def park(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """A lake with lawns and groves around it."""
    ground.lay(pen, box, "soil", 0.75, rng)
    shape, grove, stretch = (
        ground.draw_shape(rng),
        ground.draw_shape(rng, 0.25),
        np.sqrt(box.width / box.depth) ** rng.uniform(0.8, 1.1),
    )
    off = rng.uniform(-6, 6, 2)
    window = pen.box(box)
    if window is None:
        return
    inside = window.within(box.width / 2 - 2, box.depth / 2 - 2)
    centred = Window(window.rows, window.columns, window.u - off[0], window.v - off[1])
    radius = 0.36 * np.sqrt(box.width * box.depth) * pen.dry(*box.centre, 0.3 * min(box.width, box.depth))
    lake = ground.outline(centred, radius, shape, stretch) & inside
    shore = ground.outline(centred, radius + 5, shape, stretch)
    trees = inside & ~shore & (pen.texture("cloudy", window) + 0.3 * grove[0, 1] > 0.9)
    meadow(pen, window, inside & ~shore & ~trees, rng)
    grow(pen, window, trees, rng)
    pen.trees(window, inside & ~lake, 0.15, rng)
    flood(pen, window, lake, rng)
    pen.annotate(window, lake, LAKE, rng)


def flood(
    pen: Pen, window: Window, mask: np.ndarray, rng: np.random.Generator, blend: np.ndarray | float = 0.0
) -> None:
    """Water over ``mask`` [h, w]; its colour changes with the date and with ``blend`` [h, w] (-1 to 1)."""
    one, other = _of_the_day("water", pen, rng), _of_the_day("water", pen, rng)
    middle, half = (one + other) / 2, (one - other) / 2
    shade = 1 + 0.05 * pen.texture("cloudy", window)
    pen.fill(window, mask, middle, rough=0.02, shade=shade)
    pen.tint(window, mask, half / middle, np.broadcast_to(blend, mask.shape))


def _of_the_day(material: str, pen: Pen, rng: np.random.Generator) -> np.ndarray:
    """A spectrum [4] that differs between dates; draws as much at every date."""
    return [spectra.sample(material, rng) for _ in range(3)][pen.acquisition.index]


def farm(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """Parcels side by side, some in crop and some ploughed, other ones at each date."""
    ground.lay(pen, box, "soil", 0.5, rng)
    along = rng.random() < 0.5
    long = box.width if along else box.depth
    edges = _edges(long, rng)
    across = rng.uniform(-0.12, 0.12) * (box.depth if along else box.width)
    for low, high in edges:
        for side in (-1, 1):
            _parcel(pen, box, (low, high), across, side, along, rng)


def _edges(length: float, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Strips of 11 to 20 m, 1.5 m apart, about the centre."""
    low, edges = -length / 2, []
    while low < length / 2 - 8:
        high = min(low + rng.uniform(11, 20), length / 2)
        edges.append((low, high - 1.5))
        low = high
    return edges


def _parcel(
    pen: Pen,
    box: Box,
    strip: tuple[float, float],
    across: float,
    side: int,
    along: bool,
    rng: np.random.Generator,
) -> None:
    crop = [rng.random() < share for share in (0.75, 0.65, 0.35)][pen.acquisition.index]
    green, brown = _of_the_day("crop", pen, rng), _of_the_day("soil", pen, rng)
    vigour, furrow = rng.uniform(0.45, 1.0), rng.uniform(2.4, 3.6)
    window = pen.box(box)
    if window is None:
        return
    p, q = (window.u, window.v) if along else (window.v, window.u)
    half = (box.depth if along else box.width) / 2
    mask = (p > strip[0]) & (p < strip[1]) & (side * (q - across) > 1.2) & (np.abs(q) < half)
    leaf = pen.acquisition.leaf * vigour
    spectrum = leaf * green + (1 - leaf) * brown if crop else brown
    rows = 1 + 0.06 * np.sin(2 * np.pi * p / furrow) + 0.06 * pen.texture("cloudy", window)
    pen.fill(window, mask, spectrum, rough=0.06, shade=rows)
    pen.annotate(window, mask, ARABLE, rng)
