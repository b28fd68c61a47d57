"""The same scene at a coarser ground pixel: put together, resampled, and cut into patches again.

Patches that share ground become one mosaic a split and date. Images are averaged by area, class masks take
the commonest class. Windows of the patches' own size are cut from the coarse mosaic, so that each shows more
ground than a patch did.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from wusu_lib.data.loading import Samples, read_pair
from wusu_lib.imagery import BAND_NAMES
from wusu_lib.legend import IGNORE, N_INDEX

STRIP = 32  # coarse rows that are counted at a time: what they cover stays in the processor's cache
COARSEST = 128  # pixels a side that can be taken together: their rows are counted in 8 bits


def area_mean(image: np.ndarray, factor: int, covered: np.ndarray | None = None) -> np.ndarray:
    """Mean of each ``factor`` x ``factor`` pixels of uint8 [C, H, W], rounded half up.

    Gives uint8 [C, ceil(H / factor), ceil(W / factor)]; the last row and column may stand for fewer pixels.
    ``covered``: bool [H, W], the pixels that count; 0 where none does. Raises ValueError as ``majority``.
    """
    _check(factor)
    counted = np.ones(image.shape[1:], dtype=bool) if covered is None else covered
    pixels = np.maximum(_sums(counted[None], factor), 1)
    return ((_sums(image * counted, factor) + pixels // 2) // pixels).astype(np.uint8)


def _sums(values: np.ndarray, factor: int) -> np.ndarray:
    """Sums of uint8 [C, H, W] over squares of ``factor`` px, int64."""
    bands, *size = values.shape
    rows, columns = (-(-side // factor) for side in size)
    whole = np.zeros((bands, rows * factor, columns * factor), dtype=np.uint8)
    whole[:, : size[0], : size[1]] = values
    along = np.add.reduce(whole.reshape(bands, rows, factor, -1), axis=2, dtype=np.uint16)
    return np.add.reduce(along.reshape(bands, rows, columns, factor), axis=3, dtype=np.int64)


def majority(index: np.ndarray, factor: int) -> np.ndarray:
    """The commonest class of each ``factor`` x ``factor`` pixels; of equally common ones the lowest index.

    index: class index uint8 [H, W], 0 to 11, or 255 for pixels that do not count. Gives uint8
    [ceil(H / factor), ceil(W / factor)]: 255 where no pixel counts; the last row and column may stand for
    fewer pixels. Unlabelled ground (0) counts as a class does, so that a narrow class at its edge does not
    spread over it. Raises ValueError for a factor that is not a whole number from 1 to 128.
    """
    _check(factor)
    rows, columns = (-(-size // factor) for size in index.shape)
    found = np.empty((rows, columns), dtype=np.uint8)
    for start in range(0, rows, STRIP):
        strip = index[start * factor : (start + STRIP) * factor]
        found[start : start + STRIP] = _commonest(strip, factor, columns)
    return found


def _commonest(strip: np.ndarray, factor: int, columns: int) -> np.ndarray:
    """``majority`` of some rows."""
    rows = -(-len(strip) // factor)
    whole = np.full((rows * factor, columns * factor), IGNORE, dtype=np.uint8)
    whole[: strip.shape[0], : strip.shape[1]] = strip
    most = np.zeros((rows, columns), dtype=np.uint16)
    winner = np.full((rows, columns), IGNORE, dtype=np.uint8)
    for k in range(N_INDEX):
        hits = (whole == k).view(np.uint8).reshape(rows, factor, columns * factor)
        along = np.add.reduce(hits, axis=1, dtype=np.uint8).reshape(rows, columns, factor)
        count = np.add.reduce(along, axis=2, dtype=np.uint16)
        winner[count > most] = k
        np.maximum(most, count, out=most)
    return winner


def _check(factor: int) -> None:
    if factor != int(factor) or not 1 <= factor <= COARSEST:
        raise ValueError(f"factor: got {factor}; expected a whole number of pixels from 1 to {COARSEST}")


def enlarge(values: np.ndarray, factor: int, shape: tuple[int, int]) -> np.ndarray:
    """Each pixel of [H, W] repeated ``factor`` times both ways, cut to ``shape``: the finer grid again."""
    return values.repeat(factor, axis=0).repeat(factor, axis=1)[: shape[0], : shape[1]]


@dataclass(frozen=True)
class Mosaic:
    """Connected ground of one split at one date, put together from its patches and resampled.

    ``image``: uint8 [4, h, w]; ``index``: class index uint8 [h, w], 255 where no patch lies (and the image
    is black). ``factor``: pixels of the data along one of its sides. ``shape``: (H, W) in pixels of the data.
    ``places``: the patches, columns patch, y, x, height, width in pixels of the data. ``split``, ``date``:
    as in the table.
    """

    split: str
    date: int
    factor: int
    shape: tuple[int, int]
    image: np.ndarray
    index: np.ndarray
    places: pd.DataFrame


def mosaics(
    table: pd.DataFrame,
    layout: pd.DataFrame,
    factor: int,
    read: Callable[[str, Any], tuple[np.ndarray, np.ndarray]] = read_pair,
) -> Iterator[Mosaic]:
    """The labelled patches of a table as mosaics, by split, component and date.

    ``layout``: as in ``splits.Overlaps``; patches that share no ground with others are mosaics of their own.
    ``read``: (image, mask) -> image uint8 [4, H, W] and class index uint8 [H, W], as ``loading.read_pair``.
    Raises ValueError as ``majority`` and as ``read``.
    """
    rows = table[table["mask"].notna()].merge(layout, on="site", validate="many_to_one")
    for (split, _), part in rows.groupby(["split", "component"], sort=True):
        part = part.assign(y=part["y"] - part["y"].min(), x=part["x"] - part["x"].min())
        shape = int((part["y"] + part["height"]).max()), int((part["x"] + part["width"]).max())
        for date, dated in part.groupby("date", sort=True):
            image = np.zeros((len(BAND_NAMES), *shape), dtype=np.uint8)
            index = np.full(shape, IGNORE, dtype=np.uint8)
            for row in dated.itertuples():
                at = slice(row.y, row.y + row.height), slice(row.x, row.x + row.width)
                image[:, at[0], at[1]], index[at] = read(row.image, row.mask)
            coarse = area_mean(image, factor, index != IGNORE), majority(index, factor)
            places = dated[["patch", "y", "x", "height", "width"]]
            yield Mosaic(str(split), int(str(date)), factor, shape, *coarse, places)


def side_of(pieces: Sequence[Mosaic], patch: int) -> int:
    """Side of the windows in px: the patches', or what the largest piece of each split has room for."""
    room: dict[str, int] = {}
    for piece in pieces:
        room[piece.split] = max(room.get(piece.split, 0), min(piece.index.shape))
    return min(patch, *room.values())


