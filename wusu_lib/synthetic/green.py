"""Ground, green and blue: courtyards, verges, woodland, lawns, parks with a lake, parcelled arable land."""

import numpy as np

from wusu_lib.synthetic import materials
from wusu_lib.synthetic.canvas import Pen, Window
from wusu_lib.synthetic.street_grid import Box

# Ground that is not an object: courtyards, verges and yards, and areas with an irregular outline.


def lay(pen: Pen, box: Box, material: str, green: float, rng: np.random.Generator) -> None:
    """Unlabelled ground over a box: a hard or earthen material, grass on the share ``green`` (0 to 1) of
    it."""
    hard, soft = materials.sample_spectra(material, rng), materials.sample_spectra("grass", rng)
    window = pen.box(box)
    if window is None:
        return
    inside = window.within(box.width / 2, box.depth / 2)
    patchy = pen.texture("patchy", window)
    cloudy = pen.texture("cloudy", window)
    planted = inside & (patchy + cloudy > _threshold(pen, window, green))
    shade = 1 + 0.10 * cloudy + 0.06 * patchy
    pen.fill(window, inside, hard, rough=materials.MATERIALS[material].rough, shade=shade)
    pen.fill(window, planted, materials.plants(soft, pen.acquisition.leaf), rough=0.12, shade=shade)


def _threshold(pen: Pen, window: Window, green: float) -> float:
    """What the patchy and the cloudy noise add up to where grass begins."""
    if green <= 0:
        return np.inf
    known, key = pen.textures.thresholds, (*window.around, green)
    if key not in known:
        patchy, cloudy = (getattr(pen.textures, name) for name in ("patchy", "cloudy"))
        both = materials.cut_texture(patchy, *window.around) + materials.cut_texture(cloudy, *window.around)
        known[key] = float(np.quantile(both, 1 - green))
    return known[key]


def scatter(pen: Pen, box: Box, density: float, rng: np.random.Generator) -> None:
    """Single trees over a box, unlabelled."""
    window = pen.box(box)
    if window is not None:
        pen.trees(window, window.within(box.width / 2, box.depth / 2), density, rng)


def outline(window: Window, radius: float, rng_shape: np.ndarray, stretch: float = 1.0) -> np.ndarray:
    """Mask [n] of a blob about the window's centre: ``radius`` m times 1 + harmonics 2 to 4 given by
    ``rng_shape`` [3, 2].

    ``stretch`` lengthens it along u and narrows it along v.
    """
    u, v = window.u / stretch, window.v * stretch
    angle = np.arctan2(v, u)
    edge = np.ones_like(angle)
    for k, (amplitude, phase) in enumerate(rng_shape, start=2):
        edge += amplitude * np.cos(k * angle + phase)
    return np.hypot(u, v) < radius * edge


def draw_shape(rng: np.random.Generator, wobble: float = 0.10) -> np.ndarray:
    """Harmonics [3, 2] (amplitude, phase) for ``outline``."""
    return np.stack([rng.uniform(-wobble, wobble, 3), rng.uniform(0, 2 * np.pi, 3)], axis=1)


def park_cars(pen: Pen, box: Box, hall: tuple[float, float], rng: np.random.Generator) -> None:
    """Rows of parked cars over a box, outside half sides ``hall`` about its centre; other cars at each
    date."""
    today = np.random.default_rng([int(rng.integers(2**31)), pen.acquisition.index])
    window = pen.box(box)
    if window is None:
        return
    outside = window.within(box.width / 2, box.depth / 2) & ~window.within(*hall)
    stalls = outside & (window.v % 9 < 4.5) & (window.u % 3 < 2)
    cell = (np.floor(window.u / 3) * 131 + np.floor(window.v / 9) * 17).astype(np.int64) % 256
    for name, share in (("white", 0.22), ("black", 0.22), ("roof red", 0.05)):
        pen.fill(window, stalls & (today.random(256) < share)[cell], materials.sample_spectra(name, today))


# Green and blue: woodland, lawns, parks with a lake, parcelled arable land.

ARABLE, WOOD, GRASS, LAKE = 4, 6, 7, 9


