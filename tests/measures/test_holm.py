"""Holm's adjustment against numbers worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wusu_lib.measures.verdict import holm


def test_literal():
    # 4 * 0.01, 3 * 0.02, 2 * 0.03 (not under the one before), 1 * 0.5
    np.testing.assert_allclose(holm([0.03, 0.01, 0.5, 0.02]), [0.06, 0.04, 0.5, 0.06])
    np.testing.assert_allclose(holm([0.6, 0.7]), [1, 1])
    assert holm([]).tolist() == []


def test_what_could_not_be_tested_counts_and_stays_unknown():
    np.testing.assert_allclose(holm([0.01, np.nan, 0.02]), [0.03, np.nan, 0.04])


def test_refuses_what_is_no_probability():
    with pytest.raises(ValueError, match=r"got -0.1 to 0.5; expected values from 0 to 1"):
        holm([0.5, -0.1])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_keeps_the_order_and_lies_between_p_and_bonferroni(p_values):
    adjusted, given_values = holm(p_values), np.array(p_values)
    assert (np.diff(adjusted[np.argsort(given_values, kind="stable")]) >= 0).all()
    assert (adjusted >= given_values).all()
    assert (adjusted <= np.minimum(len(p_values) * given_values, 1)).all()
