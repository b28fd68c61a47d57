"""What the tests of the page of changes share."""

import pytest
from made_page import write_scene

from wusu_lib.scenes.viewer.page import write_page


@pytest.fixture(scope="module")
def page_scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scene")
    return folder, write_scene(folder)


@pytest.fixture(scope="module")
def made(page_scene):
    folder, changes = page_scene
    return write_page(folder / "t1.tif", folder / "t2.tif", changes, folder / "out", dates=("2015", "2018"))
