"""How far an interval must reach where neighbours are alike, against known distributions and simulation."""

import numpy as np
import pytest
from scipy import stats

from wusu_lib.measures import neighbours
from wusu_lib.measures.neighbours import layout


def grid(rows: int, columns: int, ground: str = "val/HS") -> tuple[str, ...]:
    return tuple(f"{ground}/0/{row}_{column}" for row in range(rows) for column in range(columns))


FAR = tuple(f"val/A{i}/0/0_0" for i in range(9))
LONE = tuple(f"val/HS/{i}/0_0" for i in range(9))


@pytest.mark.parametrize("level", [0.9, 0.95, 1 - 0.05 / 20])
def test_blocks_far_apart_give_student_t(level):
    there = layout(FAR)
    assert there.critical(level) == pytest.approx(stats.t.ppf((1 + level) / 2, 8), rel=0.02)
    values = np.array([3.0, 1, 4, 1, 5, 9, 2, 6, 5])
    assert there.variance(values) == pytest.approx(values.var(ddof=1) / 9)


def test_seeds_alone_give_student_t_of_the_seeds():
    assert layout(grid(3, 3)).critical(0.95, share=1.0, seeds=3) == pytest.approx(
        stats.t.ppf(0.975, 2), rel=0.02
    )
    assert layout(FAR).critical(0.95, share=0.5, seeds=3) < stats.t.ppf(0.975, 2)


def test_neighbours_need_more_than_blocks_far_apart():
    assert layout(grid(3, 3)).critical() > 1.3 * layout(FAR).critical()
    assert layout(grid(1, 2)).critical() > layout(FAR[:2]).critical()
    apart = ("val/HS/0/0_0", "val/HS/0/0_40", "val/HS/0/40_0", "val/JA/0/0_0")
    assert layout(apart).critical() == pytest.approx(layout(FAR[:4]).critical(), rel=0.01)


def test_touching_tiles_of_unknown_places_are_as_dear_as_neighbours_without_their_help():
    unknown = layout(LONE)
    assert not unknown.placed
    assert layout(tuple("abcdefghi")).critical() == unknown.critical()
    values = np.array([3.0, 1, 4, 1, 5, 9, 2, 6, 5])
    assert unknown.variance(values) == pytest.approx(values.var(ddof=1) / 9)
    # 3 x 3 squares that touch: the mean varies so much more than the plain variance says.
    points = (np.indices((24, 24)).reshape(2, -1).T + 0.5) / 8
    square = (points // 1) @ (3, 1)
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
    member = (square == np.arange(9)[:, None]) / 64
    shared = member @ np.exp(-apart / 0.5) @ member.T
    inflation = shared.mean() * 9 / ((np.trace(shared) - shared.mean() * 9) / 8)
    assert unknown.remaining[0] / unknown.estimates[0].mean() == pytest.approx(inflation, rel=0.01)


@pytest.mark.parametrize("reach", [0.5, 0.25, 1e-6])
@pytest.mark.parametrize("seeds", [1, 3])
def test_false_differences_of_gaussian_blocks_are_at_most_5_of_100(reach, seeds):
    # Means over 4 x 4 points a block; seeds as far from each other as blocks make the mean uncertain.
    pairs, rng = 500, np.random.default_rng(0)
    points = (np.indices((16, 24)).reshape(2, -1).T + 0.5) / 4
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
    root = np.linalg.cholesky(np.exp(-apart / reach) + 1e-9 * np.eye(len(points)))
    fields = rng.standard_normal((pairs, len(points))) @ root.T
    values = fields.reshape(pairs, 4, 4, 6, 4).mean(axis=(2, 4)).reshape(pairs, 24)
    trainings = rng.standard_normal((pairs, seeds)) * values.mean(axis=1).std() * (seeds > 1)
    there, false = layout(grid(4, 6)), 0
    for blocks, training in zip(values, trainings, strict=True):
        by_blocks, by_seeds = there.variance(blocks), training.var(ddof=1) / seeds if seeds > 1 else 0.0
        total = by_blocks + by_seeds
        bound = abs(blocks.mean() + training.mean()) / np.sqrt(total)
        false += there.exceeds(bound, by_seeds / total, seeds) < 0.05
    assert false <= stats.binom.ppf(0.99, pairs, 0.055)
    assert false >= stats.binom.ppf(0.01, pairs, 0.015)  # an interval without end would never be wrong


def test_p_values_and_critical_values_agree():
    there = layout(grid(4, 6))
    for level in (0.5, 0.95, 0.9975):
        assert there.exceeds(there.critical(level)) == pytest.approx(1 - level, rel=1e-3)
        assert there.exceeds(there.critical(level, 0.4, 3), 0.4, 3) == pytest.approx(1 - level, rel=1e-3)


def test_many_blocks_are_grouped_and_nothing_is_lost():
    # Squares of 3 x 3 blocks: the variance of independent blocks is still theirs.
    there = layout(grid(45, 45))
    assert len(there.sums) == 225
    rng = np.random.default_rng(0)
    found = [there.variance(rng.standard_normal(2025)) for _ in range(200)]
    assert np.mean(found) == pytest.approx(1 / 2025, rel=0.1)
    assert len(layout(tuple(f"val/A{i}/0/0_0" for i in range(900))).sums) <= neighbours.GROUPS
