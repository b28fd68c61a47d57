"""Chains over three dates: counted, judged by train, listed."""

import numpy as np
import pytest

from wusu_lib.change import analysis, codebook

FIELD, PIT, LOW, LAKE = 4, 10, 2, 8


def counts(pixels: dict[tuple[int, int, int], int]) -> np.ndarray:
    table = np.zeros((12, 12, 12), dtype=np.int64)
    for chain, number in pixels.items():
        table[chain] = number
    return table


# 20,000 px changed: one in 10,000 are 2 px.
TRAIN = counts(
    {
        (FIELD, FIELD, FIELD): 500_000,
        (FIELD, PIT, LOW): 12_000,
        (FIELD, FIELD, PIT): 7_995,
        (LOW, PIT, LOW): 3,
        (LAKE, FIELD, LAKE): 2,
        (0, PIT, LOW): 9_000,
    }
)


def test_count_literal():
    maps = np.array([[[4, 4]], [[10, 0]], [[2, 2]]], dtype=np.uint8)
    found = analysis.count_chains_of_maps(maps)
    assert found.dtype == np.int64
    assert (found[4, 10, 2], found[4, 0, 2], found.sum()) == (1, 1, 2)


def test_unseen_literal():
    new = analysis.unseen_chains(TRAIN)
    assert not new[FIELD, PIT, LOW]
    assert not new[LOW, PIT, LOW]  # 3 px are more than one in 10,000
    assert new[LAKE, FIELD, LAKE]  # 2 px are not
    assert new[LAKE, LAKE, FIELD]
    assert not new[LAKE, LAKE, LAKE]  # unchanged, though never seen
    assert not new[0].any()
    assert not new[:, 0].any()
    assert not new[:, :, 0].any()


def test_a_return_that_train_does_not_show_is_implausible():
    wrong = analysis.implausible_chains(TRAIN)
    assert wrong[LAKE, FIELD, LAKE]
    assert wrong[PIT, LAKE, PIT]
    assert not wrong[LOW, PIT, LOW]  # train shows it
    assert not wrong[LAKE, LAKE, FIELD]  # unseen, but no return
    assert not wrong[LAKE, LAKE, LAKE]
    assert wrong.sum() == 11 * 10 - 1


def test_summary_literal():
    seen = {(FIELD, FIELD, FIELD): 80, (FIELD, PIT, LOW): 10, (LOW, PIT, LOW): 2, (PIT, PIT, LAKE): 1}
    seen |= {(LAKE, FIELD, LAKE): 7, (0, PIT, LOW): 50}
    assert analysis.summarise_chains(counts(seen), TRAIN) == {
        "pixels": 100,
        "changed": 20,
        "returning": 9,
        "implausible": 7,
        "unseen": 8,
        "implausible_share": 0.35,
        "unseen_share": 0.4,
    }


def test_summary_of_nothing_is_nan():
    found = analysis.summarise_chains(counts({}), TRAIN)
    assert np.isnan([found["implausible_share"], found["unseen_share"]]).all()


def test_chains_of_the_city_equal_a_loop_over_its_masks(city_table, city_masks):
    train = city_table[city_table["split"] == "train"]
    found = codebook.count_chains(train)
    expected = sum(
        analysis.count_chains_of_maps(np.stack([city_masks[site, date] for date in (15, 16, 18)]))
        for site in train["site"].unique()
    )
    np.testing.assert_array_equal(found, expected)


def test_the_city_s_annotation_has_hardly_an_implausible_chain(city_table):
    train, test = (codebook.count_chains(city_table[city_table["split"] == s]) for s in ("train", "test"))
    assert analysis.summarise_chains(train, train)["implausible_share"] < 0.001
    assert analysis.summarise_chains(test, train)["implausible_share"] < 0.02


def test_refuses():
    with pytest.raises(ValueError, match=r"got uint8 \(2, 4, 4\); expected uint8 class indices \[3, H, W\]"):
        analysis.count_chains_of_maps(np.zeros((2, 4, 4), np.uint8))
    with pytest.raises(ValueError, match="maps hold 12"):
        analysis.count_chains_of_maps(np.full((3, 2, 2), 12, np.uint8))
    with pytest.raises(ValueError, match="no pixel of train changed"):
        analysis.implausible_chains(counts({(1, 1, 1): 9}))
    with pytest.raises(ValueError, match=r"shape \(12, 12\); expected \(12, 12, 12\)"):
        analysis.summarise_chains(np.zeros((12, 12)), TRAIN)
