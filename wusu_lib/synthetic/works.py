"""Structures and open ground: stadium, plaza, greenhouses, building sites, bare surface, a new street."""

import numpy as np

from wusu_lib.synthetic import green, materials
from wusu_lib.synthetic.canvas import Pen
from wusu_lib.synthetic.green import meadow
from wusu_lib.synthetic.street_grid import Box

ROAD, GRASS, STRUCTURE, EXCAVATION, BARE = 1, 7, 10, 11, 12


def stadium(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """A running track about a pitch, with stands along one side; a court beside it where there is room."""
    green.lay(pen, box, "yard", 0.3, rng)
    green.scatter(pen, box, 0.3, rng)
    long = min(43.0, max(box.width, box.depth) / 2 - 3)
    short = min(25.0, min(box.width, box.depth) / 2 - 3)
    track, turf, stand = (materials.sample_spectra(n, rng) for n in ("track", "grass", "roof light"))
    artificial = rng.random() < 0.4
    turn = 0.0 if box.width >= box.depth else np.pi / 2
    window = pen.window(*box.centre, long, short, turn)
    if window is None or not pen.dry(*box.centre, short):
        return
    reach = np.hypot(np.maximum(np.abs(window.u) - (long - short), 0), window.v)
    lanes = (1 + 0.10 * np.sign(np.sin(reach * 2.6))).astype(np.float32)
    pen.fill(window, reach < short, track, rough=0.04, shade=lanes)
    pitch = reach < short - 7
    mown = (1 + 0.05 * np.sign(np.sin(window.u * 0.7))).astype(np.float32)
    lines = pitch & ((np.abs(window.u) < 0.6) | (np.abs(reach - (short - 7)) < 0.9))
    grass = turf * (1, 1, 1, 0.5) if artificial else materials.plants(turf, pen.acquisition.leaf)
    pen.fill(window, pitch, grass.astype(np.float32), rough=0.05, shade=mown)
    pen.fill(window, lines, 0.8 * materials.sample_spectra("white", rng))
    pen.annotate(window, reach < short, STRUCTURE, rng)
    stands = (np.abs(window.u) < 0.5 * long) & (np.abs(window.v + short - 2.5) < 2.5)
    pen.fill(window, stands, stand, rough=0.1, height=8)


def plaza(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """Patterned paving with rings about its middle and planted corners."""
    green.lay(pen, box, "yard", 0.4, rng)
    tile, ring = rng.uniform(6, 10), rng.uniform(8, 14)
    paving, light = materials.sample_spectra("paving", rng), rng.uniform(0.12, 0.3)
    window = pen.box(box)
    if window is None:
        return
    a, b = box.width / 2 - 4, box.depth / 2 - 4
    grid = (np.abs(window.u % tile - tile / 2) < 0.8) | (np.abs(window.v % tile - tile / 2) < 0.8)
    radius = np.hypot(window.u, window.v)
    rings = (radius < ring) & (radius % 4 < 1.6)
    corners = (np.abs(window.u) > a - 8) & (np.abs(window.v) > b - 8)
    paved = window.within(a, b) & ~corners
    shade = (1 + light * (grid | rings) + 0.04 * pen.texture("cloudy", window)).astype(np.float32)
    pen.fill(window, paved, paving, rough=0.05, shade=shade)
    pen.annotate(window, paved, STRUCTURE, rng)
    pen.trees(window, window.within(a, b) & (corners | ((radius > ring + 3) & grid)), 0.3, rng)


def greenhouse(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """Tunnels of film in close rows, annotated as one structure."""
    green.lay(pen, box, "soil", 0.3, rng)
    film, soil = materials.sample_spectra("film", rng), materials.sample_spectra("soil", rng)
    pitch, along = rng.uniform(7.5, 10), rng.random() < 0.5
    window = pen.box(box)
    if window is None:
        return
    inside = window.within(box.width / 2 - 5, box.depth / 2 - 5)
    p, q = (window.u, window.v) if along else (window.v, window.u)
    phase = p % pitch
    tunnel = inside & (phase < pitch - 1.8) & (np.abs(q) > 1.5)
    arch = (0.78 + 0.35 * np.sin(np.pi * phase / (pitch - 1.8))).astype(np.float32)
    pen.fill(window, inside, soil, rough=0.1)
    pen.fill(window, tunnel, film, rough=0.06, height=3, shade=arch)
    pen.annotate(window, inside, STRUCTURE, rng)


def excavation(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """A building site: rubble and clay in patches, a dark pit, a haul road, huts."""
    green.lay(pen, box, "soil", 0.25, rng)
    clay, rubble = materials.sample_spectra("clay", rng), materials.sample_spectra("rubble", rng)
    share, tilt, ragged = rng.uniform(-0.6, 0.9), rng.uniform(-0.5, 0.5), rng.uniform(0.5, 2.5)
    pit = rng.uniform(-0.2, 0.2, 2) * (box.width, box.depth)
    shape, huts = green.draw_shape(rng, 0.15), rng.uniform(-0.35, 0.35, (3, 2))
    window = pen.box(box)
    if window is None:
        return
    patchy, cloudy = pen.texture("patchy", window), pen.texture("cloudy", window)
    edge = 3 + ragged * (1 + patchy)
    inside = (np.abs(window.u) < box.width / 2 - edge) & (np.abs(window.v) < box.depth / 2 - edge)
    shade = 1 + 0.16 * patchy + 0.10 * cloudy
    pen.fill(window, inside, clay, rough=0.20, shade=shade)
    pen.fill(window, inside & (cloudy + 0.5 * patchy > share), rubble, rough=0.22, shade=shade)
    centred = window.about(*pit)
    deep = inside & green.outline(centred, 0.22 * min(box.width, box.depth), shape)
    benches = (0.62 + 0.12 * np.sign(np.sin(np.hypot(centred.u, centred.v)))).astype(np.float32)
    pen.fill(window, deep, clay, rough=0.15, shade=benches)
    haul = inside & (np.abs(window.v - tilt * window.u - pit[1]) < 2.4)
    pen.fill(window, haul, rubble * np.float32(1.15), rough=0.06)
    pen.annotate(window, inside, EXCAVATION, rng)
    for u, v in huts * (box.width, box.depth):
        u, v = u + box.centre[0], v + box.centre[1]
        pen.rect(float(u), float(v), 5.0, 1.8, "roof blue" if u > v else "white", rng, height=3)


def bare(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """Cleared ground, smooth, with tufts of weeds."""
    green.lay(pen, box, "soil", 0.5, rng)
    spectrum, weeds, margin = (
        materials.sample_spectra("bare", rng),
        materials.sample_spectra("grass", rng),
        rng.uniform(2, 5),
    )
    window = pen.box(box)
    if window is None:
        return
    patchy, cloudy = pen.texture("patchy", window), pen.texture("cloudy", window)
    edge = margin * (1 + 0.4 * cloudy)
    inside = (np.abs(window.u) < box.width / 2 - edge) & (np.abs(window.v) < box.depth / 2 - edge)
    pen.fill(window, inside, spectrum, rough=0.06, shade=1 + 0.10 * cloudy)
    tufts = inside & (patchy > 1.5)
    pen.fill(window, tufts, materials.plants(0.5 * (weeds + spectrum), pen.acquisition.leaf), rough=0.1)
    pen.annotate(window, inside, BARE, rng)


def street(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """A new street along the lot with lawns on both sides."""
    green.lay(pen, box, "paving", 0.2, rng)
    half, along = rng.uniform(4.5, 6.5), box.width >= box.depth
    window = pen.box(box)
    if window is None:
        return
    q = window.v if along else window.u
    inside = window.within(box.width / 2 - 1, box.depth / 2 - 1)
    meadow(pen, window, inside & (np.abs(q) > half + 3), rng)
    pen.trees(window, inside & (np.abs(np.abs(q) - half - 3) < 2.5), 0.35, rng)
    asphalt = materials.sample_spectra("asphalt", rng)
    road = window.within(box.width / 2, box.depth / 2) & (np.abs(q) < half)
    pen.fill(window, road, asphalt, rough=0.05, shade=(1 + 0.5 * (np.abs(q) < 0.5)).astype(np.float32))
    pen.annotate(window, road, ROAD, rng)
