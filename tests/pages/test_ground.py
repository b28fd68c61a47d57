import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from wusu_lib.data.splits import Overlaps
from wusu_lib.pages import data
from wusu_lib.pages.data import SHARED
from wusu_lib.pages.style import SPLITS


@pytest.fixture
def audit():
    """Three patches of 64 px in a row at half overlap, train, train, val; and one of test by itself."""
    places = [("train/HS_0", 0, 0), ("train/HS_1", 0, 32), ("val/HS_0", 0, 64), ("test/JA_0", 1, 0)]
    layout = pd.DataFrame(places, columns=["site", "component", "x"]).assign(y=0, height=64, width=64)
    table = pd.DataFrame({"site": layout["site"], "split": ["train", "train", "val", "test"]})
    return Overlaps(pd.DataFrame(), layout), table


def test_ground_of_two_splits_is_black_and_counted(audit):
    first, second = data.shared_ground_figure(*audit).axes
    picture = np.asarray(first.images[0].get_array())
    assert picture.shape == (64, 128, 3)
    for columns, colour in (((0, 64), SPLITS["train"]), ((64, 96), SHARED), ((96, 128), SPLITS["val"])):
        np.testing.assert_allclose(
            picture[:, slice(*columns)], np.broadcast_to(to_rgb(colour), (64, np.ptp(columns), 3))
        )
    assert first.get_title("left") == "train HS/val HS\n3 sites\n25% shared"
    assert second.get_title("left") == "test JA\n1 site\n0% shared"


def test_outlines_stand_where_the_patches_lie(audit):
    outlines = data.shared_ground_figure(*audit).axes[0].collections[0].get_paths()
    assert [path.get_extents().bounds for path in outlines] == [
        (0, 0, 64, 64),
        (32, 0, 64, 64),
        (64, 0, 64, 64),
    ]


def test_panels_share_their_scale(audit):
    first, second = data.shared_ground_figure(*audit).axes
    assert first.get_xlim() == second.get_xlim()
    assert first.get_xlim()[1] > 128
    assert first.get_ylim()[0] > first.get_ylim()[1]  # y grows downwards, as in the images


def test_legend_names_only_the_splits_there_are(audit):
    overlaps, table = audit
    figure = data.shared_ground_figure(overlaps, table[table["split"] != "test"])
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["train", "val", "two splits (shared)"]
    assert len(figure.axes) == 1


def test_large_ground_is_thinned_but_counted_in_full():
    layout = pd.DataFrame({"site": ["train/HS_0", "val/HS_0"], "component": 0, "y": 0, "x": [0, 999]})
    overlaps = Overlaps(pd.DataFrame(), layout.assign(height=1000, width=1000))
    axes = data.shared_ground_figure(
        overlaps, pd.DataFrame({"site": layout["site"], "split": ["train", "val"]})
    ).axes[0]
    assert max(np.asarray(axes.images[0].get_array()).shape) <= 400
    assert axes.get_title("left").endswith("<1% shared")  # one column of 1,999


def test_note_on_pieces_left_out():
    sites = [f"test/WV_{i}" for i in range(8)]
    layout = pd.DataFrame({"site": sites, "component": range(8), "y": 0, "x": 0, "height": 16, "width": 16})
    figure = data.shared_ground_figure(
        Overlaps(pd.DataFrame(), layout), pd.DataFrame({"site": sites, "split": "test"})
    )
    assert sum(axes.get_visible() for axes in figure.axes) == 6
    assert figure.get_suptitle() == "The 6 largest of 8 separate pieces of ground"


def test_another_table_is_refused(audit):
    with pytest.raises(ValueError, match="table that was audited"):
        data.shared_ground_figure(audit[0], pd.DataFrame({"site": ["elsewhere"], "split": ["val"]}))
