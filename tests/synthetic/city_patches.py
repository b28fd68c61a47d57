"""Reading a written city back: patches, mosaics, digests."""

import hashlib
import itertools
from pathlib import Path

import numpy as np
import rasterio

ROWS, COLS, SIZE, STRIDE = 8, 6, 128, 64  # half-overlapping, as WUSU's
AREAS, DATES, SPLITS = ("HS", "JA"), (15, 16, 18), ("train", "test")
TINY = {"patch_size": 64, "rows": 3, "cols": 2}


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()


def tiles(root: Path, split: str, area: str, folder: str, dates: str) -> np.ndarray:
    """All patches of one split, area and date: [ROWS, COLS, C, SIZE, SIZE]."""
    files = [root / split / area / folder / f"{area}{dates}_{k}.tif" for k in range(ROWS * COLS)]
    return np.stack([read(f) for f in files]).reshape(ROWS, COLS, -1, SIZE, SIZE)


def mosaic(stack: np.ndarray) -> np.ndarray:
    """Half a scene [H, W] from its overlapping patches [ROWS, COLS, SIZE, SIZE]: each pixel once."""
    half = np.zeros(((ROWS + 1) * STRIDE, (COLS + 1) * STRIDE), dtype=stack.dtype)
    for row, col in itertools.product(range(ROWS), range(COLS)):
        y, x = row * STRIDE, col * STRIDE
        half[y : y + SIZE, x : x + SIZE] = stack[row, col]
    return half


def digests(root: Path) -> dict[str, str]:
    files = sorted(f for f in root.rglob("*") if f.is_file())
    return {str(f.relative_to(root)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}
