"""The canvas that one date of a scene is painted on, and the strokes that every object is made of.

Also the label errors that are planted on purpose.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from wusu_lib.synthetic import materials
from wusu_lib.synthetic.acquisition import Acquisition
from wusu_lib.synthetic.materials import Textures
from wusu_lib.synthetic.street_grid import Box, Frame, River

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
    """A part of the canvas; ``u``, ``v`` [h, w] are its pixels' coordinates about an object's centre."""

    rows: slice
    columns: slice
    u: np.ndarray
    v: np.ndarray

    def within(self, a: float, b: float) -> np.ndarray:
        """Mask [h, w] of the rectangle |u| < a, |v| < b."""
        return (np.abs(self.u) < a) & (np.abs(self.v) < b)


class Pen:
    """Paints objects given in grid coordinates on the canvas of one date."""

    def __init__(
        self,
        canvas: Canvas,
        frame: Frame,
        textures: Textures,
        acquisition: Acquisition,
        river: River,
    ) -> None:
        self.canvas, self.frame, self.textures, self.acquisition = canvas, frame, textures, acquisition
        self.river = river
        self._owner = self._count = 0

    def start(self, owner: int) -> None:
        """Objects from here on belong to ``owner`` (> 0)."""
        self._owner, self._count = owner, 0

    def dry(self, u: float, v: float, radius: float) -> bool:
        """Whether a circle of ``radius`` m about (u, v) stays off the river and its banks."""
        return bool(self.river.clearance(*self.frame.yx(u, v)) > radius)

    def window(self, u: float, v: float, a: float, b: float, turn: float = 0.0) -> Window | None:
        """The canvas about a rectangle of half sides a, b turned by ``turn`` radians; None if it is out of
        view."""
        y, x = self.frame.yx(u, v)
        reach = np.hypot(a, b) * 1.1 + 2
        height, width = self.canvas.codes.shape
        rows = slice(max(int(y - reach), 0), min(int(y + reach) + 1, height))
        columns = slice(max(int(x - reach), 0), min(int(x + reach) + 1, width))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return None
        ys = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]
        xs = np.arange(columns.start, columns.stop, dtype=np.float32)[None, :]
        us, vs = self.frame.uv(ys, xs)
        us, vs = us - np.float32(u), vs - np.float32(v)
        if turn:
            cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
            us, vs = cos * us + sin * vs, cos * vs - sin * us
        return Window(rows, columns, us, vs)

    def texture(self, name: str, window: Window) -> np.ndarray:
        """The named tile over a window, [h, w]."""
        return materials.cut_texture(getattr(self.textures, name), window.rows, window.columns)

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
        """Paint ``mask`` [h, w] with a spectrum [4], times ``shade`` [h, w] if given; height in metres."""
        where = (window.rows, window.columns)
        colour = spectrum[:, None] if shade is None else spectrum[:, None] * shade[mask]
        self.canvas.bands[(slice(None), *where)][:, mask] = colour
        self.canvas.rough[where][mask] = round(100 * rough)
        self.canvas.height[where][mask] = height if np.ndim(height) == 0 else height[mask]  # type: ignore[index]

    def tint(self, window: Window, mask: np.ndarray, change: np.ndarray, where: np.ndarray) -> None:
        """Shift the colour of ``mask`` [h, w] by the relative ``change`` [4] times ``where`` [h, w]."""
        bands = self.canvas.bands[:, window.rows, window.columns]
        bands[:, mask] *= (1 + change[:, None] * where[mask]).astype(np.float16)

    def annotate(self, window: Window, mask: np.ndarray, code: int, rng: np.random.Generator) -> None:
        """Give ``mask`` [h, w] its code, or what a tired annotator gives it; draws three numbers."""
        self._count += 1
        number = self._owner * OBJECTS_PER_OWNER + self._count
        error = draw_error(code, int(mask.sum()), self.acquisition.index, rng)
        where = (window.rows, window.columns)
        self.canvas.codes[where][mask] = code if error is None else error.given_code
        self.canvas.wrong[where][mask] = 0 if error is None else number
        if error is not None:
            self.canvas.label_errors[number] = error

    def erase(self, window: Window, mask: np.ndarray) -> None:
        """Leave ``mask`` [h, w] unlabelled, rightly."""
        where = (window.rows, window.columns)
        self.canvas.codes[where][mask] = 0
        self.canvas.wrong[where][mask] = 0

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
        """The canvas about a box of the grid, coordinates about its centre."""
        return self.window(*box.centre, box.width / 2, box.depth / 2)

    def trees(self, window: Window, mask: np.ndarray, density: float, rng: np.random.Generator) -> None:
        """Crowns over the share ``density`` (0 to 1) of the canopy within ``mask`` [h, w]."""
        leafy, twigs = materials.sample_spectra("tree", rng), materials.sample_spectra("twigs", rng)
        crown, tree = self.texture("crown", window), self.texture("tree", window)
        lit = self.texture("lit", window)
        canopy = mask & (tree < density) & (crown > 0.12)
        shade = (0.62 + 0.42 * crown + 0.9 * lit) * (0.8 + 0.4 * ((tree * 37) % 1))
        height = (2 + 7 * crown).astype(np.uint8)
        bare = (tree * 101) % 1 > 0.35 + 0.65 * self.acquisition.leaf  # a third of the trees is evergreen
        leaf = 0.5 + 0.5 * self.acquisition.leaf
        self.fill(
            window, canopy & ~bare, materials.plants(leafy, leaf), rough=0.12, height=height, shade=shade
        )
        self.fill(window, canopy & bare, twigs, rough=0.16, height=height, shade=shade)
