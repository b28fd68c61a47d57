"""Intervals from blocks: literal cases, a slow reference, invariances, coverage, speed."""

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_runs import MadeRun, noisy_runs, patch_table, patchy_truth, random_runs, two_class_matrix

from wusu_lib.legend import ELEVEN, LabelSpace
from wusu_lib.measures import classes, comparison
from wusu_lib.measures.change import measure
from wusu_lib.measures.classes import ratio
from wusu_lib.measures.comparison import Estimate, difference, interval
from wusu_lib.measures.neighbours import layout


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
    assert (found.metric, found.split, found.labels) == ("acc", "val", ELEVEN)
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


def slow_contributions(a, b, metric, background):
    """What each block contributes, in plain Python: the patches of all others are added one by one."""
    table = a[0].confusion
    blocks = sorted(table["block"].unique())

    def difference_without(left_out):
        by_seed = []
        for x, y in zip(a, b, strict=True):
            kept = np.flatnonzero((table["block"] != left_out).to_numpy())
            scores = [
                classes.scores(sum(run.matrices[i] for i in kept), LabelSpace(background))[metric]
                for run in (x, y)
            ]
            by_seed.append(scores[0] - scores[1])
        return np.mean(by_seed)

    whole = difference_without("none")
    return np.array([(len(blocks) - 1) * (whole - difference_without(block)) for block in blocks])


@pytest.mark.parametrize(
    ("metric", "background"), [("mIoU", "ignore"), ("acc", "class"), ("pixel_acc", "ignore")]
)
@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_contributions_equal_a_slow_reference(metric, background, seeds):
    a, b = random_runs(4, n_blocks=4, seeds=seeds)
    estimate = Estimate.of(
        comparison.block_counts([a, b], "val", of := measure(metric, LabelSpace(background))), of
    )
    slow = slow_contributions(a, b, metric, background)
    assert estimate.block == pytest.approx(slow.std(ddof=1))
    assert estimate.by_blocks == pytest.approx(layout(FOUR).variance(slow))


FOUR = tuple(f"test/HS{i}/0/0_0" for i in range(4))


def test_interval_of_a_share_is_that_of_its_blocks_mean():
    # Blocks of equal size: pixel accuracy is the mean over blocks, so blocks contribute what they show.
    table = patch_table(4, sites_per_block=1).query("date == 15")
    hits = [50, 70, 40, 80]
    runs = runs_of(table, {0: [two_class_matrix(h, 100, 0, 0) for h in hits]})
    found = interval(runs, "pixel_acc")
    there = layout(FOUR)
    half = there.critical() * np.sqrt(there.variance(np.array(hits) / 100))
    assert [found.value, found.low, found.high] == pytest.approx(
        [0.6, max(0.6 - half, 0), min(0.6 + half, 1)]
    )


def test_seeds_add_what_blocks_do_not_hold():
    # Blocks of equal size. Seeds differ by .02 and .04 everywhere: all of it is added.
    table = patch_table(4, sites_per_block=1).query("date == 15")
    hits = np.array([50, 70, 40, 80])
    everywhere = {s: [two_class_matrix(h + 2 * s, 100, 0, 0) for h in hits] for s in (0, 1, 2)}
    found = estimate_of(runs_of(table, everywhere))
    assert found.by_seeds == pytest.approx(0.02**2 / 3)
    assert found.by_blocks == pytest.approx(layout(FOUR).variance(hits / 100))
    # They differ in one block each: the blocks hold that already, and nothing is added.
    local = {
        s: [two_class_matrix(h + 20 * (i == s), 100, 0, 0) for i, h in enumerate(hits)] for s in (0, 1, 2)
    }
    assert estimate_of(runs_of(table, local)).by_seeds == 0


def estimate_of(runs) -> Estimate:
    of = measure("pixel_acc")
    return Estimate.of(comparison.block_counts([runs], "val", of), of)


