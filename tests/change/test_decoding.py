"""Joint decoding: equal to trying every sequence, and better than argmax where the prior holds."""

import itertools
import tracemalloc

import numpy as np
import pytest

from wusu_lib.change import analysis, codebook, decoding
from wusu_lib.change.decoding import Prior, learn_prior
from wusu_lib.measures import change
from wusu_lib.transitions import from_to


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over axis 1."""
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def by_trying_all(probabilities: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """The best of 11**T sequences of each pixel of [T, 11, N]."""
    dates = len(probabilities)
    sequences = list(itertools.product(range(11), repeat=dates))
    totals = [
        sum(np.log(probabilities[t, s[t]]) for t in range(dates))
        + sum(ratio[t, s[t], s[t + 1]] for t in range(dates - 1))
        for s in sequences
    ]
    return np.array(sequences)[np.argmax(totals, axis=0)].T + 1


@pytest.mark.parametrize("dates", [2, 3])
def test_equals_trying_every_sequence(dates, monkeypatch):
    monkeypatch.setattr(decoding, "BLOCK", 20)  # several blocks
    rng = np.random.default_rng(dates)
    probabilities = softmax(rng.normal(0, 2, (dates, 11, 9, 8)))
    ratio = rng.normal(0, 2, (dates - 1, 11, 11))
    found = decoding.decode(probabilities, Prior(ratio))
    expected = by_trying_all(probabilities.reshape(dates, 11, -1), ratio).reshape(dates, 9, 8)
    np.testing.assert_array_equal(found, expected)
    assert (found != decoding.decode(probabilities)).mean() > 0.2


def test_without_prior_and_with_one_that_says_nothing():
    probabilities = softmax(np.random.default_rng(1).normal(0, 2, (3, 11, 20, 20))).astype(np.float32)
    expected = probabilities.argmax(axis=1) + 1
    np.testing.assert_array_equal(decoding.decode(probabilities), expected)
    np.testing.assert_array_equal(decoding.decode(probabilities, Prior(np.zeros((2, 11, 11)))), expected)


def test_ties_go_to_the_lower_class_and_a_probability_of_0_is_no_veto():
    even = np.full((2, 11, 1, 1), 1 / 11)
    assert decoding.decode(even, Prior(np.zeros((1, 11, 11)))).ravel().tolist() == [1, 1]
    sure = np.zeros((2, 11, 1, 1))
    sure[0, 3], sure[1, 5] = 1, 1
    ratio = np.full((1, 11, 11), -20.0)
    np.fill_diagonal(ratio[0], 5.0)  # staying is 25 better; the doubt of a softmax of 0 costs 13.8
    assert len(set(decoding.decode(sure, Prior(ratio)).ravel().tolist())) == 1


@pytest.fixture(scope="module")
def simulated(city_table, city_masks):
    """True maps [3, H, W] of a test area (labelled pixels) and a classifier's probabilities of them.

    The classifier sees the true class through noise, independently at each date, and knows the train shares:
    exactly the case in which the joint decoding is optimal.
    """
    train = city_table[city_table["split"] == "train"]
    sites = [f"test/{area}_{index}" for area in ("HS", "JA") for index in (0, 2, 4, 13, 15, 17)]
    truth = np.stack([np.concatenate([city_masks[site, date] for site in sites]) for date in (15, 16, 18)])
    rng = np.random.default_rng(5)
    seen = np.eye(12, dtype=np.float32)[truth].transpose(0, 3, 1, 2)[:, 1:]  # [3, 11, H, W]
    logits = 2.2 * (2.2 * seen + rng.normal(0, 1, seen.shape))
    counts = codebook.count_transitions(train)
    shares = [table[1:, 1:].sum(axis=1) for table in (*counts.values(), counts[16, 18].T)]
    with_shares = logits + np.log(np.stack(shares) + 1)[:, :, None, None]
    return truth, softmax(with_shares).astype(np.float32), counts


def figures(truth: np.ndarray, found: np.ndarray) -> dict[str, float]:
    return change.scores(change.confusion(from_to(truth[0], truth[1]), from_to(found[0], found[1])))


def test_joint_decoding_of_two_dates_beats_argmax(simulated):
    truth, probabilities, counts = simulated
    plain = figures(truth, decoding.decode(probabilities[:2]))
    joint = figures(truth, decoding.decode(probabilities[:2], learn_prior([counts[15, 16]])))
    assert joint["BCD F1"] > plain["BCD F1"] + 0.2
    assert joint["SeK from-to"] > plain["SeK from-to"] + 0.05
    assert joint["SeK per date"] > plain["SeK per date"] + 0.05


def test_joint_decoding_of_three_dates_beats_two(simulated, city_table):
    truth, probabilities, counts = simulated
    two = decoding.decode(probabilities[:2], learn_prior([counts[15, 16]]))
    three = decoding.decode(probabilities, learn_prior(counts))
    assert figures(truth, three)["BCD F1"] > figures(truth, two)["BCD F1"] + 0.02


def test_joint_decoding_makes_fewer_implausible_chains(simulated, city_table):
    _, probabilities, counts = simulated
    train = codebook.count_chains(city_table[city_table["split"] == "train"])
    plain, joint = (
        analysis.summarise_chains(analysis.count_chains_of_maps(decoding.decode(probabilities, p)), train)
        for p in (None, learn_prior(counts))
    )
    assert plain["implausible_share"] > 0.1
    assert joint["implausible"] < 0.1 * plain["implausible"]


def test_memory_is_bounded():
    probabilities = np.full((3, 11, 400, 600), 1 / 11, dtype=np.float32)
    decoding.decode(probabilities[:, :, :60], Prior(np.zeros((2, 11, 11))))
    tracemalloc.start()
    decoding.decode(probabilities, Prior(np.zeros((2, 11, 11))))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * 400 * 600 + decoding.BLOCK * (11 * 3 + 40) * 4


def test_refuses():
    with pytest.raises(ValueError, match=r"expected \[dates, 11, H, W\].*drop channel 0"):
        decoding.decode(np.zeros((2, 12, 4, 4)))
    with pytest.raises(ValueError, match="the prior couples 2 dates, but there are 3"):
        decoding.decode(np.zeros((3, 11, 4, 4)), Prior(np.zeros((1, 11, 11))))