def padded(piece: Mosaic, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Image and index of a mosaic, no side shorter than ``side``: black and 255 where there is nothing."""
    missing = [(0, max(0, side - size)) for size in piece.index.shape]
    return np.pad(piece.image, [(0, 0), *missing]), np.pad(piece.index, missing, constant_values=IGNORE)


def tiles(shape: tuple[int, int], side: int) -> list[tuple[int, int]]:
    """Top left corners of windows that cover [H, W] with as little shared ground as can be."""
    rows, columns = (_spread(size, side, -(-size // side)) for size in shape)
    return [(y, x) for y in rows for x in columns]


def corners(shape: tuple[int, int], side: int, number: int) -> list[tuple[int, int]]:
    """``number`` top left corners of windows in [H, W], evenly spread; some twice where the room is small."""
    height, width = (max(size - side, 0) + 1 for size in shape)
    rows = min(height, max(1, round((number * height / width) ** 0.5)))
    columns = min(width, -(-number // rows))
    grid = [(y, x) for y in _spread(shape[0], side, rows) for x in _spread(shape[1], side, columns)]
    return [grid[k] for k in np.linspace(0, len(grid) - 1, number).round().astype(int)]


def _spread(size: int, side: int, number: int) -> list[int]:
    return np.linspace(0, max(size - side, 0), number).round().astype(int).tolist()


def windows(pieces: Sequence[Mosaic], side: int, training: int) -> pd.DataFrame:
    """Windows of ``side`` px of some mosaics: ``training`` of them to learn from, over all training mosaics.

    The other splits are covered once. Columns: patch (a name), split, piece (number of the mosaic), y, x.
    """
    sizes = [tuple(max(size, side) for size in piece.index.shape) for piece in pieces]
    learnt = [k for k, piece in enumerate(pieces) if piece.split == "train"]
    area = np.array([np.count_nonzero(pieces[k].index != IGNORE) for k in learnt], dtype=float)
    ends = np.round(area.cumsum() / max(area.sum(), 1) * training).astype(int)
    each = dict(zip(learnt, np.diff(ends, prepend=0).tolist(), strict=True))
    rows = []
    for k, (piece, size) in enumerate(zip(pieces, sizes, strict=True)):
        at = corners(size, side, each[k]) if k in each else tiles(size, side)
        rows += [(f"{piece.split}/{k}_{y}_{x}", piece.split, k, y, x) for y, x in at]
    return pd.DataFrame(rows, columns=["patch", "split", "piece", "y", "x"])


class WindowSamples(Samples):
    """Rows of ``windows`` as samples, read from the mosaics; all else as in ``loading.PatchDataset``."""

    def __init__(self, table: pd.DataFrame, pieces: Sequence[Mosaic], side: int, **options: Any) -> None:
        self._pieces = [padded(piece, side) for piece in pieces]
        self._side = side
        super().__init__(table, **options)

    def read(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Image uint8 [C, side, side] and class index uint8 [side, side]; 255 where no patch lies."""
        row = self.table.iloc[number]
        image, index = self._pieces[row["piece"]]
        at = slice(row["y"], row["y"] + self._side), slice(row["x"], row["x"] + self._side)
        return image[:, at[0], at[1]], index[at]

    def targets(self, layers: np.ndarray) -> dict[str, np.ndarray]:
        """The mask; where no patch lies nothing counts, not even as unlabelled ground."""
        nowhere = layers == IGNORE
        ids = self.labels.train_id_from_index(np.where(nowhere, 0, layers))
        return {"mask": np.where(nowhere, IGNORE, ids).astype(np.int64)}
