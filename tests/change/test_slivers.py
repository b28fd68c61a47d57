"""Slivers: a pure shift is taken back entirely, real changes of some width are not touched."""

import numpy as np
import pytest

from wusu_lib import transitions
from wusu_lib.change import decoding
from wusu_lib.transitions import from_to

FIELD, LOW, ROAD = 4, 2, 1


def shapes(seed: int, size: int = 90) -> np.ndarray:
    """A map of overlapping rectangles, from 2 px to 30 px wide, of all classes."""
    rng = np.random.default_rng(seed)
    classes = np.full((size, size), FIELD, dtype=np.uint8)
    for _ in range(60):
        (y, x), (height, width) = rng.integers(0, size, 2), rng.integers(2, 30, 2)
        classes[y : y + height, x : x + width] = rng.integers(1, 12)
    return classes


@pytest.mark.parametrize("tolerance", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_a_shift_within_the_tolerance_leaves_no_change(seed, tolerance):
    ground = shapes(seed)
    for dy, dx in ((tolerance, 0), (-tolerance, tolerance), (1, -tolerance), (tolerance, tolerance)):
        shifted = np.roll(ground, (dy, dx), axis=(0, 1))
        labels = from_to(ground, shifted)
        inner = np.s_[2 * tolerance : -2 * tolerance, 2 * tolerance : -2 * tolerance]
        assert np.count_nonzero(labels[inner]) > 200
        assert not decoding.drop_slivers(labels, ground, shifted, tolerance)[inner].any()


def test_a_shift_beyond_the_tolerance_stays():
    ground = shapes(1)
    shifted = np.roll(ground, 4, axis=1)
    labels = from_to(ground, shifted)
    kept = decoding.drop_slivers(labels, ground, shifted, 2)
    assert np.count_nonzero(kept) > 0.5 * np.count_nonzero(labels)


@pytest.mark.parametrize("tolerance", [1, 2, 3])
def test_changes_made_of_squares_stay_whole(tolerance):
    # An L of squares of t + 1 px beside an old building of the same class.
    before, side = np.full((40, 40), FIELD, dtype=np.uint8), tolerance + 1
    before[10:20, 10:20] = LOW
    after = before.copy()
    after[10 : 10 + side, 20:30] = after[20:30, 10 : 10 + side] = LOW
    labels = from_to(before, after)
    np.testing.assert_array_equal(decoding.drop_slivers(labels, before, after, tolerance), labels)


def test_a_thin_change_that_no_shift_explains_stays():
    # A new road of 1 px through a field that had none.
    before = np.full((20, 20), FIELD, dtype=np.uint8)
    after = before.copy()
    after[:, 9] = ROAD
    labels = from_to(before, after)
    np.testing.assert_array_equal(decoding.drop_slivers(labels, before, after, 2), labels)


def test_real_change_and_slivers_together():
    before = np.full((40, 40), FIELD, dtype=np.uint8)
    before[5:15, 5:15] = LOW
    after = np.roll(before, 1, axis=0)
    after[25:33, 25:33] = LOW
    labels = from_to(before, after)
    expected = np.zeros_like(labels)
    expected[25:33, 25:33] = transitions.LABEL[FIELD, LOW]
    np.testing.assert_array_equal(decoding.drop_slivers(labels, before, after, 1), expected)


def test_unlabelled_stays_and_the_map_given_is_not_touched():
    ground = shapes(2)
    ground[30:40, 30:40] = 0
    shifted = np.roll(ground, 1, axis=0)
    labels = from_to(ground, shifted)
    kept = labels.copy()
    cleaned = decoding.drop_slivers(labels, ground, shifted, 1)
    np.testing.assert_array_equal(labels, kept)
    np.testing.assert_array_equal(cleaned == 255, labels == 255)


def test_change_at_the_map_s_edge_is_kept():
    before = np.full((20, 20), FIELD, dtype=np.uint8)
    before[5:15, 1:10] = LOW
    after = before.copy()
    after[5:15, 0] = LOW
    labels = from_to(before, after)
    np.testing.assert_array_equal(decoding.drop_slivers(labels, before, after, 1), labels)


def test_no_tolerance_and_maps_smaller_than_the_window():
    ground = shapes(3)[:3, :2]
    shifted = np.roll(ground, 1, axis=0)
    labels = from_to(ground, shifted)
    np.testing.assert_array_equal(decoding.drop_slivers(labels, ground, shifted, 0), labels)
    assert decoding.drop_slivers(labels, ground, shifted, 5).shape == (3, 2)


def test_refuses():
    ground = shapes(4)
    with pytest.raises(ValueError, match=r"shapes \(90, 90\), \(90, 90\), \(89, 90\)"):
        decoding.drop_slivers(ground, ground, ground[1:])
    with pytest.raises(ValueError, match="tolerance: got -1; expected 0 to 32 pixels"):
        decoding.drop_slivers(ground, ground, ground, -1)