def grow(
    pen: Pen, window: Window, mask: np.ndarray, rng: np.random.Generator, code: int | None = WOOD
) -> None:
    """Closed woodland over ``mask`` [n]: dark floor, crowns on it."""
    floor = materials.plants(materials.sample_spectra("tree", rng) * 0.55, pen.acquisition.leaf)
    pen.fill(window, mask, floor, rough=0.15, height=1)
    pen.trees(window, mask, 1.0, rng)
    if code is not None:
        pen.annotate(window, mask, code, rng)


def wood(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """A wood that fills the lot but for a ragged margin, sometimes with a clearing."""
    lay(pen, box, "soil", 0.7, rng)
    scatter(pen, box, 0.4, rng)
    margin, clearing, shape = rng.uniform(1, 5), rng.random() < 0.4, draw_shape(rng, 0.2)
    off = rng.uniform(-0.25, 0.25, 2) * (box.width, box.depth)
    window = pen.box(box)
    if window is None:
        return
    ragged = margin * (1 + 0.6 * pen.texture("patchy", window))
    mask = (np.abs(window.u) < box.width / 2 - ragged) & (np.abs(window.v) < box.depth / 2 - ragged)
    if clearing:
        mask &= ~outline(window.about(*off), 0.2 * min(box.width, box.depth), shape)
    grow(pen, window, mask, rng)


def grove(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """A strip of annotated woodland with a ragged edge that fills a box."""
    window = pen.box(box)
    if window is not None:
        ragged = 1.5 + pen.texture("patchy", window)
        mask = (np.abs(window.u) < box.width / 2 - ragged) & (np.abs(window.v) < box.depth / 2 - ragged)
        grow(pen, window, mask, rng)


def meadow(pen: Pen, window: Window, mask: np.ndarray, rng: np.random.Generator) -> None:
    """Grassland over ``mask`` [n], mown unevenly."""
    spectrum = materials.plants(materials.sample_spectra("grass", rng), pen.acquisition.leaf)
    shade = 1 + 0.06 * pen.texture("patchy", window) + 0.08 * pen.texture("cloudy", window)
    pen.fill(window, mask, spectrum, rough=0.07, shade=shade)
    pen.annotate(window, mask, GRASS, rng)


def lawn(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """A public lawn with paths across it and a few trees."""
    lay(pen, box, "paving", 0.3, rng)
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
    lay(pen, box, "soil", 0.75, rng)
    shape, grove, stretch = (
        draw_shape(rng),
        draw_shape(rng, 0.25),
        np.sqrt(box.width / box.depth) ** rng.uniform(0.8, 1.1),
    )
    off = rng.uniform(-6, 6, 2)
    window = pen.box(box)
    if window is None:
        return
    inside = window.within(box.width / 2 - 2, box.depth / 2 - 2)
    centred = window.about(*off)
    radius = 0.36 * np.sqrt(box.width * box.depth) * pen.dry(*box.centre, 0.3 * min(box.width, box.depth))
    lake = outline(centred, radius, shape, stretch) & inside
    shore = outline(centred, radius + 5, shape, stretch)
    trees = inside & ~shore & (pen.texture("cloudy", window) + 0.3 * grove[0, 1] > 0.9)
    meadow(pen, window, inside & ~shore & ~trees, rng)
    grow(pen, window, trees, rng)
    pen.trees(window, inside & ~lake, 0.15, rng)
    flood(pen, window, lake, rng)
    pen.annotate(window, lake, LAKE, rng)


def flood(
    pen: Pen, window: Window, mask: np.ndarray, rng: np.random.Generator, blend: np.ndarray | float = 0.0
) -> None:
    """Water over ``mask`` [n]; its colour changes with the date and with ``blend`` [n] (-1 to 1)."""
    one, other = _of_the_day("water", pen, rng), _of_the_day("water", pen, rng)
    middle, half = (one + other) / 2, (one - other) / 2
    shade = 1 + 0.05 * pen.texture("cloudy", window)
    pen.fill(window, mask, middle, rough=0.02, shade=shade)
    pen.tint(window, mask, half / middle, np.broadcast_to(blend, mask.shape))


def _of_the_day(material: str, pen: Pen, rng: np.random.Generator) -> np.ndarray:
    """A spectrum [4] that differs between dates; draws as much at every date."""
    return [materials.sample_spectra(material, rng) for _ in range(3)][pen.acquisition.index]


def farm(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """Parcels side by side, some in crop and some ploughed, other ones at each date."""
    lay(pen, box, "soil", 0.5, rng)
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
