"""The class table of WUSU in one place: codes on disk, names, colours, and the ids a model is trained on.

Three numberings, and only these three, are used everywhere:

- **code**: the value in a class mask on disk: 0 unlabelled, 1 to 4 and 6 to 12 the classes; 5 is not used.
- **index**: 0 to 11, 0 = unlabelled, 1 to 11 = the classes in the order of ``CLASSES``. Confusion matrices
  use it.
- **train id**: what the loss sees. ``background="ignore"``: index - 1 (0 to 10), unlabelled = 255.
  ``background="class"`` (the study's protocol): index (0 to 11), nothing ignored.

Codes and names: Shi et al. 2023, Int. J. Digital Earth 16(1), doi 10.1080/17538947.2023.2246445,
class_mapping.json.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

Background = Literal["ignore", "class"]
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

_CODE_TO_INDEX = np.full(256, NO_INDEX, dtype=np.uint8)
_CODE_TO_INDEX[list(CODES)] = np.arange(N_INDEX, dtype=np.uint8)


def check_background(background: str) -> None:
    """Raise ValueError unless ``background`` is "ignore" or "class"."""
    if background not in get_args(Background):
        raise ValueError(f"background: got {background!r}; allowed: {', '.join(get_args(Background))}")


def outputs(background: Background) -> int:
    """Number of classes a model predicts: 11 with "ignore", 12 with "class"."""
    check_background(background)
    return len(CLASSES) if background == "ignore" else N_INDEX


def class_names(background: Background) -> tuple[str, ...]:
    """Names in the order of the train ids."""
    check_background(background)
    return NAMES[1:] if background == "ignore" else NAMES


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


def train_id_from_index(index: np.ndarray, background: Background) -> np.ndarray:
    """Train ids (uint8) of class indices; unlabelled becomes 255 with background="ignore"."""
    check_background(background)
    if background == "class":
        return index.astype(np.uint8)
    return np.where(index == 0, IGNORE, index.astype(np.int16) - 1).astype(np.uint8)


def index_from_train_id(train_ids: np.ndarray, background: Background) -> np.ndarray:
    """Class index (uint8) of train ids; 255 becomes 0 (unlabelled)."""
    check_background(background)
    ids = train_ids.astype(np.int16)
    index = ids if background == "class" else ids + 1
    return np.where(ids == IGNORE, 0, index).astype(np.uint8)
