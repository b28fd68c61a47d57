"""Two maps of classes -> one from-to map, at memory speed and in bounded memory.

A pixel's label follows from its two class indices a and b by arithmetic that never leaves uint8, so numpy's
vector instructions do it in blocks that stay in the processor's cache. With labels in the order of
``transitions``: label = 10 a + b - 10 - [b > a] where a and b differ.
"""

from collections.abc import Iterator

import numpy as np

from wusu_lib import legend
from wusu_lib.change.transitions import UNLABELLED

BLOCK = 2**18  # pixels at a time: two scratch blocks and three slices of the maps stay in 2 MiB of cache
_STEP = np.uint8(len(legend.CLASSES) - 1)  # 10 transitions leave each class


def from_to(before: np.ndarray, after: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Label (uint8, see ``transitions``) of each pixel of two maps of class indices 0 to 11, any equal shape.

    255 where either map is 0 (unlabelled), 0 where the class stays, 1 to 110 where it changes. ``out``: a
    uint8 array of the same shape to write to; ``before`` or ``after`` itself is allowed (in place), any other
    overlap in memory is not. Beyond
    the result, memory is two blocks of ``BLOCK`` pixels (or one row, if the maps are not contiguous). Both
    maps are checked before anything is written. Raises ValueError for unequal shapes, another type than uint8
    and values above 11.
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
