"""False and true differences on pairs that are made without the library's simulation (``made_errors``)."""

import numpy as np
import pytest
from made_errors import Ground, decided, pair
from scipy.stats import binom


def test_made_pairs_are_as_described():
    ground = Ground((4, 8), 0.5)
    counted = pair(ground, np.random.default_rng(0), seeds=2)
    hits, truth, taken = np.moveaxis(counted.values, 3, 0)  # each [2, S, blocks, classes]
    assert counted.values.shape == (2, 2, 32, 3, 11)
    assert (truth == truth[0, 0]).all()  # one ground for both models and both seeds
    assert (hits <= truth).all()
    np.testing.assert_allclose(taken.sum(axis=-1), truth.sum(axis=-1))
    there = (truth[0, 0] > 0).mean(axis=0)
    assert there[0] == 1
    assert there[-1] < 0.75  # the rarest class is missing from many blocks
    fields = Ground((1, 2), 0.5).fields(np.random.default_rng(1), 20_000).reshape(-1, 3, 6)
    assert np.corrcoef(fields[:, 0, 0], fields[:, 0, 3])[0, 1] == pytest.approx(np.exp(-1 / 0.5), abs=0.02)


@pytest.mark.parametrize(("blocks", "seeds"), [(16, 1), (16, 3), (32, 1)])
def test_equal_models_seem_to_differ_in_3_to_6_of_100_pairs(blocks, seeds):
    pairs = 300
    false = int(np.count_nonzero(decided(pairs, blocks, 0.5, seeds)))
    assert binom.ppf(0.01, pairs, 0.03) <= false <= binom.ppf(0.99, pairs, 0.06)


def test_a_true_difference_of_two_points_is_found_in_70_of_100_pairs_where_errors_are_not_alike():
    pairs = 200
    found = int((decided(pairs, 32, 0.0, gain=0.02) > 0).sum())
    assert found >= binom.ppf(0.01, pairs, 0.7)
