"""How much wider neighbouring blocks make an interval, against direct simulation and limits."""

import numpy as np
import pytest

from wusu_lib.measures.bootstrap import dependence

GRID = tuple(f"val/HS/0/{row}_{column}" for row in range(3) for column in range(3))


def test_blocks_without_a_place_or_far_apart_are_independent():
    for names in (("a", "b", "c", "d"), ("val/HS/0/0_0", "val/JA/1/0_0", "val/HS/0/0_40", "test/HS/7")):
        inflation, freedom = dependence(names)
        assert inflation == pytest.approx(4 / 3)
        assert freedom == pytest.approx(3)


def test_neighbours_widen_and_cost_freedom():
    inflation, freedom = dependence(GRID)
    assert inflation > 1.5 * 9 / 8
    assert freedom < 8
    assert dependence(GRID, reach=0.01)[0] == pytest.approx(9 / 8, rel=0.02)


def test_inflation_is_what_fields_of_that_reach_show():
    # Means over 3 x 3 squares of 4 x 4 points of fields with the assumed correlation.
    reach, points = 0.5, (np.indices((12, 12)).reshape(2, -1).T + 0.5) / 4
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
    root = np.linalg.cholesky(np.exp(-apart / reach) + 1e-9 * np.eye(144))
    fields = (root @ np.random.default_rng(0).standard_normal((144, 20_000))).T.reshape(-1, 3, 4, 3, 4)
    blocks = fields.mean(axis=(2, 4)).reshape(-1, 9)
    shown = blocks.var(axis=1).mean() * 9
    assert dependence(GRID, reach)[0] == pytest.approx(blocks.sum(axis=1).var() / shown, rel=0.06)
