"""Calibration: literal counts, planted overconfidence found and undone, maps left as they are."""

import math

import numpy as np
import pytest

from wusu_lib.measures.classes import calibration_error, reliability, temperature, tempered


def softmax(scores):
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def drawn(n=20_000, classes=4, seed=0):
    """Probabilities [n, K] and truths that were drawn from them: such a model is calibrated."""
    rng = np.random.default_rng(seed)
    probabilities = softmax(rng.normal(0, 2, (n, classes)))
    truth = (rng.random((n, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    return probabilities, np.minimum(truth, classes - 1)


def test_counts_of_four_pixels():
    probabilities = np.array([[0.55, 0.45], [0.45, 0.55], [0.9, 0.1], [1.0, 0.0]])
    counted = reliability(probabilities, np.array([0, 0, 0, 1]))
    assert counted.shape == (15, 3)
    assert counted[8].tolist() == [2, pytest.approx(1.1), 1]  # 0.55 lies in (8/15, 9/15]
    assert counted[13].tolist() == [1, pytest.approx(0.9), 1]
    assert counted[14].tolist() == [1, 1, 0]  # certain and wrong
    assert counted.sum(axis=0).tolist() == [4, pytest.approx(3.0), 2]
    assert calibration_error(counted) == pytest.approx((0.1 + 0.1 + 1) / 4)


def test_the_end_of_a_bin_belongs_to_it():
    counted = reliability(np.array([[0.6, 0.4]]), np.array([0]))
    assert np.flatnonzero(counted[:, 0]).tolist() == [8]
    assert math.isnan(calibration_error(np.zeros((15, 3))))


def test_counts_add_up():
    probabilities, truth = drawn(1000)
    parts = reliability(probabilities[:300], truth[:300]) + reliability(probabilities[300:], truth[300:])
    np.testing.assert_allclose(parts, reliability(probabilities, truth), rtol=1e-12)


def test_a_model_that_says_how_often_it_is_right_has_no_error_and_a_temperature_of_one():
    probabilities, truth = drawn()
    assert calibration_error(reliability(probabilities, truth)) < 0.012
    assert temperature(probabilities, truth) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("planted", [0.5, 2.5])
def test_a_planted_temperature_is_found_and_undone(planted):
    probabilities, truth = drawn()
    wrong = tempered(probabilities, 1 / planted)
    found = temperature(wrong, truth)
    assert found == pytest.approx(planted, rel=0.03)
    assert calibration_error(reliability(wrong, truth)) > 0.08
    assert calibration_error(reliability(tempered(wrong, found), truth)) < 0.012


def test_a_temperature_divides_the_scores_and_changes_no_map():
    scores = np.random.default_rng(1).normal(0, 3, (500, 5))
    found = tempered(softmax(scores), 2.0)
    np.testing.assert_allclose(found, softmax(scores / 2), rtol=1e-9)
    assert (found.argmax(axis=1) == scores.argmax(axis=1)).all()
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_a_certain_error_is_no_infinite_surprise():
    probabilities = np.array([[1.0, 0.0]] * 9 + [[0.0, 1.0]])
    assert 1 < temperature(probabilities, np.zeros(10, dtype=int)) <= 8
    with pytest.raises(ValueError, match="no labelled pixel to learn a temperature from"):
        temperature(np.zeros((0, 2)), np.zeros(0, dtype=int))
