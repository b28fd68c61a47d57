"""Samples of pairs: right values, and a pure function of (seed, epoch, position)."""

from pathlib import Path

import numpy as np
import pytest
import tiny_pairs
import torch
from small_tree import scd_value, write_raster

from wusu_lib import imagery, legend
from wusu_lib.change.analysis import pairs, true_labels


@pytest.fixture
def tables(tmp_path):
    return tiny_pairs.tables(tmp_path / "tree")


@pytest.mark.parametrize("in_memory", [False, True])
def test_a_sample_holds_both_images_both_masks_and_the_change(tables, in_memory):
    row = pairs(*tables).iloc[5]
    sample = tiny_pairs.dataset(*tables, in_memory=in_memory)[5]
    assert sample["patch"] == row["patch"]
    assert sample["image"].shape == (2, 4, 32, 32)
    for date in (0, 1):
        raw = imagery.read(row[f"image{date + 1}"])
        codes = imagery.read(row[f"mask{date + 1}"])[0]
        expected = (raw[2, 3, 7] / 255 - 0.3) / 0.2
        assert sample["image"][date, 2, 3, 7].item() == pytest.approx(expected, abs=1e-6)
        ids = legend.ELEVEN.train_id_from_index(legend.index_from_code(codes))
        np.testing.assert_array_equal(sample["mask"][date], ids)
    truth = true_labels(row)
    np.testing.assert_array_equal(sample["change"], np.where(truth == 255, 255, truth > 0))


def test_change_is_what_the_change_mask_says_where_both_dates_are_labelled(tables):
    table, changes = tables
    row = pairs(table, changes).iloc[0]
    book = tiny_pairs.book(table, changes)
    values = imagery.read(row["scd"])[0]
    values[0, :] = next(iter(set(book.codes.values()) - {0}))  # says changed, whatever the classes say
    values[1, :] = 255  # a value that no code explains
    write_raster(Path(row["scd"]), values[None])
    change = tiny_pairs.PairDataset(pairs(table, changes), [0.3] * 4, [0.2] * 4, book)[0]["change"].numpy()
    labelled = true_labels(row) != 255
    assert labelled[:2].any()
    np.testing.assert_array_equal(change[0], np.where(labelled[0], 1, 255))
    assert (change[1] == 255).all()
    np.testing.assert_array_equal(change[2:] == 255, ~labelled[2:])


@pytest.mark.parametrize("kind", ["bcd", "scd"])
def test_without_a_change_mask_the_class_masks_tell(tables, kind):
    table, changes = tables
    with_masks = tiny_pairs.dataset(table, changes, kind)
    book = tiny_pairs.book(table, changes, kind)
    bare = pairs(table, changes.assign(bcd=None, scd=None))
    without = tiny_pairs.PairDataset(bare, [0.3] * 4, [0.2] * 4, book)
    for number in (0, 9):
        assert torch.equal(with_masks[number]["change"], without[number]["change"])


def test_both_dates_and_the_change_are_flipped_alike(tables):
    samples = tiny_pairs.dataset(*tables)
    forms = set()
    for seed in range(12):
        sample, turned = samples[3], samples[3, seed]
        ways = [
            dims
            for dims in ((), (-2,), (-1,), (-2, -1))
            if torch.equal(turned["mask"], sample["mask"].flip(dims))
        ]
        assert len(ways) == 1
        forms.add(ways[0])
        for key in ("image", "change"):
            assert torch.equal(turned[key], sample[key].flip(ways[0]))
    assert len(forms) == 4


@pytest.mark.parametrize("options", [{"workers": 2}, {"in_memory": True}])
def test_batches_follow_from_seed_and_epoch_alone(tables, options):
    def batches(**given):
        loader = tiny_pairs.module(*tables, **given).train_dataloader()
        loader.sampler.set_epoch(2)
        return list(loader)

    usual, other = batches(), batches(**options)
    assert len(usual) == 3  # 8 training pairs in threes
    for a, b in zip(usual, other, strict=True):
        assert a["patch"] == b["patch"]
        assert torch.equal(a["image"], b["image"])
    assert [b["patch"] for b in batches(seed=5)] != [b["patch"] for b in usual]


def test_images_of_different_size_are_named(tables):
    row = pairs(*tables).iloc[0]
    write_raster(Path(row["image2"]), np.zeros((4, 32, 30), np.uint8))
    write_raster(Path(row["mask2"]), np.zeros((1, 32, 30), np.uint8))
    with pytest.raises(ValueError, match=r"HS16_0.tif: \[4, 32, 30\].*must be of equal size"):
        tiny_pairs.PairDataset(pairs(*tables), [0.3] * 4, [0.2] * 4, None)[0]


def test_a_change_mask_of_another_size_is_named(tables):
    row = pairs(*tables).iloc[0]
    data = tiny_pairs.dataset(*tables)
    write_raster(Path(row["scd"]), scd_value(np.ones((32, 30)), np.ones((32, 30)))[None])
    with pytest.raises(ValueError, match=r"SCD/HS1516_0.tif: \(32, 30\) px, but its images have \(32, 32\)"):
        data[0]
