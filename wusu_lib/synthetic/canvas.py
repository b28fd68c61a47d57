"""The canvas that one date of a scene is painted on, and the strokes that every object is made of.

Also the label errors that are planted on purpose.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from wusu_lib.synthetic import materials
from wusu_lib.synthetic.acquisition import Acquisition
from wusu_lib.synthetic.layout import Layout
from wusu_lib.synthetic.materials import Textures
from wusu_lib.synthetic.street_grid import Box

# Label errors planted on purpose: small objects left unlabelled or given a neighbouring class.

UNLABELLED_SHARE = 0.03  # of small objects
MISLABELLED_SHARE = 0.02
LARGEST = 900  # pixels; larger objects are annotated rightly

# Code given by mistake for each true code; River is never mistaken.
CONFUSED: dict[int, tuple[int, ...]] = {
    1: (10,),
    2: (3, 10),
    3: (2,),
    4: (7, 12),
    6: (7,),
    7: (6, 4),
    9: (8,),
    10: (2, 11),
    11: (12, 10),
    12: (11, 4),
}


@dataclass(frozen=True)
class LabelError:
    """One planted error: ``kind`` "unlabelled" or "mislabelled", codes as on disk."""

    kind: str
    true_code: int
    given_code: int


def draw_error(code: int, pixels: int, date_index: int, rng: np.random.Generator) -> LabelError | None:
    """Decide whether an object of ``pixels`` pixels is annotated wrongly at a date.

    A class mistaken is mistaken at every date at which the object stands; a label left out is left out at
    one date in half of the cases and at all dates in the other. Always draws three numbers, whatever comes
    out.
    """
    chance, choice, when = rng.random(3)
    if pixels > LARGEST or code not in CONFUSED:
        return None
    if chance < UNLABELLED_SHARE:
        return LabelError("unlabelled", code, 0) if when > 0.5 or int(when * 6) == date_index else None
    if chance < UNLABELLED_SHARE + MISLABELLED_SHARE:
        return LabelError("mislabelled", code, CONFUSED[code][int(choice * len(CONFUSED[code]))])
    return None


OBJECTS_PER_OWNER = (
    1000  # object number = owner x this + count: the same at every date at which the owner is drawn alike
)


MARGIN = 5.0  # metres about an object that a stroke can reach: labels drawn by hand, trees along a street
LOT_MARGIN = 12.0  # about a lot: ragged edges


@dataclass
class Canvas:
    """One date of a scene [H, W]: what lies on the ground, before the sensor sees it.

    ``bands`` float16 [4,H,W] relative reflectance in B,G,R,NIR; ``codes`` uint8 as annotated; ``height``
    uint8 in metres; ``rough`` uint8, texture amplitude in percent; ``wrong`` int32, 0 or the number of the
    wrongly annotated object.
    """

    bands: np.ndarray
    codes: np.ndarray
    height: np.ndarray
    rough: np.ndarray
    wrong: np.ndarray
    label_errors: dict[int, LabelError] = field(default_factory=dict)

    @classmethod
    def blank(cls, height: int, width: int) -> "Canvas":
        """Nothing painted yet."""
        shape = (height, width)
        codes, metres, rough = (np.zeros(shape, dtype=np.uint8) for _ in range(3))
        return cls(np.zeros((4, *shape), np.float16), codes, metres, rough, np.zeros(shape, np.int32))


@dataclass(frozen=True)
class Window:
    """The pixels [n] of the canvas about an object.

    ``rows``, ``columns``: where they are in a scene ``width`` px wide; ``u``, ``v``: their coordinates about
    the object's centre; ``around``: the rows and columns that were searched for them.
    """

    rows: np.ndarray
    columns: np.ndarray
    u: np.ndarray
    v: np.ndarray
    width: int
    around: tuple[slice, slice]

    @cached_property
    def places(self) -> np.ndarray:
        """Their places [n] in the flattened scene."""
        return self.rows * self.width + self.columns

    @cached_property
    def tiled(self) -> np.ndarray:
        """Their places [n] in a flattened texture tile."""
        return self.rows % materials.SIZE * materials.SIZE + self.columns % materials.SIZE

    def within(self, a: float, b: float) -> np.ndarray:
        """Mask [n] of the rectangle |u| < a, |v| < b."""
        return (np.abs(self.u) < a) & (np.abs(self.v) < b)

    def about(self, u: float, v: float) -> "Window":
        """The same pixels with coordinates about (u, v)."""
        return replace(self, u=self.u - u, v=self.v - v)


class Pen:
    """Paints objects given in grid coordinates on the canvas of one date."""

    def __init__(self, canvas: Canvas, plan: Layout, textures: Textures, acquisition: Acquisition) -> None:
        self.canvas, self.frame, self.textures, self.acquisition = canvas, plan.frame, textures, acquisition
        self.river = plan.river
        self._coordinates = plan.coordinates
        self._course = plan.river.course(np.arange(plan.shape[1], dtype=np.float32))
        # Strokes write to single pixels by their place in the flattened scene.
        self._bands = canvas.bands.reshape(4, -1)
        self._codes, self._height, self._rough, self._wrong = (
            layer.reshape(-1) for layer in (canvas.codes, canvas.height, canvas.rough, canvas.wrong)
        )
        self._owner = self._count = 0
        self._lot: tuple[Box, Window | None] | None = None

    def start(self, owner: int) -> None:
        """Objects from here on belong to ``owner`` (> 0)."""
        self._owner, self._count = owner, 0

    def dry(self, u: float, v: float, radius: float) -> bool:
        """Whether a circle of ``radius`` m about (u, v) stays off the river and its banks."""
        return bool(self.river.clearance(*self.frame.yx(u, v)) > radius)

    def off_river(self, window: Window) -> np.ndarray:
        """Mask [n] of a window's pixels off the river."""
        course, length = (each[window.columns] for each in self._course)
        return np.abs(window.rows.astype(np.float32) - course) / length - self.river.width / 2 > 0

    def window(
        self, u: float, v: float, a: float, b: float, turn: float = 0.0, margin: float = MARGIN
    ) -> Window | None:
        """The pixels of a rectangle of half sides a, b turned by ``turn`` radians, and of ``margin`` m about
        it.

        None if it is out of view.
        """
        y, x = self.frame.yx(u, v)
        reach = np.hypot(a, b) * 1.1 + 2
        height, width = self.canvas.codes.shape
        rows = slice(max(int(y - reach), 0), min(int(y + reach) + 1, height))
        columns = slice(max(int(x - reach), 0), min(int(x + reach) + 1, width))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return None
        us, vs = (
            each[rows, columns] - np.float32(at) for each, at in zip(self._coordinates, (u, v), strict=True)
        )
        if turn:
            cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
            us, vs = cos * us + sin * vs, cos * vs - sin * us
        near = (np.abs(us) < a + margin) & (np.abs(vs) < b + margin)
        ys, xs = near.nonzero()
        return Window(ys + rows.start, xs + columns.start, us[near], vs[near], width, (rows, columns))

    def texture(self, name: str, window: Window) -> np.ndarray:
        """The named tile at a window's pixels, [n]."""
        return getattr(self.textures, name).reshape(-1).take(window.tiled)

    def fill(
        self,
        window: Window,
        mask: np.ndarray,
        spectrum: np.ndarray,
        *,
        rough: float = 0.06,
        height: int | np.ndarray = 0,
        shade: np.ndarray | None = None,
    ) -> None:
        """Paint ``mask`` [n], or the pixels of these numbers, with a spectrum [4], times ``shade`` [n].

        ``height`` in metres, of all or of each pixel [n].
        """
        metres = height if np.ndim(height) == 0 else height[mask]  # type: ignore[index]
        self._paint(window.places[mask], spectrum, rough, metres, None if shade is None else shade[mask])

    def _paint(
        self,
        places: np.ndarray,
        spectrum: np.ndarray,
        rough: float,
        height: int | np.ndarray,
        shade: np.ndarray | None,
    ) -> None:
        for band, light in zip(self._bands, spectrum, strict=True):
            band[places] = light if shade is None else (light * shade).astype(np.float16)
        self._rough[places] = round(100 * rough)
        self._height[places] = height

    def tint(self, window: Window, mask: np.ndarray, change: np.ndarray, where: np.ndarray) -> None:
        """Shift the colour of ``mask`` [n] by the relative ``change`` [4] times ``where`` [n]."""
        places, where = window.places[mask], where[mask]
        for band, shift in zip(self._bands, change, strict=True):
            band[places] *= (1 + shift * where).astype(np.float16)

    def brighten(self, window: Window, mask: np.ndarray, factor: float) -> None:
        """Multiply the colour of ``mask`` [n]."""
        places = window.places[mask]
        for band in self._bands:
            band[places] *= np.float16(factor)

    def annotate(self, window: Window, mask: np.ndarray, code: int, rng: np.random.Generator) -> None:
        """Give ``mask`` [n] its code, or what a tired annotator gives it; draws three numbers."""
        self._count += 1
        number = self._owner * OBJECTS_PER_OWNER + self._count
        places = window.places[mask]
        error = draw_error(code, places.size, self.acquisition.index, rng)
        self._codes[places] = code if error is None else error.given_code
        self._wrong[places] = 0 if error is None else number
        if error is not None:
            self.canvas.label_errors[number] = error

    def erase(self, window: Window, mask: np.ndarray) -> None:
        """Leave ``mask`` [n] unlabelled, rightly."""
        places = window.places[mask]
        self._codes[places] = 0
        self._wrong[places] = 0

    def rect(
        self,
        u: float,
        v: float,
        a: float,
        b: float,
        material: str,
        rng: np.random.Generator,
        *,
        code: int | None = None,
        height: int = 0,
        turn: float = 0.0,
        shade: Callable[[Window], np.ndarray] | None = None,
    ) -> None:
        """A rectangle of half sides a (along u) and b; its label is drawn by hand, up to a metre off."""
        spectrum = materials.sample_spectra(material, rng)
        hand = rng.normal(0, 0.5, 4)
        window = self.window(u, v, a, b, turn)
        if window is None:
            return
        shading = None if shade is None else shade(window)
        rough = materials.MATERIALS[material].rough
        self.fill(window, window.within(a, b), spectrum, rough=rough, height=height, shade=shading)
        if code is not None:
            label = (np.abs(window.u - hand[0]) < a + hand[2]) & (np.abs(window.v - hand[1]) < b + hand[3])
            self.annotate(window, label, code, rng)

    def box(self, box: Box) -> Window | None:
        """The pixels of a box of the grid and about it, coordinates about its centre."""
        if self._lot is None or self._lot[0] != box:  # a lot is asked for again and again
            self._lot = box, self.window(*box.centre, box.width / 2, box.depth / 2, margin=LOT_MARGIN)
        return self._lot[1]

    def trees(self, window: Window, mask: np.ndarray, density: float, rng: np.random.Generator) -> None:
        """Crowns over the share ``density`` (0 to 1) of the canopy within ``mask`` [n]."""
        leafy, twigs = materials.sample_spectra("tree", rng), materials.sample_spectra("twigs", rng)
        tiled, places = window.tiled[mask], window.places[mask]
        tree, crown = (tile.reshape(-1).take(tiled) for tile in (self.textures.tree, self.textures.crown))
        canopy = np.flatnonzero((tree < density) & (crown > 0.12))
        tree, crown, places = tree[canopy], crown[canopy], places[canopy]
        lit = self.textures.lit.reshape(-1).take(tiled[canopy])
        shade = (0.62 + 0.42 * crown + 0.9 * lit) * (0.8 + 0.4 * ((tree * 37) % 1))
        height = (2 + 7 * crown).astype(np.uint8)
        bare = (tree * 101) % 1 > 0.35 + 0.65 * self.acquisition.leaf  # a third of the trees is evergreen
        leaf = 0.5 + 0.5 * self.acquisition.leaf
        for some, spectrum, rough in ((~bare, materials.plants(leafy, leaf), 0.12), (bare, twigs, 0.16)):
            self._paint(places[some], spectrum, rough, height[some], shade[some])
