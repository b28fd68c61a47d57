"""Errors of two maps against errors of change: literal counts, independence recovered, dependence told."""

import numpy as np
import pytest

from wusu_lib.change import analysis


def counts(**pixels: int) -> np.ndarray:
    """Pixels by truth and prediction: ``t12_p13`` is truth 1 then 2, predicted 1 then 3."""
    found = np.zeros((12,) * 4, dtype=np.int64)
    for name, n in pixels.items():
        a, b, c, d = (int(character) for character in name if character.isdigit())
        found[a, b, c, d] = n
    return found


def test_rates_literal():
    table = analysis.error_rates(
        counts(t11_p11=80, t11_p12=20, t12_p12=6, t12_p11=3, t12_p13=1, t01_p12=1000)
    )
    assert table["observed"].to_dict() == {
        "false change": 0.2,
        "missed change": 0.3,
        "wrong transition": 0.1,
    }
    assert table["pixels"].tolist() == [100, 10, 10]


def test_a_predicted_unlabelled_pixel_claims_nothing():
    table = analysis.error_rates(counts(t11_p10=4, t11_p11=6, t12_p10=5, t12_p12=5))
    assert table["observed"].tolist()[:2] == [0.0, 0.5]


def test_independent_errors_are_expected_as_observed():
    rng = np.random.default_rng(0)
    first, second = rng.dirichlet(np.ones(11), (2, 12))
    pixels = np.zeros((12, 12))
    pixels[1:, 1:] = rng.integers(1000, 9000, (11, 11))
    made = np.zeros((12,) * 4)
    made[:, :, 1:, 1:] = np.einsum("ab,ac,bd->abcd", pixels, first, second)
    table = analysis.error_rates(np.rint(1e6 * made).astype(np.int64))
    np.testing.assert_allclose(table["observed"], table["expected"], rtol=1e-6)
    shared = analysis.error_dependence(np.rint(1e6 * made).astype(np.int64))
    assert -1 < shared["correlation"] < 1


def test_errors_that_repeat_make_no_change():
    found = counts(t11_p11=90, t11_p22=10)
    table = analysis.error_rates(found)
    assert table.loc["false change", "observed"] == 0
    assert table.loc["false change", "expected"] == pytest.approx(2 * 0.9 * 0.1)
    shared = analysis.error_dependence(found)
    assert shared == pytest.approx(
        {"wrong_first": 0.1, "wrong_second": 0.1, "correlation": 1.0, "repeated": 1.0}
    )


def test_errors_that_never_meet_are_correlated_negatively():
    shared = analysis.error_dependence(counts(t11_p11=80, t11_p21=10, t11_p12=10))
    assert shared["repeated"] == 0
    assert shared["correlation"] == pytest.approx(-1 / 9)


def test_another_shape_is_refused():
    with pytest.raises(ValueError, match="expected"):
        analysis.error_rates(np.zeros((12, 12), dtype=np.int64))
