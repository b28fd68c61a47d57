"""The 111 labels of a from-to map: what each stands for, its name and its colour.

Label 0 is "unchanged", 1 to 110 are the transitions between two different classes, ordered by the class index
of the first date and then by that of the second; 255 is unlabelled at either date, and is never a change. A
change within one class (a building replaced by a building) has no label: two class maps cannot show it.
"""

import numpy as np
import pandas as pd

from wusu_lib import legend

UNCHANGED = 0
UNLABELLED = 255
N_LABELS = 1 + len(legend.CLASSES) * (len(legend.CLASSES) - 1)  # 111
UNCHANGED_NAME = "Unchanged"
UNCHANGED_COLOUR = "#cdd0d4"
_SHARE_OF_FIRST = 0.2  # of the first date's colour in a transition's: the new class is what a map should show


def _pairs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """LABEL, FIRST and SECOND as below."""
    label = np.full((legend.N_INDEX, legend.N_INDEX), UNLABELLED, dtype=np.uint8)
    first, second = np.zeros((2, 256), dtype=np.uint8)
    classes = range(1, legend.N_INDEX)
    label[classes, classes] = UNCHANGED
    transitions = [(a, b) for a in classes for b in classes if a != b]
    for number, (a, b) in enumerate(transitions, start=1):
        label[a, b], first[number], second[number] = number, a, b
    return label, first, second


# LABEL: uint8 [12, 12], label of (class index at the first date, at the second). FIRST, SECOND: uint8 [256],
# class index of a label at either date; 0 for labels 0 and 255, of which the label does not tell the class.
LABEL, FIRST, SECOND = _pairs()


def _mixed(first: int, second: int) -> str:
    """Hex colour of a transition: mostly the second class's, tinted by the first's, mixed in sRGB."""
    a, b = (np.array([int(legend.COLOURS[i][k : k + 2], 16) for k in (1, 3, 5)]) for i in (first, second))
    mixed = np.rint(_SHARE_OF_FIRST * a + (1 - _SHARE_OF_FIRST) * b).astype(int)
    return "#" + "".join(f"{value:02x}" for value in mixed)


NAMES: tuple[str, ...] = (
    UNCHANGED_NAME,
    *(f"{legend.NAMES[FIRST[n]]} to {legend.NAMES[SECOND[n]]}" for n in range(1, N_LABELS)),
)
COLOURS: tuple[str, ...] = (
    UNCHANGED_COLOUR,
    *(_mixed(int(FIRST[n]), int(SECOND[n])) for n in range(1, N_LABELS)),
)


def label_of(first: str, second: str) -> int:
    """Label of the transition between two classes by name (0 if they are the same).

    Raises ValueError, listing the known names, for another name.
    """
    known = legend.NAMES[1:]
    for name in (first, second):
        if name not in known:
            raise ValueError(f"class: got {name!r}; known: {', '.join(known)}")
    return int(LABEL[legend.NAMES.index(first), legend.NAMES.index(second)])


def colour_table() -> np.ndarray:
    """Colours of a from-to raster by value: uint8 [256, 3] RGB; white for values that are no label."""
    table = np.full((256, 3), 255, dtype=np.uint8)
    hexes = [*COLOURS, legend.UNLABELLED_COLOUR]
    table[[*range(N_LABELS), UNLABELLED]] = [[int(h[k : k + 2], 16) for k in (1, 3, 5)] for h in hexes]
    return table


def table() -> pd.DataFrame:
    """One row a label, 0 to 110: label, from, to (class names, empty for "unchanged"), name, colour."""
    labels = np.arange(N_LABELS)
    first, second = (["" if i == 0 else legend.NAMES[i] for i in at[labels]] for at in (FIRST, SECOND))
    return pd.DataFrame({"label": labels, "from": first, "to": second, "name": NAMES, "colour": COLOURS})
