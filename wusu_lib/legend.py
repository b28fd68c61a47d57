"""The class table of WUSU in one place: codes on disk, names, colours, and the ids a model is trained on.

Three numberings, and only these three, are used everywhere:

- **code**: the value in a class mask on disk: 0 unlabelled, 1 to 4 and 6 to 12 the classes; 5 is not used.
- **index**: 0 to 11, 0 = unlabelled, 1 to 11 = the classes in the order of ``CLASSES``. Confusion matrices
  use it.
- **train id**: what the loss sees. ``background="ignore"``: index - 1 (0 to 10), unlabelled = 255.
  ``background="class"`` (the study's protocol): index (0 to 11), nothing ignored.

With ``classes="merged"`` low and high buildings are one class and rivers and lakes another. A merged class
keeps the index of its first member (Low building, River), so that maps and matrices of both kinds have the
same 12 indices; the second member's index then never occurs. Train ids are numbered without a gap.

Codes and names: Shi et al. 2023, Int. J. Digital Earth 16(1), doi 10.1080/17538947.2023.2246445,
class_mapping.json.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

Background = Literal["ignore", "class"]
Scheme = Literal["all", "merged"]
IGNORE = 255
UNLABELLED = "Unlabelled"
UNLABELLED_COLOUR = "#f3f2f1"
NO_INDEX = 254  # marks a code that the legend does not know


@dataclass(frozen=True)
class LandClass:
    """One land-cover class: its index (1 to 11), its code on disk, its name and its colour (hex RGB)."""

    index: int
    code: int
    name: str
    colour: str


CLASSES: tuple[LandClass, ...] = tuple(
    LandClass(index, code, name, colour)
    for index, (code, name, colour) in enumerate(
        [
            (1, "Road", "#76787d"),
            (2, "Low building", "#f192a9"),
            (3, "High building", "#941b0c"),
            (4, "Arable land", "#ffe90f"),
            (6, "Woodland", "#28644b"),
            (7, "Grassland", "#c3e8a5"),
            (8, "River", "#233d8b"),
            (9, "Lake", "#7bd2f2"),
            (10, "Structure", "#9c51d8"),
            (11, "Excavation", "#b35b00"),
            (12, "Bare surface", "#ba9d5f"),
        ],
        start=1,
    )
)
N_INDEX = len(CLASSES) + 1
NAMES: tuple[str, ...] = (UNLABELLED, *(c.name for c in CLASSES))
COLOURS: tuple[str, ...] = (UNLABELLED_COLOUR, *(c.colour for c in CLASSES))
CODES: tuple[int, ...] = (0, *(c.code for c in CLASSES))


@dataclass(frozen=True)
class MergedClass:
    """Two classes taken as one: their indices (the first stands for both), its name and its colour."""

    members: tuple[int, int]
    name: str
    colour: str


# The colours are those of a member each: what is left of the palette stays as far apart as it was.
MERGED: tuple[MergedClass, ...] = (
    MergedClass((2, 3), "Building", "#941b0c"),
    MergedClass((7, 8), "Water", "#233d8b"),
)

_CODE_TO_INDEX = np.full(256, NO_INDEX, dtype=np.uint8)
_CODE_TO_INDEX[list(CODES)] = np.arange(N_INDEX, dtype=np.uint8)


def index_from_code(codes: np.ndarray) -> np.ndarray:
    """Class index (uint8, 0 to 11) of uint8 mask codes, any shape.

    Raises ValueError naming the codes that are not in the legend.
    """
    index = _CODE_TO_INDEX[codes]
    if (index == NO_INDEX).any():
        unknown = np.unique(codes[index == NO_INDEX]).tolist()
        raise ValueError(f"mask holds codes {unknown}; expected only {list(CODES)}")
    return index


def code_from_index(index: np.ndarray) -> np.ndarray:
    """Mask codes (uint8) of class indices 0 to 11, any shape."""
    return np.asarray(CODES, dtype=np.uint8)[index]


@dataclass(frozen=True)
class LabelSpace:
    """The classes that a model predicts and is judged in: what unlabelled ground is, and what is merged.

    Raises ValueError for a value that is not allowed.
    """

    background: Background = "ignore"
    classes: Scheme = "all"

    def __post_init__(self) -> None:
        for name, known in (("background", get_args(Background)), ("classes", get_args(Scheme))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}: got {getattr(self, name)!r}; allowed: {', '.join(known)}")

    @property
    def title(self) -> str:
        """Its name on pages, as "9 merged classes, unlabelled ground ignored"."""
        merged = "merged classes" if self.classes == "merged" else "classes"
        ground = "ignored" if self.background == "ignore" else "a class"
        return f"{self.outputs} {merged}, unlabelled ground {ground}"

    @property
    def merged(self) -> tuple[MergedClass, ...]:
        """The classes that are taken as one; none with ``classes="all"``."""
        return MERGED if self.classes == "merged" else ()

    @property
    def scored(self) -> tuple[int, ...]:
        """The class indices that a model predicts, in the order of its train ids."""
        first = 1 if self.background == "ignore" else 0
        return tuple(i for i in range(first, N_INDEX) if self.representatives[i] == i)

    @property
    def outputs(self) -> int:
        """Number of classes a model predicts: 11 with "ignore", 12 with "class"; two fewer where merged."""
        return len(self.scored)

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each of the 12 indices; both members of a merged class have its name."""
        return self._with_merged(NAMES, "name")

    @property
    def colours(self) -> tuple[str, ...]:
        """Colour (hex RGB) of each of the 12 indices; both members of a merged class have its colour."""
        return self._with_merged(COLOURS, "colour")

    def _with_merged(self, values: tuple[str, ...], attribute: str) -> tuple[str, ...]:
        found = list(values)
        for merged in self.merged:
            for member in merged.members:
                found[member] = getattr(merged, attribute)
        return tuple(found)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names in the order of the train ids."""
        return tuple(self.names[i] for i in self.scored)

    @property
    def representatives(self) -> np.ndarray:
        """The index that stands for each: uint8 [12]; itself, but for a merged class's second member."""
        found = np.arange(N_INDEX, dtype=np.uint8)
        for first, second in (merged.members for merged in self.merged):
            found[second] = first
        return found

    def merge_index(self, index: np.ndarray) -> np.ndarray:
        """Class indices (uint8, any shape) with the members of merged classes taken to the first's index."""
        return self.representatives[index]

    def train_id_from_index(self, index: np.ndarray) -> np.ndarray:
        """Train ids (uint8) of class indices, any shape; unlabelled becomes 255 where it is ignored."""
        table = np.full(N_INDEX, IGNORE, dtype=np.uint8)
        table[list(self.scored)] = np.arange(self.outputs)
        return table[self.merge_index(index)]

    def index_from_train_id(self, train_ids: np.ndarray) -> np.ndarray:
        """Class index (uint8) of train ids (integers 0 to 255, any shape); 255 becomes 0 (unlabelled)."""
        table = np.zeros(IGNORE + 1, dtype=np.uint8)
        table[: self.outputs] = self.scored
        return table[train_ids]

    def judged_with(self, other: "LabelSpace") -> "LabelSpace":
        """The space in which maps of this one and of a baseline's are both judged.

        Unlabelled ground as here; merged where either is: a merged map cannot be taken apart again.
        """
        merged = "merged" in (self.classes, other.classes)
        return LabelSpace(self.background, "merged" if merged else "all")

    def annotated(self) -> "LabelSpace":
        """The same classes without unlabelled ground, for what is judged on annotated ground alone."""
        return LabelSpace("ignore", self.classes)


ELEVEN = LabelSpace()  # the legend's classes, unlabelled ground ignored


def stated_space(background: Background, classes: Scheme | None) -> LabelSpace:
    """The label space of an experiment's parameters; kinds that state no ``classes`` use all of them."""
    return LabelSpace(background, "all" if classes is None else classes)
