"""What the masks hold: one patch, the balance of the classes, transitions, on masks of four pixels."""

import numpy as np
import pandas as pd
import pytest
from small_tree import write_raster

from wusu_lib import legend
from wusu_lib.data import statistics


def patch(folder, site, date, classes, split="train"):
    """A row of the patch table whose mask holds these class indices; no mask for None."""
    name = f"{site}_{date}"
    image, mask = folder / f"{name}_image.tif", folder / f"{name}.tif"
    index = np.array([[0]] if classes is None else classes, dtype=np.uint8)
    write_raster(image, np.full((4, *index.shape), 7, dtype=np.uint8))
    if classes is not None:
        write_raster(mask, legend.code_from_index(index)[None])
    return {
        "patch": name,
        "site": site,
        "date": date,
        "split": split,
        "image": str(image),
        "mask": None if classes is None else str(mask),
    }


def test_index_of_a_patch_is_the_legends(tmp_path):
    table = pd.DataFrame([patch(tmp_path, "a", 15, [[0, 5], [11, 1]]), patch(tmp_path, "b", 15, None)])
    assert statistics.class_index(table, "a_15").tolist() == [[0, 5], [11, 1]]
    with pytest.raises(KeyError, match="b_15"):
        statistics.class_index(table, "b_15")


def test_shares_of_all_pixels_by_split(tmp_path):
    table = pd.DataFrame(
        [
            patch(tmp_path, "a", 15, [[0, 1], [1, 1]]),
            patch(tmp_path, "b", 15, [[0, 0], [0, 8]]),
            patch(tmp_path, "c", 15, None),
            patch(tmp_path, "d", 15, [[2, 2], [2, 2]], split="val"),
            patch(tmp_path, "e", 15, None, split="test"),
        ]
    )
    shares = statistics.class_shares(table)
    assert shares.index.tolist() == ["train", "val"]
    assert shares.columns.tolist() == list(legend.NAMES)
    assert shares.loc["train", ["Unlabelled", "Road", "Lake"]].tolist() == [0.5, 0.375, 0.125]
    assert shares.loc["val", "Low building"] == 1
    assert shares.sum(axis=1).tolist() == [1, 1]


def test_transitions_count_pixels_that_are_labelled_at_both_dates(tmp_path):
    table = pd.DataFrame(
        [
            patch(tmp_path, "a", 16, [[1, 3], [2, 0]]),  # the later date first: dates are put in order
            patch(tmp_path, "a", 15, [[1, 2], [0, 3]]),
        ]
    )
    counts = statistics.class_transitions(table)
    assert counts.loc["Road", "Road"] == 1
    assert counts.loc["Low building", "High building"] == 1
    assert counts.to_numpy().sum() == 2
    assert counts.shape == (11, 11)


def test_transitions_run_from_each_date_to_the_next_labelled_one_of_the_same_site(tmp_path):
    table = pd.DataFrame(
        [
            patch(tmp_path, "a", 15, [[4]]),
            patch(tmp_path, "a", 16, None),
            patch(tmp_path, "a", 18, [[10]]),
            patch(tmp_path, "a", 20, [[3]]),
            patch(tmp_path, "b", 15, [[5]]),
        ]
    )
    counts = statistics.class_transitions(table)
    assert counts.loc["Arable land", "Excavation"] == 1
    assert counts.loc["Excavation", "High building"] == 1
    assert counts.to_numpy().sum() == 2


def test_no_transition_where_one_date_is_labelled(tmp_path):
    table = pd.DataFrame([patch(tmp_path, "a", 14, [[4]]), patch(tmp_path, "a", 11, None)])
    assert statistics.class_transitions(table).to_numpy().sum() == 0
