"""The demo city, written and read once for all tests of the mini city."""

import itertools
import time
from pathlib import Path

import numpy as np
import pytest
from city_patches import AREAS, DATES, SPLITS, tiles

from wusu_lib import legend
from wusu_lib.data.tree import demo_city


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The demo city in a cache of its own, and the processor time it took."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WUSU_CACHE", str(tmp_path_factory.mktemp("cache")))
        start = time.process_time()
        root = demo_city()
        seconds = time.process_time() - start
        assert demo_city() == root
    return root, seconds


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
