"""Writes a small WUSU tree of random texture: real files for the tests of the reader."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from wusu_lib import legend

# Mean colour (blue, green, red, NIR) by class index: NIR highest over woodland 5, lowest over water 7 and 8;
# soil 10 and 11 reddish.
COLOURS = np.full((12, 4), (90, 85, 85, 95))
COLOURS[[5, 6]] = (50, 60, 50, 150)
COLOURS[[7, 8]] = (90, 80, 70, 30)
COLOURS[[10, 11]] = (90, 110, 140, 120)


def real_imagery() -> Path:
    """NAIP patches in WUSU's layout; skips the test where they are absent."""
    root = Path(__file__).parents[1].parent / "shared" / "data" / "naip_wv"
    if not root.is_dir():
        pytest.skip(f"real imagery is not at {root}")
    return root


def write_raster(path: Path, array: np.ndarray, **options: object) -> None:
    """Write [bands, H, W] as a TIFF without georeference."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = array.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver="GTiff", width=width, height=height, count=count, dtype=array.dtype, **options
        ) as file:
            file.write(array)


def scd_value(index1: np.ndarray, index2: np.ndarray) -> np.ndarray:
    """A code book: 0 where nothing changed, else a number for each pair."""
    changed = (index1 != index2) & (index1 > 0) & (index2 > 0)
    return np.where(changed, 100 + index1 * 12 + index2 - 13, 0).astype(np.uint8)


def class_scenes(rng: np.random.Generator, height: int, width: int, n_dates: int) -> list[np.ndarray]:
    """Class indices [H, W] of each date: 8 px squares, one in twelve of them changes from date to date."""
    shape = (-(-height // 8), -(-width // 8))
    squares = [rng.integers(0, 12, shape)]
    for _ in range(n_dates - 1):
        changes = rng.random(shape) < 1 / 12
        squares.append(np.where(changes, rng.integers(0, 12, shape), squares[-1]))
    return [np.kron(s, np.ones((8, 8), dtype=int))[:height, :width].astype(np.uint8) for s in squares]


def write_tree(
    root: Path,
    *,
    size: int = 32,
    rows: int = 4,
    columns: int = 3,
    stride: int | None = None,
    areas: Sequence[str] = ("HS",),
    dates: Sequence[int] = (15, 16, 18),
    folders: Sequence[str] = ("train", "test"),
    shuffled: bool = False,
    seed: int = 0,
) -> Path:
    """A tree of rows x columns sites an area and folder, each folder cut from a scene of its own.

    ``stride`` in px from patch to patch, by default half their size; ``shuffled`` numbers sites at random.
    """
    stride = size // 2 if stride is None else stride
    for k, (folder, area) in enumerate((f, a) for f in folders for a in areas):
        rng = np.random.default_rng([seed, k])
        height, width = (rows - 1) * stride + size, (columns - 1) * stride + size
        classes = class_scenes(rng, height, width, len(dates))
        images = [
            np.clip(COLOURS[c].transpose(2, 0, 1) + rng.integers(-20, 21, (4, height, width)), 0, 255).astype(
                np.uint8
            )
            for c in classes
        ]
        places = [(r * stride, c * stride) for r in range(rows) for c in range(columns)]
        numbers = rng.permutation(len(places)) if shuffled else range(len(places))
        for index, (y, x) in zip(numbers, places, strict=True):
            part = np.s_[y : y + size, x : x + size]
            _write_site(
                root / folder / area,
                area,
                int(index),
                dates,
                [i[:, *part] for i in images],
                [c[part] for c in classes],
            )
    return root


def _write_site(
    base: Path,
    area: str,
    index: int,
    dates: Sequence[int],
    images: list[np.ndarray],
    classes: list[np.ndarray],
) -> None:
    for date, image, land in zip(dates, images, classes, strict=True):
        write_raster(base / f"imgs/{area}{date}_{index}.tif", image)
        write_raster(base / f"class/{area}{date}_{index}.tif", legend.code_from_index(land)[None])
    for (date1, land1), (date2, land2) in zip(
        list(zip(dates, classes, strict=True))[:-1], list(zip(dates, classes, strict=True))[1:], strict=True
    ):
        scd = scd_value(land1, land2)
        write_raster(base / f"change/BCD/{area}{date1}{date2}_{index}.tif", (scd > 0).astype(np.uint8)[None])
        write_raster(base / f"change/SCD/{area}{date1}{date2}_{index}.tif", scd[None])
