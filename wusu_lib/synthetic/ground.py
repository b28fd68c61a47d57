"""Ground that is not an object: courtyards, verges and yards, and areas with an irregular outline."""

import numpy as np

from wusu_lib.synthetic import spectra
from wusu_lib.synthetic.frame import Box
from wusu_lib.synthetic.pen import Pen, Window


def lay(pen: Pen, box: Box, material: str, green: float, rng: np.random.Generator) -> None:
    """Unlabelled ground over a box: a hard or earthen material, grass on the share ``green`` (0 to 1) of
    it."""
    hard, soft = spectra.sample(material, rng), spectra.sample("grass", rng)
    window = pen.box(box)
    if window is None:
        return
    inside = window.within(box.width / 2, box.depth / 2)
    patchy = pen.texture("patchy", window)
    cloudy = pen.texture("cloudy", window)
    threshold = float(np.quantile(patchy + cloudy, 1 - green)) if green > 0 else np.inf
    planted = inside & (patchy + cloudy > threshold)
    shade = 1 + 0.10 * cloudy + 0.06 * patchy
    pen.fill(window, inside, hard, rough=spectra.MATERIALS[material].rough, shade=shade)
    pen.fill(window, planted, spectra.plants(soft, pen.acquisition.leaf), rough=0.12, shade=shade)


def scatter(pen: Pen, box: Box, density: float, rng: np.random.Generator) -> None:
    """Single trees over a box, unlabelled."""
    window = pen.box(box)
    if window is not None:
        pen.trees(window, window.within(box.width / 2, box.depth / 2), density, rng)


def outline(window: Window, radius: float, rng_shape: np.ndarray, stretch: float = 1.0) -> np.ndarray:
    """Mask [h, w] of a blob about the window's centre: ``radius`` m times 1 + harmonics 2 to 4 given by
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
        pen.fill(window, stalls & (today.random(256) < share)[cell], spectra.sample(name, today))
