"""The table of pairs: which there are, what they are called, and their truth."""

from pathlib import Path

import numpy as np
import pytest
import tiny_pairs
from small_tree import write_raster

from wusu_lib import transitions
from wusu_lib.change.analysis import COLUMNS, pairs, true_labels
from wusu_lib.data import splits, tree
from wusu_lib.pages import maps


@pytest.fixture
def tables(tmp_path):
    return tiny_pairs.tables(tmp_path / "tree")


def test_a_pair_is_an_annotated_interval_with_its_sites_split_and_block(tables):
    table, changes = tables
    found = pairs(table, changes)
    assert list(found) == list(COLUMNS)
    assert len(found) == 2 * 8  # two intervals of 4 + 4 sites
    row = found.set_index("patch").loc["test/HS1618_2"]
    assert (row["site"], row["date"], row["date1"], row["date2"]) == ("test/HS_2", 1618, 16, 18)
    assert (row["patch1"], row["patch2"]) == ("test/HS16_2", "test/HS18_2")
    assert [Path(row[c]).name for c in ("image1", "mask2", "bcd", "scd")] == [
        "HS16_2.tif",
        "HS18_2.tif",
        "HS1618_2.tif",
        "HS1618_2.tif",
    ]
    of_site = table[table["site"] == "test/HS_2"].iloc[0]
    assert (row["split"], row["block"]) == (of_site["split"], of_site["block"])


def test_a_pair_needs_both_class_masks_and_its_sites_place_in_the_table(tables):
    table, changes = tables
    Path(table.loc[table["patch"] == "train/HS16_0", "mask"].item()).unlink()
    lost = table["site"] == "train/HS_1"
    found = pairs(
        tree.scan(Path(table["image"].iat[0]).parents[3]).merge(table[~lost][["site"]].drop_duplicates()),
        changes,
    )
    assert not {"train/HS_0", "train/HS_1"} & set(found["site"])
    assert len(found) == 2 * 6


def test_without_a_pair_an_error_tells_what_is_expected(tables):
    table, changes = tables
    with pytest.raises(ValueError, match="none of 16 change masks has class masks at both dates"):
        pairs(table[table["date"] == 16], changes)


def test_truth_is_made_of_the_class_masks_alone(tables):
    row = next(pairs(*tables).itertuples())
    write_raster(Path(row.mask1), np.array([[[1, 1, 0, 4]]], np.uint8))
    write_raster(Path(row.mask2), np.array([[[1, 2, 2, 0]]], np.uint8))
    assert true_labels(row).tolist() == [[0, transitions.NAMES.index("Road to Low building"), 255, 255]]


def test_examples_show_many_kinds_of_change_at_different_sites(city_table, city):
    every = pairs(splits.assign(city_table, "study"), tree.scan_changes(city))
    shown = maps.change_examples(every, 3)
    rows = every.set_index("patch").loc[shown]
    assert rows["split"].tolist() == ["val"] * 3
    assert rows["site"].nunique() == 3
    became = {int(i) for row in rows.itertuples() for i in np.unique(transitions.SECOND[true_labels(row)])}
    assert len(became - {0}) >= 5
    assert maps.change_examples(every, 3) == shown
