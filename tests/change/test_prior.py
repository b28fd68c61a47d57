"""The transition prior: a literal case, independence, what smoothing does, and counting from files."""

import numpy as np
import pytest

from wusu_lib.change import codebook, decoding


def counts(pixels: dict[tuple[int, int], int]) -> np.ndarray:
    table = np.zeros((12, 12), dtype=np.int64)
    for pair, number in pixels.items():
        table[pair] = number
    return table


def test_literal():
    # s = 1: J = (N + 1) / (100 + 121). Class 1 stays on 89 px and becomes 2 on 9; 2 stays on 2.
    table = counts({(1, 1): 89, (1, 2): 9, (2, 2): 2, (0, 5): 1000})
    ratio = decoding.learn_prior([table], smoothing=1.0).ratio[0]
    joint, first, second = 10 / 221, (90 + 10 + 9) / 221, (10 + 3 + 9) / 221
    assert ratio[0, 1] == pytest.approx(np.log(joint / (first * second)))
    # 2 to 1 was never seen: one pixel of smoothing.
    first, second = (1 + 3 + 9) / 221, (90 + 1 + 9) / 221
    assert ratio[1, 0] == pytest.approx(np.log((1 / 221) / (first * second)))


def test_independent_dates_say_nothing_of_each_other():
    shares = np.arange(1, 12)
    table = np.zeros((12, 12))
    table[1:, 1:] = 1000 * np.outer(shares, shares[::-1])
    np.testing.assert_allclose(decoding.learn_prior([table], smoothing=1e-9).ratio, 0, atol=1e-9)


def test_smoothing_draws_towards_independence():
    table = counts({(i, i): 1000 for i in range(1, 12)})
    ratios = [decoding.learn_prior([table], smoothing).ratio[0] for smoothing in (1.0, 100.0, 1e9)]
    assert ratios[0][0, 0] > ratios[1][0, 0] > ratios[2][0, 0] > 0
    assert ratios[2] == pytest.approx(0, abs=1e-4)


def test_one_ratio_an_interval_in_order():
    still = counts({(i, i): 100_000 for i in range(1, 12)})
    mixed = np.full((12, 12), 50)
    learnt = decoding.learn_prior({(15, 16): still, (16, 18): mixed})
    assert learnt.dates == 3
    assert learnt.ratio[0, 0, 0] > 1
    np.testing.assert_allclose(learnt.ratio[1], 0, atol=1e-12)


def test_counts_of_a_tree_equal_a_loop_over_its_masks(city_table, city_masks):
    train = city_table[city_table["split"] == "train"]
    found = codebook.count_transitions(train)
    assert list(found) == [(15, 16), (16, 18)]
    expected = np.zeros((12, 12), dtype=int)
    for site in train["site"].unique():
        np.add.at(expected, (city_masks[site, 16], city_masks[site, 18]), 1)
    np.testing.assert_array_equal(found[16, 18], expected)


def test_sites_without_a_mask_are_left_out(city_table):
    few = city_table[city_table["site"].isin(["train/HS_0", "train/HS_1"])].copy()
    few.loc[(few["site"] == "train/HS_1") & (few["date"] == 16), "mask"] = None
    found = codebook.count_transitions(few)
    assert found[15, 16].sum() == found[16, 18].sum() == 128 * 128
    assert codebook.count_chains(few).sum() == 128 * 128


def test_refuses():
    with pytest.raises(ValueError, match=r"shape \(11, 11\); expected \(12, 12\)"):
        decoding.learn_prior([np.ones((11, 11))])
    with pytest.raises(ValueError, match="no pixel is labelled at both dates"):
        decoding.learn_prior([counts({(0, 3): 8})])
    with pytest.raises(ValueError, match="smoothing: got 0"):
        decoding.learn_prior([np.ones((12, 12))], smoothing=0)
    with pytest.raises(ValueError, match="no interval"):
        decoding.learn_prior([])
