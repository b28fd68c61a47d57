"""What a design can find, against limits, simulation and its own sentence."""

import numpy as np
import pytest
from scipy import stats

from wusu_lib.measures import simulation
from wusu_lib.measures.comparison import Estimate
from wusu_lib.measures.neighbours import REACHES, layout
from wusu_lib.measures.verdict import Spread, design, power

FAR = tuple(f"val/A{i}/0/0_0" for i in range(16))
GRID = tuple(f"val/HS/0/{row}_{column}" for row in range(3) for column in range(7))


def test_blocks_far_apart_find_what_a_t_test_finds():
    spread = Spread(block=0.04, training=0.0)
    standard = 0.04 / 4
    right = stats.nct.sf(stats.t.ppf(0.975, 15), 15, 0.02 / standard)
    assert power(FAR, 1, 0.02, spread) == pytest.approx(right, abs=0.01)
    assert power(FAR, 1, 0.0, spread) == pytest.approx(0.025, abs=0.003)
    assert power(FAR, 1, 0.03, spread, threshold=0.01) == pytest.approx(power(FAR, 1, 0.02, spread))


@pytest.mark.parametrize("seeds", [1, 3])
def test_power_is_what_gaussian_blocks_show(seeds):
    spread, n, rng = Spread(0.03, 0.01, float(REACHES[1])), 500, np.random.default_rng(0)
    there, found = layout(GRID), 0
    points = np.array([(row, column) for row in range(3) for column in range(7)], float)
    inner = (np.indices((4, 4)).reshape(2, -1).T + 0.5) / 4
    places = (points[:, None] + inner[None]).reshape(-1, 2)
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
    root = np.linalg.cholesky(np.exp(-apart / spread.reach) + 1e-9 * np.eye(len(places)))
    fields = (rng.standard_normal((n, len(places))) @ root.T).reshape(n, 21, 16).mean(axis=2)
    fields *= spread.block / fields.std()
    for blocks in fields:
        training = rng.standard_normal(seeds) * spread.training * (seeds > 1)
        by_seeds = training.var(ddof=1) / seeds if seeds > 1 else 0.0
        made = Estimate(0.02 + blocks.mean() + training.mean(), None, seeds, there.variance(blocks), by_seeds,
                        blocks=there)  # fmt: skip
        found += made.value > 0 and made.p_value() < 0.05
    assert power(GRID, seeds, 0.02, spread) == pytest.approx(found / n, abs=0.06)


def test_more_blocks_find_more_and_one_finds_nothing():
    assert power(("val/HS/0/0_0",), 1, 0.5) == 0
    assert power(GRID, 1, 0.02) < power((*GRID, *FAR), 1, 0.02)


def test_what_is_assumed_is_what_the_made_models_show():
    from wusu_lib.measures.verdict import MADE

    shown = simulation.noise(8)
    assert shown["block"] == pytest.approx(MADE.block, rel=0.15)
    assert shown["training"] == pytest.approx(MADE.training, rel=0.3)
    assert MADE.reach * 1024 == pytest.approx(256, rel=0.25)  # of a block's side, two patches of 512 m


def test_sentences_literal():
    spread = Spread(block=0.04, training=0.01)
    times = [f"{100 * power(GRID, 1, 0.02, spread, at):.0f} times of 100" for at in (0.0, 0.01)]
    assert design(GRID, 1, threshold=0.01, spread=spread) == (
        f"With 21 blocks and 1 seed, a true difference of 0.02 in mIoU is found {times[0]}, and shown to be "
        f"at least the predicted 0.01 {times[1]}. This takes it that what single blocks show differs by 0.04 "
        "(standard deviations), with errors that are alike over 0.5 of a block's side."
    )
    assert "differs by 0.04 and trainings by 0.01 (standard" in design(GRID, 3, spread=spread)
    assert design(("val/HS/0/0_0",), 1) == (
        "With 1 block and 1 seed there is no interval, so no difference of mIoU can be found."
    )
    with pytest.raises(ValueError, match=r"reach: got 0.4; allowed: 0.5, 0.3, 0.15, 0.0005"):
        power(GRID, 1, 0.02, Spread(0.04, 0.0, 0.4))
