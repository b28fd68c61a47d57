"""Counting change: orientation, unlabelled pixels, the sums that the three conventions are."""

import numpy as np
import pytest

from wusu_lib import transitions
from wusu_lib.measures import change

ROAD_LOW = transitions.NAMES.index("Road to Low building")
LOW_ROAD = transitions.NAMES.index("Low building to Road")
NONE = 255


def labels(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint8)


def test_truth_in_rows_and_unlabelled_truth_dropped():
    truth = labels(0, 0, ROAD_LOW, ROAD_LOW, NONE, NONE)
    guess = labels(0, LOW_ROAD, ROAD_LOW, 0, ROAD_LOW, 0)
    matrix = change.confusion(truth, guess)
    expected = np.zeros((111, 111), dtype=np.int64)
    expected[0, 0] = expected[0, LOW_ROAD] = expected[ROAD_LOW, ROAD_LOW] = expected[ROAD_LOW, 0] = 1
    assert matrix.dtype == np.int64
    np.testing.assert_array_equal(matrix, expected)


def test_predicted_background_is_no_claim_of_a_change():
    matrix = change.confusion(labels(0, ROAD_LOW, NONE), labels(NONE, NONE, NONE))
    assert (matrix[0, 0], matrix[ROAD_LOW, 0], matrix.sum()) == (1, 1, 2)


def test_reduce_literal():
    matrix = np.zeros((111, 111), dtype=np.int64)
    matrix[0, 0], matrix[0, ROAD_LOW], matrix[ROAD_LOW, LOW_ROAD], matrix[ROAD_LOW, 0] = 100, 10, 7, 3
    np.testing.assert_array_equal(change.reduce(matrix, "binary"), [[100, 10], [3, 7]])
    # 0, Road, Low building. First date: Road where truly changed. Second date: Low building.
    expected = np.zeros((12, 12), dtype=np.int64)
    expected[0, 0] = 200
    expected[0, 1] = expected[0, 2] = 10  # the false change is Road, then Low building
    expected[1, 2] = expected[2, 1] = 7  # the exchanged one
    expected[1, 0] = expected[2, 0] = 3
    np.testing.assert_array_equal(change.reduce(matrix, "per date"), expected)
    np.testing.assert_array_equal(change.reduce(matrix, "from-to"), matrix)


def test_reduce_takes_stacks_and_adds_up():
    stack = np.random.default_rng(0).integers(0, 5, (3, 111, 111))
    for convention in change.CONVENTIONS:
        reduced = change.reduce(stack, convention)
        np.testing.assert_array_equal(reduced.sum(axis=0), change.reduce(stack.sum(axis=0), convention))
        np.testing.assert_array_equal(reduced[1], change.reduce(stack[1], convention))


def test_binary_confusion_literal():
    truth = np.array([[0, 255], [1, 1]])
    guess = np.array([[0, 0], [1, 7]])
    labelled = np.array([[1, 1], [1, 0]])
    np.testing.assert_array_equal(change.binary_confusion(truth, guess, labelled), [[1, 0], [1, 1]])


def test_binary_confusion_is_the_sum_of_the_from_to_matrix():
    rng = np.random.default_rng(1)
    truth, guess = (transitions.from_to(*rng.integers(0, 12, (2, 40, 40), dtype=np.uint8)) for _ in range(2))
    guess[guess == NONE] = 0
    np.testing.assert_array_equal(
        change.binary_confusion(truth, guess, truth != NONE),
        change.reduce(change.confusion(truth, guess), "binary"),
    )


def test_refuses():
    with pytest.raises(ValueError, match=r"shape \(2,\) but prediction \(1,\)"):
        change.confusion(labels(0, 1), labels(0))
    with pytest.raises(ValueError, match=r"prediction holds \[111, 254\]; expected from-to labels 0 to 110"):
        change.confusion(labels(0, 1, 1), labels(0, 111, 254))
    with pytest.raises(ValueError, match="truth has type int64"):
        change.confusion(np.array([0]), labels(0))
    with pytest.raises(ValueError, match=r"shapes \(1,\), \(1,\), \(2,\)"):
        change.binary_confusion(labels(0), labels(0), labels(0, 0))
    with pytest.raises(ValueError, match="got 'stacked'; allowed: binary, per date, from-to"):
        change.reduce(np.zeros((111, 111)), "stacked")
    with pytest.raises(ValueError, match=r"shape \(12, 12\); expected \[..., 111, 111\]"):
        change.reduce(np.zeros((12, 12)), "binary")
