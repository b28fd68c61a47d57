"""Fixtures of the change tests: the mini city and its evidence, read once."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_tree import write_tree

from wusu_lib import imagery, legend
from wusu_lib.data.tree import scan


@pytest.fixture(scope="session")
def city_table(city: Path) -> pd.DataFrame:
    return scan(city)


@pytest.fixture(scope="session")
def city_masks(city_table: pd.DataFrame) -> dict[tuple[str, int], np.ndarray]:
    """Class indices [H, W] by site and date."""
    return {
        (row.site, row.date): legend.index_from_code(imagery.read(row.mask)[0])
        for row in city_table.itertuples()
    }


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """HS, three dates, 2 x 2 half-overlapping sites of 32 px in train and in test, to be damaged."""
    return write_tree(tmp_path / "tree", rows=2, columns=2)
