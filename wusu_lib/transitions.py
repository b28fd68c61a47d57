"""The 111 labels of a from-to map, and two maps of classes made into one.

What each label stands for, its name and its colour; the map itself at memory speed and in bounded memory.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from wusu_lib import legend

# Label 0 is "unchanged", 1 to 110 are the transitions between two different classes, ordered by the class
# index of the first date and then by that of the second; 255 is unlabelled at either date, and is never a
# change. A change within one class (a building replaced by a building) has no label: two class maps cannot
# show it.

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


def _mixed(first: int, second: int, labels: legend.LabelSpace = legend.ELEVEN) -> str:
    """Hex colour of a transition: mostly the second class's, tinted by the first's, mixed in sRGB."""
    colours = labels.colours
    a, b = (np.array([int(colours[i][k : k + 2], 16) for k in (1, 3, 5)]) for i in (first, second))
    mixed = np.rint(_SHARE_OF_FIRST * a + (1 - _SHARE_OF_FIRST) * b).astype(int)
    return "#" + "".join(f"{value:02x}" for value in mixed)


NAMES: tuple[str, ...] = (
    UNCHANGED_NAME,
    *(f"{legend.NAMES[FIRST[n]]} to {legend.NAMES[SECOND[n]]}" for n in range(1, N_LABELS)),
)


def colours(labels: legend.LabelSpace = legend.ELEVEN) -> tuple[str, ...]:
    """Colour (hex RGB) of each of the 111 labels; those of merged classes mix the merged colours."""
    mixed = (_mixed(int(FIRST[n]), int(SECOND[n]), labels) for n in range(1, N_LABELS))
    return (UNCHANGED_COLOUR, *mixed)


COLOURS: tuple[str, ...] = colours()


def colour_table(labels: legend.LabelSpace = legend.ELEVEN) -> np.ndarray:
    """Colours of a from-to raster by value: uint8 [256, 3] RGB; white for values that are no label."""
    table = np.full((256, 3), 255, dtype=np.uint8)
    hexes = [*colours(labels), legend.UNLABELLED_COLOUR]
    table[[*range(N_LABELS), UNLABELLED]] = [[int(h[k : k + 2], 16) for k in (1, 3, 5)] for h in hexes]
    return table


def table() -> pd.DataFrame:
    """One row a label, 0 to 110: label, from, to (class names, empty for "unchanged"), name, colour."""
    labels = np.arange(N_LABELS)
    first, second = (["" if i == 0 else legend.NAMES[i] for i in at[labels]] for at in (FIRST, SECOND))
    return pd.DataFrame({"label": labels, "from": first, "to": second, "name": NAMES, "colour": COLOURS})


# Two maps of classes -> one from-to map, at memory speed and in bounded memory.
#
# A pixel's label follows from its two class indices a and b by arithmetic that never leaves uint8, so
# numpy's vector instructions do it in blocks that stay in the processor's cache. With labels in the order
# of ``transitions``: label = 10 a + b - 10 - [b > a] where a and b differ.

BLOCK = 2**18  # pixels at a time: two scratch blocks and three slices of the maps stay in 2 MiB of cache
_STEP = np.uint8(len(legend.CLASSES) - 1)  # 10 transitions leave each class


def from_to(before: np.ndarray, after: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Label (uint8, see ``transitions``) of each pixel of two maps of class indices 0 to 11, any equal shape.

    255 where either map is 0 (unlabelled), 0 where the class stays, 1 to 110 where it changes. ``out``: a
    uint8 array of the same shape to write to; ``before`` or ``after`` itself is allowed (in place), any other
    overlap in memory is not. Beyond the result, memory is two blocks of ``BLOCK`` pixels (or one row, if the
    maps are not contiguous). Both maps are checked before anything is written. Raises ValueError for unequal
    shapes, another type than uint8 and values above 11.
    """
    _check(before, "before", before.shape)
    _check(after, "after", before.shape)
    if out is None:
        out = np.empty_like(before)
    elif out.shape != before.shape or out.dtype != np.uint8:
        raise ValueError(f"out: expected uint8 {before.shape}, got {out.dtype} {out.shape}")
    for a, b, label in _blocks(before, after, out):
        _label(a, b, label)
    return out


def _check(values: np.ndarray, what: str, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless the values are class indices of the expected shape."""
    if values.shape != shape:
        raise ValueError(f"before has shape {shape} but {what} {values.shape}; they must be equal")
    if values.dtype != np.uint8:
        raise ValueError(f"{what} has type {values.dtype}; expected uint8 class indices 0 to 11")
    if values.size and values.max() >= legend.N_INDEX:
        wrong = np.flatnonzero(np.bincount(values.ravel())[legend.N_INDEX :]) + legend.N_INDEX
        raise ValueError(
            f"{what} holds {wrong.tolist()}; expected class indices 0 to {legend.N_INDEX - 1} "
            "(legend.index_from_code takes mask codes to indices)"
        )


def _blocks(*maps: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """The same part of each map in turn, of about ``BLOCK`` pixels, as views."""
    if all(m.flags.c_contiguous for m in maps):
        maps = tuple(m.reshape(-1) for m in maps)
    elif maps[0].size == 0:
        return
    rows = max(1, BLOCK // max(1, maps[0][0].size)) if maps[0].size else 1
    for start in range(0, len(maps[0]), rows):
        yield tuple(m[start : start + rows] for m in maps)


def _label(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """Write the labels of one block; ``out`` may be ``a`` or ``b``, so it is written last."""
    label, flag = np.empty((2, *a.shape), dtype=np.uint8)
    condition = flag.view(bool)
    np.multiply(a, _STEP, out=label)
    np.add(label, b, out=label)  # at most 121
    np.greater(b, a, out=condition)
    np.subtract(label, flag, out=label)
    np.subtract(label, _STEP, out=label)  # wraps around where a is 0, which is overwritten below
    np.not_equal(a, b, out=condition)
    np.multiply(label, flag, out=label)
    np.minimum(a, b, out=flag)
    np.equal(flag, 0, out=condition)
    np.multiply(flag, np.uint8(UNLABELLED), out=flag)
    np.bitwise_or(label, flag, out=out)
