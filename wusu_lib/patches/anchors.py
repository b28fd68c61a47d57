"""Content-defined anchors: places of an image that are chosen by what is there, not by where they are.

A window of 4 x 4 pixels is hashed at every position, and a position is an anchor if its hash falls in one of
``2**SPARSITY`` equal shares. Two images of the same ground choose the same anchors whatever their offset, so
equal hashes vote for the offset between them (the idea of content-defined chunking, in two dimensions).
"""

import numpy as np
import pandas as pd

WINDOW = 4  # pixels: 4 x 4 x 4 bands are 512 bits, so unequal content hardly ever agrees
SPARSITY = 6  # one position in 2**6 is an anchor: about 4,000 in a patch of 512 px, 250 in one of 128 px
POPULAR = 24  # a hash at more places than this is a pattern, not a place; half-overlap gives at most 4
_HORIZONTAL, _VERTICAL, _BAND = (
    np.uint64(v) for v in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)
)
_MIX = np.uint64(0xFF51AFD7ED558CCD)


def anchors(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hashes (uint64), rows and columns (int32) of the anchors of a uint8 image [C, H, W].

    Windows of a single colour are left out: they say nothing about the place.
    """
    words = np.zeros(image.shape[1:], dtype=np.uint64)
    for band in image:
        words *= _BAND
        words += band
    rolled = _roll(_roll(words, 1, _HORIZONTAL), 0, _VERTICAL)
    flat = _roll(_roll(np.ones((WINDOW, WINDOW), np.uint64), 1, _HORIZONTAL), 0, _VERTICAL)[0, 0]
    one_colour = rolled == words[: rolled.shape[0], : rolled.shape[1]] * flat
    mixed = (rolled ^ (rolled >> np.uint64(32))) * _MIX
    mixed ^= mixed >> np.uint64(29)
    rows, columns = np.nonzero((mixed >> np.uint64(64 - SPARSITY) == 0) & ~one_colour)
    return mixed[rows, columns], rows.astype(np.int32), columns.astype(np.int32)


def _roll(values: np.ndarray, axis: int, factor: np.uint64) -> np.ndarray:
    """Polynomial hash of ``WINDOW`` neighbours along an axis, which gets WINDOW - 1 shorter; modulo 2**64."""
    along = np.moveaxis(values, axis, 0)
    length = max(len(along) - WINDOW + 1, 0)
    total = along[:length].copy(order="K")  # the memory layout stays that of the image
    for step in range(1, WINDOW):
        total *= factor
        total += along[step : step + length]
    return np.moveaxis(total, 0, axis)


def votes(hashes: np.ndarray, owners: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> pd.DataFrame:
    """Count, for every two owners that share anchors, the offsets that the shared anchors speak for.

    All arrays [N]; ``owners`` are numbers from 0. Returns columns a, b (owners, a < b), dy, dx (where b's
    origin lies in a's pixel coordinates), votes; the best offset of a pair first.
    """
    order = np.lexsort((owners, hashes))
    hashes, owners, rows, columns = hashes[order], owners[order], rows[order], columns[order]
    starts = np.flatnonzero(np.r_[True, hashes[1:] != hashes[:-1]]) if len(hashes) else np.empty(0, np.int64)
    sizes = np.diff(np.r_[starts, len(hashes)])
    size_of_each = np.repeat(sizes, sizes)
    keys, reach = [], int(max(rows.max(initial=0), columns.max(initial=0))) + 1
    span = 2 * reach + 1
    for lag in range(1, min(POPULAR, int(sizes.max(initial=1)))):
        first = np.flatnonzero((hashes[:-lag] == hashes[lag:]) & (size_of_each[lag:] <= POPULAR))
        second = first + lag
        keep = owners[first] != owners[second]
        first, second = first[keep], second[keep]
        pair = owners[first].astype(np.int64) * (int(owners.max()) + 1) + owners[second]
        keys.append(
            (pair * span + (rows[first] - rows[second] + reach)) * span
            + columns[first]
            - columns[second]
            + reach
        )
    return _count(
        np.concatenate(keys) if keys else np.empty(0, np.int64), span, int(owners.max(initial=0)) + 1
    )


def _count(keys: np.ndarray, span: int, n: int) -> pd.DataFrame:
    """Decode and count the packed (a, b, dy, dx) of ``votes``."""
    values, counts = np.unique(keys, return_counts=True)
    pair, offset = np.divmod(values, span * span)
    dy, dx = np.divmod(offset, span)
    reach = (span - 1) // 2
    frame = pd.DataFrame({"a": pair // n, "b": pair % n, "dy": dy - reach, "dx": dx - reach, "votes": counts})
    return frame.sort_values(["a", "b", "votes"], ascending=[True, True, False], ignore_index=True)
