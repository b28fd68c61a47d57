"""A city, written and read once for all tests of the mini city."""

import itertools
import time
from pathlib import Path

import numpy as np
import pytest
from city_patches import AREAS, COLS, DATES, ROWS, SIZE, SPLITS, tiles

from wusu_lib import legend
from wusu_lib.synthetic import write


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A city of half-overlapping patches as WUSU's are, and the processor time it took."""
    start = time.process_time()
    root = write(tmp_path_factory.mktemp("city") / "tree", patch_size=SIZE, rows=ROWS, cols=COLS)
    return root, time.process_time() - start


@pytest.fixture(scope="session")
def city(made: tuple[Path, float]) -> Path:
    return made[0]


@pytest.fixture(scope="session")
def images(city: Path) -> dict[tuple[str, str, int], np.ndarray]:
    keys = itertools.product(SPLITS, AREAS, DATES)
    return {(s, a, d): tiles(city, s, a, "imgs", str(d)) for s, a, d in keys}


@pytest.fixture(scope="session")
def classes(city: Path) -> dict[tuple[str, str, int], np.ndarray]:
    """Class index, [ROWS, COLS, SIZE, SIZE] by (split, area, date)."""
    keys = itertools.product(SPLITS, AREAS, DATES)
    return {
        (s, a, d): legend.index_from_code(tiles(city, s, a, "class", str(d))[:, :, 0]) for s, a, d in keys
    }
