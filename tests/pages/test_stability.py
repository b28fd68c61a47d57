"""Stability on made step losses: what is planted is found, what is not is not, pairing is by seed."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from wusu_lib.pages import training


def made_run(seed, noise, spikes=(), n=300, name="exp03", own=0):
    """A falling loss with a batch effect that depends on the seed only, and noise of the run's own."""
    step = np.arange(n)
    batch = np.random.default_rng(seed).normal(0, 0.1, n)
    loss = 1 + np.exp(-step / 60) + batch + noise * np.random.default_rng([seed, own]).normal(size=n)
    norm = np.full(n, 2.0)
    norm[list(spikes)] = 9.0
    steps = pd.DataFrame({"step": step, "train/loss": loss, "gradient_norm": norm})
    return SimpleNamespace(seed=seed, steps=steps, called=name)


def test_running_median_literal():
    np.testing.assert_array_equal(training.running_median([1, 9, 2, 3, 100], 1), [2, 3, 3])


def test_deviations_leave_the_trend_out_and_count_spikes():
    run = made_run(0, 0.0, spikes=(3, 50, 51))  # step 3 has no whole window
    found = training.deviations(run.steps)
    assert len(found.loss) == 280
    assert found.spikes.sum() == 2
    batch = np.random.default_rng(0).normal(0, 0.1, 300)[10:-10]
    assert np.corrcoef(found.loss, batch)[0, 1] > 0.95


def test_a_calmer_training_is_found_and_its_spikes_counted():
    calm, wild = made_run(1, 0.02), made_run(1, 0.12, spikes=range(20, 260, 8), own=1)
    loss, spikes = (row for _, row in training.compare_stability([calm], [wild]).iterrows())
    assert loss["run"] == pytest.approx((training.deviations(calm.steps).loss ** 2).mean())
    assert loss["estimate"] == pytest.approx(loss["run"] / loss["baseline"])
    assert loss["low"] < loss["estimate"] < loss["high"] < 0.75
    assert 0.3 < loss["shared"] < 0.7
    assert spikes["estimate"] == pytest.approx(-30 / 280)
    assert spikes["low"] < -30 / 280 < spikes["high"] < 0
    text = training.stability_sentence(training.compare_stability([calm], [wild]), [calm], [wild]).data
    assert "calmer" in text
    assert "in 0.0% of the steps, against 10.7% (difference -10.7 points" in text


def test_an_interval_just_below_one_is_not_printed_as_one():
    found = training.compare_stability([made_run(1, 0.02)], [made_run(1, 0.12, own=1)])
    found.loc[0, ["low", "high"]] = 0.6, 0.9999
    text = training.stability_sentence(found, [made_run(1, 0.02)], [made_run(1, 0.12)]).data
    assert "95 % interval 0.6000 to 0.9999" in text


def test_the_interval_covers_one_where_both_are_alike():
    missed = 0
    for seed in range(40):
        loss = training.compare_stability([made_run(seed, 0.05, own=1)], [made_run(seed, 0.05, own=2)]).iloc[
            0
        ]
        missed += not loss["low"] <= 1 <= loss["high"]
    assert missed <= 6  # 40 at 5 % give more than 6 once in a hundred


def test_pairing_by_batch_narrows_the_interval():
    calm, wild = made_run(1, 0.02), made_run(1, 0.06, own=1)
    other = made_run(2, 0.06, own=1)
    other.seed = 1  # other batches under the same seed
    paired, unpaired = (training.compare_stability([calm], [base]).iloc[0] for base in (wild, other))
    assert paired["high"] - paired["low"] < 0.8 * (unpaired["high"] - unpaired["low"])


def test_seeds_are_paired_and_widen_the_interval():
    runs = [made_run(seed, 0.05, own=1) for seed in (1, 2, 3)]
    base = [made_run(seed, noise, own=2) for seed, noise in ((1, 0.0), (2, 0.05), (3, 0.2))]
    found = training.compare_stability(runs, base[::-1])
    assert found["seeds"].tolist() == [3, 3]
    pd.testing.assert_frame_equal(found, training.compare_stability(runs[::-1], base))
    with pytest.raises(ValueError, match=r"the runs have \[1, 2, 3\], the baseline \[1\]"):
        training.compare_stability(runs, base[:1])


def test_few_steps_are_told():
    short = made_run(1, 0.1, n=9)
    found = training.compare_stability([short], [short])
    assert found["estimate"].isna().all()
    assert "too few steps" in training.stability_sentence(found, [short], [short]).data
