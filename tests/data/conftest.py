"""Trees for the tests of the reader."""

from pathlib import Path

import pytest
from small_tree import real_imagery, write_tree


@pytest.fixture(scope="session")
def clean_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """HS, three dates, 4 x 3 half-overlapping sites of 32 px in train and in test. Not to be written to."""
    return write_tree(tmp_path_factory.mktemp("clean"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """HS, three dates, 2 x 2 half-overlapping sites of 32 px in train and in test, to be damaged."""
    return write_tree(tmp_path / "tree", rows=2, columns=2)


@pytest.fixture
def naip_wv() -> Path:
    """Real imagery in WUSU's layout; skips the test where it is absent."""
    return real_imagery()
