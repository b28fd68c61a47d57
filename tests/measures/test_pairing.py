"""What may not be compared is refused, naming what differs."""

import numpy as np
import pytest
from made_runs import MadeRun, patch_table, random_runs

from wusu_lib.legend import LabelSpace
from wusu_lib.measures.change import measure
from wusu_lib.measures.comparison import block_counts, difference, interval


def changed(run: MadeRun, **columns) -> MadeRun:
    return MadeRun(run.seed, run.confusion.assign(**columns), run.matrices)


def test_block_counts_literal():
    table = patch_table(2, sites_per_block=1)
    matrices = np.zeros((6, 12, 12), dtype=np.int64)
    matrices[:, 1, 1], matrices[:, 1, 2], matrices[:, 0, 2] = np.arange(6), 10, 7
    run = MadeRun(0, table, matrices)
    counted = block_counts([[run]], "val", measure("mIoU"))
    assert (counted.n_patches, counted.n_blocks, counted.n_seeds) == (6, 2, 1)
    hits, truth, predicted = np.moveaxis(counted.values[0, 0], 1, 0)  # each [blocks, K]
    assert hits[:, 0].tolist() == [0 + 1 + 2, 3 + 4 + 5]
    assert truth[:, 0].tolist() == [33, 42]
    assert predicted[:, 1].tolist() == [30, 30]  # the 7 on unlabelled ground do not count


def test_only_the_split_asked_for_is_used():
    a, b = random_runs(1)
    test_rows = [MadeRun(r.seed, r.confusion.assign(split="train"), r.matrices * 3) for r in (a[0], b[0])]
    for run in test_rows:
        run.confusion["patch"] = "train" + run.confusion["patch"]
    both = [
        MadeRun(0, type(x.confusion)(np.concatenate([x.confusion, y.confusion]), columns=x.confusion.columns),
                np.concatenate([x.matrices, y.matrices]))
        for x, y in zip((a[0], b[0]), test_rows, strict=True)
    ]  # fmt: skip
    assert difference(both[:1], both[1:]) == difference(a, b)
    with pytest.raises(ValueError, match="no patches of split 'test'; it has: train, val"):
        difference(both[:1], both[1:], split="test")


def test_other_seeds():
    a, b = random_runs(2, seeds=(0, 1))
    with pytest.raises(ValueError, match=r"side a has \[0, 1\], side b has \[0\]; train the missing ones"):
        difference(a, b[:1])
    with pytest.raises(ValueError, match=r"side b has a seed more than once: \[0, 0\]"):
        difference(a, [b[0], b[0]])
    with pytest.raises(ValueError, match="side a has no run"):
        difference([], b)


def test_other_patches():
    a, b = random_runs(3)
    fewer = MadeRun(0, b[0].confusion.iloc[2:], b[0].matrices[2:])
    with pytest.raises(ValueError, match=r"2 only in side a, seed 0 \(test/HS15_0, test/HS16_0\), 0 only in"):
        difference(a, [fewer])


def test_other_blocks():
    a, b = random_runs(4)
    with pytest.raises(
        ValueError, match=r"put 30 patches into different blocks: test/HS15_0, .* and 27 more"
    ):
        difference(a, [changed(b[0], block=b[0].confusion["site"])])


def test_seeds_of_one_side_must_agree_too():
    a, _ = random_runs(5, seeds=(0, 1))
    with pytest.raises(ValueError, match="side a, seed 0 and side a, seed 1 put 30 patches into"):
        interval([a[0], changed(a[1], block=a[1].confusion["site"])])


def test_other_labels():
    a, b = random_runs(6)
    relabelled = b[0].matrices.copy()
    relabelled[4, 3, 3] += 1
    with pytest.raises(ValueError, match="scored on different labels in 1 patches: test/HS16_"):
        difference(a, [MadeRun(0, b[0].confusion, relabelled)])


def test_unlabelled_pixels_may_differ_only_where_they_do_not_count():
    a, b = random_runs(7)
    more = b[0].matrices.copy()
    more[:, 0, 5] += 3
    other = [MadeRun(0, b[0].confusion, more)]
    assert difference(a, other) == difference(a, b)
    with pytest.raises(ValueError, match="different labels in 30 patches"):
        difference(a, other, labels=LabelSpace("class"))


def test_a_site_in_two_blocks():
    a, _ = random_runs(8)
    with pytest.raises(ValueError, match=r"sites in more than one block: test/HS_0, .*all dates of a site"):
        interval([changed(a[0], block=a[0].confusion["patch"])])


def test_a_patch_twice_and_missing_matrices():
    a, _ = random_runs(9)
    table = a[0].confusion.copy()
    table.loc[1, "patch"] = table.loc[0, "patch"]
    with pytest.raises(ValueError, match="patches more than once: test/HS15_0"):
        interval([MadeRun(0, table, a[0].matrices)])
    with pytest.raises(ValueError, match="30 rows of confusion but 29 matrices"):
        interval([MadeRun(0, a[0].confusion, a[0].matrices[1:])])