def test_figures_are_by_seed_and_then_averaged():
    # mIoU of one class: 500 and 900 of 1,000, against 695 twice; pooled counts would say .7 against .695.
    table = patch_table(2, sites_per_block=1).query("date == 15")

    def runs(hits):
        return runs_of(
            table, {s: [two_class_matrix(h // 2, 500, 500 - h // 2, 500)] * 2 for s, h in enumerate(hits)}
        )

    a, b = runs((500, 900)), runs((695, 695))
    by_seed = [classes.scores(run.matrices.sum(axis=0))["mIoU"] for run in (*a, *b)]
    assert difference(a, b).value == pytest.approx(np.mean(by_seed[:2]) - np.mean(by_seed[2:]))
    assert interval(a).value == pytest.approx(np.mean(by_seed[:2]))


def test_both_sides_are_averaged_over_the_annotated_classes():
    # One side calls one pixel of low building a lake, which nobody annotated: no class more on that side.
    table = patch_table(2, sites_per_block=1).query("date == 15")
    plain = two_class_matrix(80, 100, 50, 100)
    hidden = plain.copy()
    hidden[2, 2], hidden[2, 8] = 49, 1
    a, b = runs_of(table, {0: [hidden, plain]}), runs_of(table, {0: [plain, plain]})
    # IoU of low building: 99 of 240 against 100 of 240; of road as before; two classes.
    assert difference(a, b).value == pytest.approx(-1 / 240 / 2)


def test_blocks_count_not_patches():
    # The six patches of a block are copies: as patches they would seem six times as much evidence.
    table = patch_table(6)
    rng = np.random.default_rng(1)
    by_block = [two_class_matrix(int(h), 100, 70, 100) for h in rng.integers(20, 90, 6)]
    a = runs_of(table, {0: [by_block[i // 6] for i in range(36)]})
    by_patch = runs_of(table.assign(block=table["patch"] + "/0/0_0", site=table["patch"]), {0: a[0].matrices})
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
    assert found.p_value < 1e-6
    assert interval(a, "acc").high - interval(a, "acc").low > 0.05


def test_identical_runs_do_not_differ():
    a, _ = random_runs(6)
    found = difference(a, a)
    assert (found.value, found.low, found.high, found.p_value) == (0, 0, 0, 1)


def test_what_hangs_on_one_block_has_no_interval():
    # 62 of 100 against 60 of 100 in one block of eight; nothing is labelled elsewhere.
    table = patch_table(8, sites_per_block=1).query("date == 15")
    empty = [np.zeros((12, 12), dtype=np.int64)] * 7
    a, b = (runs_of(table, {0: [two_class_matrix(h, 100, 0, 0), *empty]}) for h in (62, 60))
    found = difference(a, b, "pixel_acc")
    assert found.value == pytest.approx(0.02)
    assert np.isnan([found.low, found.high, found.p_value]).all()
    assert found.missing == "without one of the blocks the figure is undefined"


def test_blocks_without_a_counted_pixel_are_no_evidence():
    table = patch_table(8, sites_per_block=1).query("date == 15")
    empty = [np.zeros((12, 12), dtype=np.int64)] * 6
    one, other = two_class_matrix(62, 100, 0, 0), two_class_matrix(50, 100, 0, 0)
    many = interval(runs_of(table, {0: [one, other, *empty]}), "pixel_acc")
    few = interval(runs_of(table.iloc[:2], {0: [one, other]}), "pixel_acc")
    assert (many.low, many.high, many.n_blocks) == (few.low, few.high, 8)


def test_a_class_in_one_block_only_leaves_an_interval_that_allows_for_it():
    # Road in the first block only, found by one side. It is half of the mean and known from one block.
    table = patch_table(8, sites_per_block=1).query("date == 15")
    low = [two_class_matrix(0, 0, 100, 100)] * 7
    a = runs_of(table, {0: [two_class_matrix(10, 10, 100, 100), *low]})
    b = runs_of(table, {0: [two_class_matrix(0, 10, 100, 100), *low]})
    found = difference(a, b)
    assert found.value == pytest.approx((1 + 1) / 2 - (0 + 800 / 810) / 2)
    assert found.low < 0


def test_what_is_wrong_in_every_block_has_no_interval():
    table = patch_table(3, sites_per_block=1).query("date == 15")
    runs = runs_of(table, {0: [two_class_matrix(0, 10, 0, 0)] * 3})  # 0 of 30: how much may still be right?
    found = interval(runs, "pixel_acc")
    assert np.isnan([found.low, found.high]).all()
    assert found.missing == "no two blocks show anything but all right or all wrong"


def test_nothing_found_by_either_side_is_no_certainty():
    counts = np.array([[[0, 10]], [[0, 9]], [[0, 10]]])  # in each block, found and there: 0 of 29
    recall = comparison.Figure("recall", lambda c: ratio(c[..., 0, 0], c[..., 0, 1]))
    found = comparison.effect_of_counts([[counts], [counts]], ["a", "b", "c"], recall)
    assert found["difference"] == 0
    assert np.isnan([found["low"], found["high"]]).all()
    assert found["missing"] == "no two blocks show anything but all right or all wrong"


def test_classes_that_are_read_together_have_simultaneous_intervals():
    rng = np.random.default_rng(0)
    sides = [[np.stack([rng.binomial(50, 0.5, (12, 3)), np.full((12, 3), 50)], axis=1)] for _ in range(2)]
    blocks = [f"val/A{i}/0/0_0" for i in range(12)]
    of = [comparison.Figure(str(k), lambda c, k=k: ratio(c[..., 0, k], c[..., 1, k])) for k in range(3)]
    of.append(comparison.Figure("absent", lambda c: np.full(c.shape[:-2], np.nan)))  # asks nothing
    together = comparison.effects(sides, blocks, of)
    for figure, found in zip(of[:3], together, strict=False):
        assert found["low"] == comparison.effect_of_counts(sides, blocks, figure, family=3)["low"]
        assert found["low"] < comparison.effect_of_counts(sides, blocks, figure)["low"]


def test_one_block_gives_no_interval():
    a, b = random_runs(7, n_blocks=1)
    found = difference(a, b)
    assert np.isfinite(found.value)
    assert np.isnan([found.low, found.high, found.p_value]).all()
    assert found.missing == "one block cannot give any"


def test_blocks_that_lie_nobody_knows_how_are_taken_to_touch():
    a, b = random_runs(7, n_blocks=9)
    known = difference(a, b)
    names = a[0].confusion["block"].str.replace(r"HS(\d+)/0", r"HS/\1", regex=True)  # components of one area
    tiles = [[MadeRun(r.seed, r.confusion.assign(block=names), r.matrices) for r in side] for side in (a, b)]
    unknown = difference(*tiles)
    assert (known.placed, unknown.placed) == (True, False)
    assert unknown.value == known.value
    assert unknown.high - unknown.low > 1.5 * (known.high - known.low)


def test_intervals_of_a_family_are_wider():
    a, b = random_runs(7, n_blocks=12)
    one, of_eleven = difference(a, b), difference(a, b, family=11)
    names = tuple(f"test/HS{i}/0/0_0" for i in range(12))
    ratio = layout(names).critical(1 - 0.05 / 11) / layout(names).critical(0.95)
    assert (of_eleven.high - of_eleven.value) / (one.high - one.value) == pytest.approx(ratio)
    assert of_eleven.p_value == one.p_value


def test_nothing_labelled_is_undefined():
    table = patch_table(2)
    a = runs_of(table, {0: np.zeros((12, 12, 12), dtype=np.int64)})
    for found in (interval(a), difference(a, a)):
        assert np.isnan([found.value, found.low, found.high]).all()
        assert found.missing == "nothing that counts is annotated"


def test_arguments_are_checked():
    a, b = random_runs(8)
    with pytest.raises(ValueError, match="got 'iou'; allowed: acc, pixel_acc, mIoU, F1"):
        difference(a, b, "iou")


def shuffled(run: MadeRun, order: np.ndarray) -> MadeRun:
    return MadeRun(run.seed, run.confusion.iloc[order], run.matrices[order])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 1000))
def test_same_result_whatever_the_order_of_rows_and_runs(made, order):
    a, b = random_runs(made, seeds=(0, 1))
    rows = np.random.default_rng(order).permutation(len(a[0].matrices))
    mixed = difference([shuffled(run, rows) for run in a[::-1]], b)
    assert mixed == difference(a, b)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(classes.METRICS), st.sampled_from(["ignore", "class"]))
def test_swapping_sides_mirrors_the_interval(made, metric, background):
    a, b = random_runs(made)
    there = difference(a, b, metric, labels=LabelSpace(background))
    back = difference(b, a, metric, labels=LabelSpace(background))
    assert [back.value, back.low, back.high] == pytest.approx([-there.value, -there.high, -there.low])
    assert back.p_value == pytest.approx(there.p_value, abs=1e-5)
    assert -1 <= there.low <= there.high <= 1


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 50))
def test_more_pixels_of_the_same_kind_change_nothing(made, factor):
    a, b = random_runs(made)
    larger = [[MadeRun(r.seed, r.confusion, r.matrices * factor) for r in side] for side in (a, b)]
    small, large = difference(a, b), difference(*larger)
    assert [large.value, large.low, large.high] == pytest.approx([small.value, small.low, small.high])


def test_p_value_is_under_5_percent_exactly_when_the_interval_leaves_out_zero():
    decided = 0
    for made in range(40):
        a, b = random_runs(made, n_blocks=10)
        found = difference(a, b)
        leaves_out = not found.low <= 0 <= found.high
        assert (found.p_value < 0.05) == leaves_out
        decided += leaves_out
    a, b = random_runs(0, n_blocks=10)
    better = noisy_runs(
        a[0].confusion, a[0].matrices[:, 1:].sum(axis=2), np.random.default_rng(1), shift=-1.5
    )
    assert difference(better, b).p_value < 0.05
    assert decided < 40


def test_time_and_memory_grow_with_the_blocks_only():
    # 10,000 blocks and 3 seeds in under 5 s of one core and 500 MB; without the runs themselves.
    n, rng = 10_000, np.random.default_rng(0)
    names = tuple(f"val/HS/0/{i // 100}_{i % 100}" for i in range(n))
    truth = rng.integers(0, 3000, (n, 11)).astype(float)
    hits = truth * rng.uniform(0.6, 0.9, (2, 3, n, 11))
    counts = np.stack([hits, np.broadcast_to(truth, hits.shape), truth + 0 * hits], axis=-2)
    counted, of = comparison.BlockCounts(counts, names, n), measure("mIoU")
    layout(FOUR).critical()  # what is imported late
    start = time.thread_time()
    found = comparison.paired(counted, of)
    seconds = time.thread_time() - start
    layout.cache_clear()
    tracemalloc.start()
    comparison.paired(counted, of)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.isfinite([found.low, found.high]).all()
    assert seconds < 5
    assert peak < 500e6


def test_ranks_of_equal_sides_are_shared_and_a_clear_winner_is_always_first():
    table = patch_table(40)
    truth = patchy_truth(table, np.random.default_rng(1))
    good, bad, same = (noisy_runs(table, truth, np.random.default_rng(s), (0,)) for s in (2, 3, 4))
    for run in bad:  # nothing of it is right
        run.matrices[:] = np.roll(run.matrices, 1, axis=2)
    drawn = comparison.ranks([bad, good, same], draws=500)
    assert drawn.shape == (500, 3)
    assert (np.sort(drawn, axis=1) == [1, 2, 3]).all()
    assert (drawn[:, 0] == 3).all()
    assert 0.02 < (drawn[:, 1] == 1).mean() < 0.98
    assert (comparison.ranks([good, good], draws=50) == [1, 2]).all()  # of equals the first
