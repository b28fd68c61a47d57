"""The block bootstrap: literal cases, a slow reference, invariances, coverage, speed."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_runs import MadeRun, noisy_runs, patch_table, patchy_truth, random_runs, two_class_matrix
from scipy import stats

from wusu_lib.measures import bootstrap, classes
from wusu_lib.measures.bootstrap import difference, interval
from wusu_lib.measures.change import measure


def runs_of(table, matrices_by_seed) -> list[MadeRun]:
    return [MadeRun(seed, table, np.stack(m)) for seed, m in matrices_by_seed.items()]


def test_literal_difference_pools_before_it_scores():
    # Two blocks of one patch each. a pools to 60 of 100 road and 100 of 100 low pixels, b to 50 and 100.
    table = patch_table(2, sites_per_block=1).query("date == 15")
    a = runs_of(table, {0: [two_class_matrix(10, 20, 50, 50), two_class_matrix(50, 80, 50, 50)]})
    b = runs_of(table, {0: [two_class_matrix(10, 20, 50, 50), two_class_matrix(40, 80, 50, 50)]})
    found = difference(a, b, "acc")
    assert found.value == pytest.approx((0.6 + 1) / 2 - (0.5 + 1) / 2)
    assert (found.n_patches, found.n_blocks, found.n_seeds) == (2, 2, 1)
    assert (found.metric, found.split, found.background) == ("acc", "val", "ignore")
    assert difference(b, a, "acc").value == -found.value
    assert interval(a, "acc").value == pytest.approx(0.8)


def test_value_is_the_mean_over_seeds_of_the_pooled_metric():
    a, b = random_runs(3, seeds=(1, 2, 5))
    by_seed = [
        classes.scores(x.matrices.sum(axis=0))["mIoU"] - classes.scores(y.matrices.sum(axis=0))["mIoU"]
        for x, y in zip(a, b, strict=True)
    ]
    assert difference(a, b).value == pytest.approx(np.mean(by_seed))
    assert difference(a, b).n_seeds == 3


def slow_draws(a, b, metric, background, resamples, seed):
    """The same draws in plain Python: patches of the drawn blocks are added one by one."""
    rng = np.random.default_rng(seed)
    table = a[0].confusion
    blocks = sorted(table["block"].unique())
    drawn_blocks = rng.integers(len(blocks), size=(resamples, len(blocks)))
    drawn_seeds = rng.integers(len(a), size=(resamples, len(a)))
    draws = []
    for one_blocks, one_seeds in zip(drawn_blocks, drawn_seeds, strict=True):
        total = 0.0
        for s in one_seeds:
            pooled = [np.zeros((12, 12)), np.zeros((12, 12))]
            for block in one_blocks:
                for row in np.flatnonzero(table["block"] == blocks[block]):
                    pooled[0] += a[s].matrices[row]
                    pooled[1] += b[s].matrices[row]
            total += classes.scores(pooled[0], background)[metric]
            total -= classes.scores(pooled[1], background)[metric]
        draws.append(total / len(a))
    return np.sort(draws)


@pytest.mark.parametrize(
    ("metric", "background"), [("mIoU", "ignore"), ("acc", "class"), ("pixel_acc", "ignore")]
)
@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_draws_equal_a_slow_reference(metric, background, seeds):
    a, b = random_runs(4, n_blocks=4, seeds=seeds)
    of = measure(metric, background)
    counted = bootstrap.block_counts([a, b], "val", of)
    resampled = bootstrap.Resampled.of(counted, of, resamples=100, seed=9)
    np.testing.assert_allclose(resampled.draws, slow_draws(a, b, metric, background, 100, 9), atol=1e-12)


def test_interval_is_the_percentile_interval_stretched_for_few_blocks():
    a, b = random_runs(5, n_blocks=8)
    found = difference(a, b, resamples=400, seed=2)
    draws = slow_draws(a, b, "mIoU", "ignore", 400, 2)
    low, middle, high = np.quantile(draws, [0.025, 0.5, 0.975])
    factor = np.sqrt(8 / 7) * stats.t.ppf(0.975, 7) / stats.norm.ppf(0.975)
    assert found.low == pytest.approx(middle - factor * (middle - low))
    assert found.high == pytest.approx(middle + factor * (high - middle))


def test_seeds_that_disagree_widen_the_interval_by_student_t():
    # Every block alike: only seeds vary, so the degrees of freedom are those of the seeds.
    blocks, seeds = (20 / 19, 19.0), (3 / 2, 2.0)
    inflations, freedoms = np.array([blocks, seeds]).T
    stretch, freedom = bootstrap._small_sample(np.array([0.0, 0.3]), inflations, freedoms)
    assert (stretch, freedom) == (pytest.approx(np.sqrt(3 / 2)), pytest.approx(2))
    stretch, freedom = bootstrap._small_sample(np.array([0.3, 0.0]), inflations, freedoms)
    assert (stretch, freedom) == (pytest.approx(np.sqrt(20 / 19)), pytest.approx(19))


def test_blocks_are_resampled_not_patches():
    # The six patches of a block are copies: as patches they would seem six times as much evidence.
    table = patch_table(6)
    rng = np.random.default_rng(1)
    by_block = [two_class_matrix(int(h), 100, 70, 100) for h in rng.integers(20, 90, 6)]
    a = runs_of(table, {0: [by_block[i // 6] for i in range(36)]})
    by_patch = runs_of(table.assign(block=table["patch"], site=table["patch"]), {0: a[0].matrices})
    wide, narrow = interval(a, "acc"), interval(by_patch, "acc")
    assert wide.value == narrow.value
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_pairing_removes_what_both_sides_share():
    table = patch_table(10)
    rng = np.random.default_rng(2)
    hits = np.repeat(rng.integers(10, 60, 10), 6)  # very different blocks, b always 5 pixels better
    a = runs_of(table, {0: [two_class_matrix(h + 5, 100, 50, 100) for h in hits]})
    b = runs_of(table, {0: [two_class_matrix(h, 100, 50, 100) for h in hits]})
    found = difference(a, b, "acc")
    assert found.low == pytest.approx(0.025)
    assert found.high == pytest.approx(0.025)
    assert found.p_value == pytest.approx(2 / 10_001)
    assert interval(a, "acc").high - interval(a, "acc").low > 0.05


def test_identical_runs_do_not_differ():
    a, _ = random_runs(6)
    found = difference(a, a)
    assert (found.value, found.low, found.high, found.p_value) == (0, 0, 0, 1)


def test_class_missing_from_a_resample_is_left_out():
    # Road only in the first block, where it is always missed; a resample without that block has mIoU 1.
    table = patch_table(2, sites_per_block=1).query("date == 15")
    a = runs_of(table, {0: [two_class_matrix(0, 10, 0, 0), two_class_matrix(0, 0, 90, 90)]})
    of = measure("mIoU")
    draws = bootstrap.Resampled.of(bootstrap.block_counts([a], "val", of), of, 200, 0).draws
    assert sorted(set(draws.round(6))) == [0.0, 0.45, 1.0]


def test_resamples_without_a_counted_pixel_are_dropped():
    table = patch_table(2, sites_per_block=1).query("date == 15")
    empty = np.zeros((12, 12), dtype=np.int64)
    a = runs_of(table, {0: [empty, two_class_matrix(5, 10, 5, 10)]})
    of = measure("acc")
    draws = bootstrap.Resampled.of(bootstrap.block_counts([a], "val", of), of, 400, 0).draws
    assert 250 < draws.size < 350  # a quarter of the resamples draw the empty block twice
    assert set(draws) == {0.5}


def test_one_block_gives_no_interval():
    a, b = random_runs(7, n_blocks=1)
    found = difference(a, b)
    assert np.isfinite(found.value)
    assert np.isnan([found.low, found.high, found.p_value]).all()


def test_nothing_labelled_is_refused():
    table = patch_table(2)
    a = runs_of(table, {0: np.zeros((12, 12, 12), dtype=np.int64)})
    with pytest.raises(ValueError, match="mIoU is undefined: the split has no labelled pixel"):
        interval(a)


def test_arguments_are_checked():
    a, b = random_runs(8)
    with pytest.raises(ValueError, match="got 'iou'; allowed: acc, pixel_acc, mIoU, F1"):
        difference(a, b, "iou")
    with pytest.raises(ValueError, match="resamples: got 10; expected at least 100"):
        difference(a, b, resamples=10)
    with pytest.raises(ValueError, match="got 'drop'; allowed: ignore, class"):
        difference(a, b, background="drop")


def shuffled(run: MadeRun, order: np.ndarray) -> MadeRun:
    return MadeRun(run.seed, run.confusion.iloc[order], run.matrices[order])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 1000))
def test_same_result_whatever_the_order_of_rows_and_runs(made, order):
    a, b = random_runs(made, seeds=(0, 1))
    rows = np.random.default_rng(order).permutation(len(a[0].matrices))
    mixed = difference([shuffled(run, rows) for run in a[::-1]], b, resamples=200, seed=made)
    assert mixed == difference(a, b, resamples=200, seed=made)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(classes.METRICS), st.sampled_from(["ignore", "class"]))
def test_swapping_sides_mirrors_the_interval(made, metric, background):
    a, b = random_runs(made)
    there = difference(a, b, metric, background=background, resamples=200)
    back = difference(b, a, metric, background=background, resamples=200)
    assert [back.value, back.low, back.high] == pytest.approx([-there.value, -there.high, -there.low])
    assert back.p_value == pytest.approx(there.p_value, abs=1e-5)
    assert -1 <= there.low <= there.high <= 1


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 50))
def test_more_pixels_of_the_same_kind_change_nothing(made, factor):
    a, b = random_runs(made)
    larger = [[MadeRun(r.seed, r.confusion, r.matrices * factor) for r in side] for side in (a, b)]
    small, large = difference(a, b, resamples=200), difference(*larger, resamples=200)
    assert [large.value, large.low, large.high] == pytest.approx([small.value, small.low, small.high])


def test_p_value_is_under_5_percent_exactly_when_the_interval_leaves_out_zero():
    decided = 0
    for made in range(40):
        a, b = random_runs(made, n_blocks=10)
        found = difference(a, b, resamples=500)
        leaves_out = not found.low <= 0 <= found.high
        assert (found.p_value < 0.05) == leaves_out
        decided += leaves_out
    a, b = random_runs(0, n_blocks=10)
    better = noisy_runs(
        a[0].confusion, a[0].matrices[:, 1:].sum(axis=2), np.random.default_rng(1), shift=-1.5
    )
    assert difference(better, b, resamples=500).p_value < 0.05
    assert decided < 40


def test_seeded():
    a, b = random_runs(9, seeds=(0, 1))
    assert difference(a, b, seed=4) == difference(a, b, seed=4)
    assert difference(a, b, seed=4).low != difference(a, b, seed=5).low


@pytest.mark.parametrize(("n_blocks", "seeds"), [(24, (0,)), (24, (0, 1, 2))])
def test_interval_of_equal_methods_holds_zero_in_95_of_100_cases(n_blocks, seeds):
    # 200 pairs of one method with itself, errors shared within blocks and seeds. If the true rate of misses
    # were above 5 %, more than the bound would turn up; if it were near 0, fewer than the lower one.
    pairs, missed, table = 200, 0, patch_table(n_blocks)
    rng = np.random.default_rng(11)
    for pair in range(pairs):
        truth = patchy_truth(table, rng)
        sides = [noisy_runs(table, truth, rng, seeds, 0.4, 0.1 if len(seeds) > 1 else 0) for _ in "ab"]
        found = difference(*sides, resamples=400, seed=pair)
        missed += not found.low <= 0 <= found.high
    low, high = stats.binom.ppf([0.01, 0.99], pairs, 0.05)
    assert low <= missed <= high, f"{missed} of {pairs} intervals leave out 0; expected {low} to {high}"


def test_speed_at_full_size():
    # 558 sites on three dates, five seeds, 10,000 resamples: under 2 s on two cores.
    table = patch_table(140, sites_per_block=4).iloc[: 558 * 3]
    rng = np.random.default_rng(0)
    truth = patchy_truth(table, rng)
    a, b = (noisy_runs(table, truth, rng, range(5)) for _ in "ab")
    start = time.perf_counter()
    found = difference(a, b)
    assert time.perf_counter() - start < 2
    assert (found.n_patches, found.n_blocks, found.n_seeds) == (1674, 140, 5)
