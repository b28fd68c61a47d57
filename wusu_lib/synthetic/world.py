"""Other ground than the city's, and other instruments than the one that sees the city. No labels.

``World`` says where the ground differs (street angles, uses of the lots, sun, season), ``Sensor`` how its
light is recorded (bands, gains, gamma, offsets, noise, metres a pixel). The city itself is neither: it is
what ``scene`` makes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from wusu_lib.synthetic import layout, materials, optics, scene
from wusu_lib.synthetic.acquisition import DATES, Acquisition

Range = tuple[float, float]


@dataclass(frozen=True)
class World:
    """Where the ground differs from place to place; what is drawn is drawn evenly from a range.

    ``angles``: of the streets to the image, radians. ``needed`` and ``rest``: uses of the lots, as of
    ``layout.plan``. ``sun``: elevation, ``azimuth``: of the sun, both degrees. ``leaf``: from 0 (bare) to 1.
    """

    angles: Range = (-np.pi / 4, np.pi / 4)
    needed: tuple[tuple[str, ...], ...] = layout.MANDATORY
    rest: Mapping[str, float] = field(default_factory=lambda: dict(layout.REST))
    sun: Range = (35.0, 65.0)
    azimuth: Range = (120.0, 200.0)
    leaf: Range = (0.5, 1.0)

    def __post_init__(self) -> None:
        unknown = sorted({*self.rest, *(use for group in self.needed for use in group)} - set(scene.DRAWERS))
        if unknown:
            raise ValueError(f"uses: got {', '.join(unknown)}; allowed: {', '.join(scene.DRAWERS)}")
        if not np.isclose(sum(self.rest.values()), 1):
            raise ValueError(f"rest: the shares sum to {sum(self.rest.values()):.3f}; expected 1")


@dataclass(frozen=True)
class Sensor:
    """How light is recorded: ``gain * (response @ light) ** gamma + offset``, then noise, clipped to 0 to 1.

    ``response``: one row a recorded band, with the share of each of B, G, R, NIR in it. ``gain`` and
    ``offset``: one number a recorded band. ``noise``: standard deviation. ``ground``: metres a pixel, whole;
    the light of so many metres square is averaged.
    """

    response: tuple[tuple[float, float, float, float], ...]
    gain: tuple[float, ...]
    offset: tuple[float, ...]
    gamma: float = 1.0
    noise: float = 0.0
    ground: int = 1

    def __post_init__(self) -> None:
        bands = {len(self.response), len(self.gain), len(self.offset)}
        if len(bands) != 1:
            raise ValueError(f"response, gain, offset: got {sorted(bands)} bands; expected as many of each")
        if self.ground < 1:
            raise ValueError(f"ground: got {self.ground} m a pixel; expected a whole number from 1 on")


def light_of(world: World, size: int, seed: int) -> np.ndarray:
    """The light of one place, ``size`` m square: float16 [4, size, size], relative reflectance in B,G,R,NIR.

    A pure function of its arguments.
    """
    area = "world"  # in the name of every stream of random numbers: no place of the city has it
    place = scene.generator(seed, area, "place")
    angle, sun, azimuth, leaf = (
        float(place.uniform(*limits)) for limits in (world.angles, world.sun, world.azimuth, world.leaf)
    )
    date = int(place.integers(len(DATES)))
    lean = (float(place.uniform(-0.15, 0.15)), float(place.uniform(-0.15, 0.15)))
    acquisition = Acquisition(area, DATES[date], sun, azimuth, leaf, lean, (0.0, 0.0))
    plan = layout.plan((size, size), angle, scene.generator(seed, area, "layout"), world.needed, world.rest)
    uses = layout.unfold(plan, scene.generator(seed, area, "history"))[date]
    textures = materials.make_textures(scene.generator(seed, area, "textures"))
    canvas = scene.paint(plan, uses, textures, acquisition, seed)
    light = np.empty_like(canvas.bands)
    for rows, columns, tile in optics.tiles(canvas, acquisition, textures):
        light[:, rows, columns] = tile
    return light


def seen(light: np.ndarray, sensor: Sensor, seed: int) -> np.ndarray:
    """Light [4, H, W] as the sensor records it: float32 [bands, H // ground, W // ground], 0 to 1.

    What is left over at the lower and the right edge is not recorded.
    """
    coarse = _averaged(light.astype(np.float32), sensor.ground)
    response = np.array(sensor.response, dtype=np.float32)
    mixed = np.maximum(np.einsum("ij,jhw->ihw", response, coarse), 0) ** np.float32(sensor.gamma)
    gain, offset = (np.array(v, dtype=np.float32)[:, None, None] for v in (sensor.gain, sensor.offset))
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(mixed.shape, dtype=np.float32) * np.float32(sensor.noise)
    return np.clip(mixed * gain + offset + noise, 0, 1)


def _averaged(light: np.ndarray, ground: int) -> np.ndarray:
    channels, height, width = light.shape
    rows, columns = height // ground, width // ground
    cells = light[:, : rows * ground, : columns * ground].reshape(channels, rows, ground, columns, ground)
    return cells.mean(axis=(2, 4))
