"""Minimum mapping unit: by new class, over connected areas, learnt from train."""

import numpy as np
import pytest

from wusu_lib import transitions
from wusu_lib.change import decoding
from wusu_lib.transitions import from_to

ROAD_LOW, ARABLE_LOW, ARABLE_LAKE = (
    transitions.NAMES.index(name)
    for name in ("Road to Low building", "Arable land to Low building", "Arable land to Lake")
)


def blank() -> np.ndarray:
    return np.zeros((12, 12), dtype=np.uint8)


def test_small_areas_go_and_large_ones_stay():
    labels = blank()
    labels[1:3, 1:3] = ROAD_LOW  # 4 px
    labels[5:8, 5:8] = ROAD_LOW  # 9 px
    labels[0, 11] = 255
    cleaned = decoding.drop_small(labels, 5)
    assert (cleaned[5:8, 5:8] == ROAD_LOW).all()
    assert np.count_nonzero(cleaned == ROAD_LOW) == 9
    assert cleaned[0, 11] == 255
    assert labels[1, 1] == ROAD_LOW  # the map given is not touched
    np.testing.assert_array_equal(decoding.drop_small(labels, 4), labels)


def test_an_area_may_come_from_several_classes_and_touch_at_corners():
    labels = blank()
    labels[2:4, 2:4], labels[4:6, 4:6] = ROAD_LOW, ARABLE_LOW  # one area of 8 px, touching at a corner
    np.testing.assert_array_equal(decoding.drop_small(labels, 8), labels)
    assert not decoding.drop_small(labels, 9).any()


def test_neighbours_that_become_different_classes_are_different_areas():
    labels = blank()
    labels[2:4, 2:4], labels[2:4, 4:6] = ARABLE_LOW, ARABLE_LAKE
    cleaned = decoding.drop_small(labels, {"Low building": 5})
    assert not cleaned[2:4, 2:4].any()
    assert (cleaned[2:4, 4:6] == ARABLE_LAKE).all()


def test_learnt_size_literal():
    # Areas of 1, 1, 2, 6 px: 10 px. Under 2 px there are 20 % of them, under 6 px 40 %.
    labels = blank()
    labels[1, 1] = labels[1, 4] = labels[3, 1] = labels[3, 2] = ROAD_LOW
    labels[6:8, 4:7] = ROAD_LOW
    labels[10, 11] = labels[0, 7] = ARABLE_LOW  # cut by the edge: not counted
    for share, size in ((0.0, 1), (0.19, 1), (0.2, 2), (0.39, 2), (0.4, 6)):
        learnt = decoding.learn_units([labels, blank()], share)
        assert learnt["Low building"] == size
        assert learnt["Lake"] == 1
        assert set(learnt) == set(transitions.table()["to"]) - {""}


def test_areas_cut_by_the_edge_stay():
    labels = blank()
    labels[0, 3] = labels[5, 11] = labels[11, 1] = labels[7, 0] = ROAD_LOW
    np.testing.assert_array_equal(decoding.drop_small(labels, 100), labels)


def test_learnt_size_removes_at_most_the_share(city_masks):
    train = [site for site, date in city_masks if site.startswith("train") and date == 15]
    maps = [from_to(city_masks[site, 15], city_masks[site, 16]) for site in train]
    learnt = decoding.learn_units(maps, 0.02)
    assert max(learnt.values()) > 1
    lost = np.zeros(111, dtype=int)
    for labels in maps:
        gone = labels != decoding.drop_small(labels, learnt)
        lost += np.bincount(labels[gone], minlength=111)
    whole = sum(np.bincount(labels.ravel(), minlength=256)[1:111].sum() for labels in maps)
    assert 0 < lost.sum() < 0.02 * whole


def test_refuses():
    with pytest.raises(ValueError, match=r"unknown classes \['Building'\]; known: Road, Low building"):
        decoding.drop_small(blank(), {"Building": 4})
    with pytest.raises(ValueError, match="got 0; expected at least 1 pixel"):
        decoding.drop_small(blank(), 0)
    with pytest.raises(ValueError, match=r"shape \(1, 12, 12\); expected one map"):
        decoding.drop_small(blank()[None], 3)
    with pytest.raises(ValueError, match="share: got 1"):
        decoding.learn_units([blank()], 1.0)
