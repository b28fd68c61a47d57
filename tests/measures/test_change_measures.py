"""Change runs are compared by name, as class maps are; what does not fit together is refused."""

import numpy as np
import pytest
from made_runs import MadeRun, patch_table, random_runs, two_class_matrix

from wusu_lib.legend import LabelSpace
from wusu_lib.measures import change
from wusu_lib.measures.change import MEASURE_NAMES, measure
from wusu_lib.measures.comparison import difference, interval
from wusu_lib.measures.verdict import Prediction

MERGED = LabelSpace("ignore", "merged")


def change_runs(seed: int, size: int = 111, n_blocks: int = 4) -> tuple[list[MadeRun], list[MadeRun]]:
    """Two runs that agree on the truth, mostly unchanged ground and a few transitions."""
    rng = np.random.default_rng(seed)
    table = patch_table(n_blocks).query("date != 18").assign(date=1516).reset_index(drop=True)
    truth = np.zeros((len(table), size), dtype=np.int64)
    truth[:, 0] = 5000
    kinds = [1] if size == 2 else [3, 17, 64]
    truth[:, kinds] = rng.integers(50, 400, (len(table), len(kinds)))
    return [_predicted(table, truth, rng)], [_predicted(table, truth, rng)]


def _predicted(table, truth, rng) -> MadeRun:
    n, size = truth.shape
    matrices = np.zeros((n, size, size), dtype=np.int64)
    index = np.arange(size)
    hits = (truth * rng.uniform(0.5, 0.95, (n, 1))).astype(np.int64)
    matrices[:, index, index] = hits
    matrices[:, index, (index + 1) % size] += truth - hits
    return MadeRun(0, table, matrices)


@pytest.mark.parametrize("name", list(change.FIGURES))
def test_difference_is_that_of_the_pooled_figures(name):
    a, b = change_runs(1)
    pooled = [change.scores(side[0].matrices.sum(axis=0))[name] for side in (a, b)]
    found = difference(a, b, name)
    assert found.value == pytest.approx(pooled[0] - pooled[1])
    if name == "BCD recall":  # all of it is found in every block, which says nothing of other ground
        assert found.missing == "no two blocks show anything but all right or all wrong"
    else:
        assert found.low <= found.value <= found.high
    assert interval(a, name).value == pytest.approx(pooled[0])


def test_models_of_change_alone_have_the_binary_figures_only():
    a, b = change_runs(2, size=2)
    pooled = [side[0].matrices.sum(axis=0) for side in (a, b)]
    f1 = [2 * m[1, 1] / (2 * m[1, 1] + m[0, 1] + m[1, 0]) for m in pooled]
    assert difference(a, b, "BCD F1").value == pytest.approx(f1[0] - f1[1])
    with pytest.raises(ValueError, match=r"SeK from-to is a figure of change and needs .* \[N, 111, 111\]"):
        difference(a, b, "SeK from-to")


def test_figures_of_other_matrices_are_refused():
    maps, _ = random_runs(1)
    with pytest.raises(ValueError, match=r"side a, seed 0: BCD F1 is a figure of change .* \[30, 12, 12\]"):
        interval(maps, "BCD F1")
    with pytest.raises(ValueError, match=r"mIoU is a figure of class maps .* \[N, 12, 12\]"):
        interval(change_runs(1)[0], "mIoU")
    with pytest.raises(ValueError, match="got 'sek'; allowed: acc, pixel_acc, mIoU, F1, BCD F1"):
        measure("sek")


def test_kappa_may_be_negative_and_is_not_cut_off_at_zero():
    # All that changed is taken for the other transition: agreement below chance.
    table = patch_table(2, sites_per_block=1).query("date == 15")
    matrices = np.zeros((2, 111, 111), dtype=np.int64)
    matrices[:, 0, 0], matrices[:, 1, 2], matrices[:, 2, 1] = 100, (30, 40), (30, 40)
    matrices[0, 1, 0] = 1
    found = interval([MadeRun(0, table, matrices)], "SeK from-to")
    assert found.value < -0.95
    assert found.low == -1
    assert measure("Score from-to").lowest == -0.7
    assert measure("mIoU").lowest == 0


def test_merged_classes_forgive_confusions_inside_them():
    # Low (2) and high buildings (3) taken for each other: half right before merging, all right after it.
    table = patch_table(2, sites_per_block=1).query("date == 15")
    matrix = np.zeros((12, 12), dtype=np.int64)
    matrix[2, 2] = matrix[2, 3] = matrix[3, 2] = matrix[3, 3] = 10
    run = MadeRun(0, table, np.stack([matrix, matrix]))
    assert interval([run], "acc").value == pytest.approx(0.5)
    merged = interval([run], "acc", labels=MERGED)
    assert (merged.value, merged.labels) == (pytest.approx(1), MERGED)
    with pytest.raises(ValueError, match='BCD F1 is a figure of change; it takes "all" only'):
        measure("BCD F1", labels=MERGED)


def test_spread_is_the_standard_deviation_over_seeds():
    table = patch_table(2, sites_per_block=1).query("date == 15")
    runs = [
        MadeRun(seed, table, np.stack([two_class_matrix(hits, 10, 5, 10)] * 2))
        for seed, hits in ((0, 5), (1, 9))
    ]
    assert interval(runs, "acc").spread == pytest.approx(np.std([0.5, 0.7], ddof=1))
    assert interval(runs[:1], "acc").spread is None


@pytest.mark.parametrize("name", MEASURE_NAMES)
def test_a_prediction_may_be_about_any_of_them(name):
    sentence = f"val {name} rises by at least 0.02 over exp15"
    assert Prediction.parse(sentence).metric == name
    assert str(Prediction.parse(sentence)) == sentence
