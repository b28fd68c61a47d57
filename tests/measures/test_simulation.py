"""The interval keeps its promise on made pairs; resampling single images does not."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from wusu_lib.measures import change, simulation
from wusu_lib.measures.simulation import half_scenes
from wusu_lib.pages import differences

PAIRS = 200


def test_ground_is_that_of_the_real_data_set():
    whole, half = half_scenes("folders"), half_scenes("blocks")
    assert whole.n_sites == 288 + 270
    assert 200 < half.n_sites < 558 / 2  # the gap costs some
    assert (whole.member.sum(axis=1) == 4).all()
    assert whole.member.sum(axis=0).max() == 4  # patches overlap by half in both directions
    assert len(set(whole.blocks)) == 39
    assert whole.cells_in_blocks.sum() == whole.member.sum()


def test_errors_are_as_alike_as_the_scenario_says():
    ground = half_scenes("folders")
    rng = np.random.default_rng(0)
    fields = np.stack(
        [simulation._fields(ground, 512.0, (11,), rng) for _ in range(200)]
    )  # [n, dates, 11, cells]
    inside = np.flatnonzero(ground.area == 0)
    here = inside[0]
    distance = np.linalg.norm(ground.places - ground.places[here], axis=1)
    one = inside[distance[inside] == 512]
    values = np.moveaxis(fields, 2, 1).reshape(-1, 3, len(ground.area))
    assert values.std() == pytest.approx(1, abs=0.02)
    for there in one:
        alike = np.corrcoef(values[:, 0, here], values[:, 0, there])[0, 1]
        assert alike == pytest.approx(np.exp(-1), abs=0.06)
    assert np.corrcoef(values[:, 0, here], values[:, 2, here])[0, 1] == pytest.approx(
        simulation.SHARED, abs=0.04
    )


def test_counts_are_pixels_of_one_ground():
    ground = half_scenes("blocks")
    pair = simulation.draw(ground, simulation.Scenario(seeds=2), np.random.default_rng(1))
    hits, truth, predicted = np.moveaxis(pair.counts(0.3), 3, 0)
    np.testing.assert_allclose(truth.sum(axis=-2), simulation.LABELLED * 256**2)
    np.testing.assert_allclose(predicted.sum(axis=-2), truth.sum(axis=-2))
    assert (hits <= truth).all()
    assert (hits[0] > pair.counts(0.0)[0, :, :, 0]).all()  # a shift makes side a better everywhere
    np.testing.assert_allclose(hits[1], pair.counts(0.0)[1, :, :, 0])


def test_a_planted_gain_is_what_comes_out():
    ground, scenario = half_scenes("blocks"), simulation.Scenario()
    shifts = simulation.planted(ground, scenario, (0.0, 0.02))
    gains = []
    for i in range(60):
        pair = simulation.draw(ground, scenario, np.random.default_rng([77, i]))
        scores = [
            change.measure("mIoU").score(
                simulation.by_block(ground, pair.counts(shift)).values[0, 0].sum(axis=0)
            )
            for shift in shifts
        ]
        gains.append(scores[1] - scores[0])
    assert shifts[0] == 0
    assert np.mean(gains) == pytest.approx(0.02, abs=0.001)


@pytest.mark.parametrize(("split", "length"), [("folders", 256.0), ("folders", 512.0), ("blocks", 512.0)])
def test_equal_methods_seem_to_differ_in_at_most_5_of_100_pairs(split, length):
    ends = simulation.intervals(half_scenes(split), simulation.Scenario(length=length), PAIRS)[0, 0]
    missed = simulation.share(ends)["count"]
    assert missed <= stats.binom.ppf(0.99, PAIRS, 0.05)


def test_resampling_single_images_fails():
    scenario = simulation.Scenario(length=256.0)
    ends = simulation.intervals(half_scenes("blocks"), scenario, 100, resampled=(simulation.by_image,))[0, 0]
    assert simulation.share(ends)["low"] > 0.25


def test_a_gain_of_two_points_is_found_in_80_of_100_pairs():
    rows = simulation.by_gain(PAIRS, gains=(0.02,))
    found = rows[rows["sites"] == 558].iloc[0]
    assert found["count"] >= stats.binom.ppf(0.01, PAIRS, 0.8)


def left_out(count: int, of: int = 100) -> dict:
    """The share of intervals where so many leave out 0."""
    return simulation.share(np.array([[1.0, 2.0]] * count + [[-1.0, 1.0]] * (of - count)))


def test_sentences_read_the_tables():
    counts = {("blocks", 64): 2, ("blocks", 512): 30, ("single images", 64): 50, ("single images", 512): 80}
    rows = [{"length": at, "resampled": way, **left_out(k)} for (way, at), k in counts.items()]
    said = differences.lengths_sentence(pd.DataFrame(rows)).data
    assert said.startswith("Where errors are alike over up to 64 m, blocks keep the promise")
    assert "(512 m: 30.0% of 100 pairs (95 % interval 21.2% to 40.0%))" in said
    assert said.endswith("in 50% to 80% of the pairs.")
    rows = [
        {"seeds": 1, "methods": "equal", **left_out(4)},
        {"seeds": 1, "methods": "one better", **left_out(70)},
    ]
    assert differences.seeds_sentence(pd.DataFrame(rows)).data == (
        "With 1 seed, equal methods seem to differ in 4.0% of the pairs, and the better one is found in 70%."
    )
