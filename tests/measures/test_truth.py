"""Intervals held against a known truth: parts of the ground, the methods beside ours, what is right."""

import numpy as np
import pandas as pd
import pytest

from wusu_lib.measures import simulation
from wusu_lib.measures.change import measure
from wusu_lib.measures.comparison import BlockCounts
from wusu_lib.measures.verdict import Prediction

NAMES = tuple(
    sorted(f"val/{area}/0/{y}_{x}" for area in ("HS", "JA") for y in range(8, 16) for x in range(8))
)
PREDICTION = Prediction.parse("val mIoU rises by at least 0.01 over exp04")
OF = measure("mIoU")


def piece(rng, gain=0.05, seeds=1, noise=0.02, spread=0.0):
    """Blocks without dependence, of 1000 pixels a class; side a hits ``gain`` more of them than side b.

    What it predicts is as much as there is, so that IoU rises with hits alone.
    """
    training = spread * rng.standard_normal((2, seeds, 1, 1))
    rate = 0.6 + training + noise * rng.standard_normal((2, seeds, len(NAMES), 11))
    rate[0] += gain
    truth = np.full(rate.shape, 1000.0)
    hits = np.round(truth * rate)
    return BlockCounts(np.stack([hits, truth, truth], axis=-2), NAMES, 3 * len(NAMES))


@pytest.mark.parametrize(("size", "number"), [(128, 1), (64, 2), (32, 4), (16, 8)])
def test_parts_are_whole_lie_together_and_share_nothing(size, number):
    found = simulation.parts(NAMES, size)
    assert [len(part) for part in found] == [size] * number
    assert len(set(np.concatenate(found).tolist())) == size * number
    along, across = simulation.SIZES[size]
    for part in found if size < 128 else []:
        areas, places = zip(*(NAMES[i].rsplit("/", 1) for i in part), strict=True)
        rows, columns = (sorted({int(place.split("_")[k]) for place in places}) for k in (0, 1))
        assert len(set(areas)) == 1
        assert rows == list(range(rows[0], rows[0] + along))
        assert columns == list(range(columns[0], columns[0] + across))


def test_a_part_that_is_not_whole_is_left_out():
    assert [len(part) for part in simulation.parts(NAMES[:-1], 64)] == [64]
    assert simulation.parts(NAMES[:-1], 128) == []


def test_the_truth_is_the_difference_on_all_other_ground():
    rng = np.random.default_rng(0)
    pieces = [piece(rng) for _ in range(3)]
    rows = simulation.against_truth(pieces, OF, PREDICTION, trained=1)
    others = sum(other.values.sum(axis=2) for other in pieces[1:])
    a, b = OF.score(others)[:, 0]
    assert rows.loc[rows["piece"] == 0, "truth"].unique() == pytest.approx([a - b])
    assert set(rows["right"]) == {"supported"}
    assert set(rows["method"]) == set(simulation.METHODS)


def test_three_seeds_are_held_against_further_trainings():
    rng = np.random.default_rng(1)
    pieces = [piece(rng, seeds=5) for _ in range(2)]
    rows = simulation.against_truth(pieces, OF, PREDICTION, trained=3)
    of_each = OF.score(pieces[1].values.sum(axis=2))
    first = rows[rows["piece"] == 0]
    assert first.loc[first["seeds"] == 3, "truth"].unique() == pytest.approx(
        [(of_each[0] - of_each[1])[3:].mean()]
    )
    single = sorted(first.loc[first["seeds"] == 1, "truth"].unique())
    assert single == pytest.approx(sorted((of_each[0] - of_each[1])[:3]))


def test_independent_blocks_are_held_about_as_often_as_promised():
    """480 parts of 16 blocks: too few for a percentile interval, which holds under 94 %."""
    rng = np.random.default_rng(2)
    pieces = [piece(rng, gain=0.0) for _ in range(60)]
    rates = simulation.truth_rates(simulation.against_truth(pieces, OF, PREDICTION, trained=1))
    few = rates[rates["blocks"] == 16].set_index("method")
    assert (few["intervals"] == 480).all()
    assert few.loc["percentile", "held"] < 0.94
    assert few.loc["ours", "held"] > 0.95


def test_blocks_drawn_again_agree_with_the_normal_theory_of_a_mean():
    """One class of equal blocks: the figure is near linear in the mean rate, whose error is known."""
    counted = piece(np.random.default_rng(3), gain=0.0)
    ends = simulation.drawn_again(counted, OF)
    reach = (simulation.Estimate.of(counted, OF).by_blocks ** 0.5) * 1.96
    for low, high in ends.values():
        assert (high - low) / 2 == pytest.approx(reach, rel=0.25)


def test_rates_count_what_was_held_right_wrong_and_left_open():
    rows = pd.DataFrame(
        [
            (0.02, 0.01, 0.03, "supported", "supported"),
            (0.02, 0.00, 0.015, "inconclusive", "supported"),
            (0.00, 0.012, 0.02, "supported", "refuted"),
            (0.00, -0.01, 0.005, "refuted", "refuted"),
        ],
        columns=["truth", "low", "high", "outcome", "right"],
    ).assign(blocks=16, seeds=1, method="ours")
    (found,) = simulation.truth_rates(rows).to_dict("records")
    assert (found["intervals"], found["held"]) == (4, 0.5)
    assert (found["right"], found["wrong"], found["open"]) == (0.5, 0.25, 0.25)
    assert found["width"] == pytest.approx(0.0075)
