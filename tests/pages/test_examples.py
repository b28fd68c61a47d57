"""The patches that a notebook shows are chosen by rule."""

import numpy as np
import pandas as pd
from test_labels import patch

from wusu_lib.pages import maps


def area(**pixels):
    """Class indices [20, 20] with so many pixels of each class (``c3=4``), the rest unlabelled."""
    flat = np.zeros(400, dtype=np.uint8)
    start = 0
    for name, n in pixels.items():
        flat[start : start + n] = int(name[1:])
        start += n
    return flat.reshape(20, 20)


def val(folder, site, classes, date=18):
    return patch(folder, site, date, classes, split="val")


def test_each_next_patch_adds_most_classes(tmp_path):
    table = pd.DataFrame(
        [
            val(tmp_path, "a", area(c1=100, c2=100)),
            val(tmp_path, "b", area(c1=50, c2=50, c3=50)),
            val(tmp_path, "c", area(c1=390)),
            val(tmp_path, "d", area(c4=10)),
            val(tmp_path, "e", area(c9=10, c2=10, c3=10)),
        ]
    )
    # b and e show three classes and b more ground; then d adds one like e, and e more ground; then d
    assert maps.validation_examples(table) == ["b_18", "e_18", "d_18"]
    # nothing is left to add: most labelled ground first
    assert maps.validation_examples(table, 4)[3] == "c_18"


def test_a_class_counts_from_one_percent_of_a_patch(tmp_path):
    table = pd.DataFrame(
        [val(tmp_path, "a", area(c1=380, c2=3, c3=3)), val(tmp_path, "b", area(c1=10, c2=4))]
    )
    assert maps.validation_examples(table, 1) == ["b_18"]


def test_only_labelled_validation_patches_of_the_latest_labelled_date(tmp_path):
    table = pd.DataFrame(
        [
            val(tmp_path, "a", area(c1=10, c2=10), date=11),
            val(tmp_path, "a", area(c1=10), date=14),
            val(tmp_path, "a", None, date=18),
            patch(tmp_path, "b", 14, area(c1=10, c2=10, c3=10)),
        ]
    )
    assert maps.validation_examples(table) == ["a_14"]


def test_the_site_has_most_labelled_dates_then_most_classes_at_the_latest(tmp_path):
    table = pd.DataFrame(
        [
            patch(tmp_path, "a", 15, area(c1=10, c2=10, c3=10, c4=10)),
            patch(tmp_path, "a", 18, None),
            patch(tmp_path, "b", 15, area(c1=10, c2=10, c3=10)),
            patch(tmp_path, "b", 18, area(c1=10)),
            patch(tmp_path, "c", 15, area(c1=10)),
            patch(tmp_path, "c", 18, area(c1=10, c2=10)),
            patch(tmp_path, "d", 15, area(c1=10, c2=10, c3=10), split="val"),
            patch(tmp_path, "d", 18, area(c1=10, c2=10, c3=10), split="val"),
        ]
    )
    assert maps.site_example(table) == "c"
