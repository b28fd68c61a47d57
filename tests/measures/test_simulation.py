"""The interval keeps its promise on made pairs; counting single images does not."""

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
    assert 200 < half.n_sites < 558 / 2  # the cut costs some
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


def test_equal_methods_seldom_seem_to_differ_where_rare_classes_are_missing_from_most_ground():
    ends = simulation.intervals(half_scenes("blocks"), simulation.Scenario(lacking=0.95), PAIRS)[0, 0]
    assert simulation.share(ends)["count"] <= stats.binom.ppf(0.99, PAIRS, 0.05)


def test_classes_are_missing_as_the_scenario_says():
    ground = half_scenes("blocks")
    pair = simulation.draw(ground, simulation.Scenario(lacking=0.8), np.random.default_rng(1))
    there = (pair.truth > 0).mean(axis=(0, 2))
    assert there[0] == 1
    assert there[-1] < 0.5
    np.testing.assert_allclose(pair.truth.sum(axis=1), simulation.LABELLED * 256**2)


def test_counting_single_images_fails():
    scenario = simulation.Scenario(length=256.0)
    ends = simulation.intervals(half_scenes("blocks"), scenario, 100, counted=(simulation.by_image,))[0, 0]
    assert simulation.share(ends)["low"] > 0.25


def test_a_gain_of_two_points_is_found_in_80_of_100_pairs():
    rows = simulation.by_gain(PAIRS, gains=(0.02,))
    found = rows[rows["sites"] == 558].iloc[0]
    assert found["count"] >= stats.binom.ppf(0.01, PAIRS, 0.8)
    assert found["computed"] == pytest.approx(found["rate"], abs=0.12)


def left_out(count: int, of: int = 100) -> dict:
    """The share of intervals where so many leave out 0."""
    return simulation.share(np.array([[1.0, 2.0]] * count + [[-1.0, 1.0]] * (of - count)))


def of_lengths(counts: dict[int, int], pairs: int) -> str:
    rows = [{"length": at, "counted": "blocks", **left_out(k, pairs)} for at, k in counts.items()]
    images = [{"length": at, "counted": "single images", **left_out(k)} for at, k in ((64, 50), (512, 80))]
    return differences.lengths_sentence(pd.DataFrame(rows + images)).data


def test_the_promise_ends_where_it_is_first_broken():
    said = of_lengths({64: 5, 256: 40, 512: 9}, 200)
    assert said == (
        "Up to 64 m, no count of false differences is larger than a rate of 5 % allows (99 % binomial "
        "bound), and a rate above 5.7% is unlikely at each (95 % intervals). At 256 m the promise is broken: "
        "20.0% of 200 pairs (95 % interval 14.7% to 26.2%). Counting single images finds a "
        "difference between equal methods in 50% to 80% of the pairs."
    )


def test_few_pairs_say_nothing():
    assert of_lengths({64: 1}, 2).startswith("At 64 m there are too few pairs to say: 50.0% of 2 pairs")
    assert differences.judge(8, 100) == "unclear"  # as likely from a rate of 8 % as from 5 %
    assert differences.judge(20, 500) == "kept"
    assert differences.judge(40, 500) == "broken"


def test_sentences_read_the_tables():
    rows = [{"ground": "half", "lacking": at, **left_out(k, 500)} for at, k in ((0.0, 20), (0.8, 25))]
    assert differences.rarity_sentence(pd.DataFrame(rows)).data.startswith(
        "On the half: up to a share of 80%, no count"
    )
    rows = [{"ground": "half", "sites": 262, "gain": 0.02, **left_out(60), "computed": 0.54}]
    assert differences.gains_sentence(pd.DataFrame(rows)).data == (
        "A gain of 0.02 is found in 60.0% of 100 pairs (95 % interval 49.7% to 69.7%) on the half (262 "
        "sites; computed beforehand: 54%)."
    )
    rows = [
        {"seeds": 1, "methods": "equal", **left_out(4)},
        {"seeds": 1, "methods": "one better", **left_out(70)},
    ]
    assert differences.seeds_sentence(pd.DataFrame(rows)).data == (
        "With 1 seed, equal methods seem to differ in 4.0% of the pairs, and the better one is found in 70%."
    )
