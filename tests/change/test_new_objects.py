"""What is new, as objects: scores by hand, objects divided, matches one to one, rules chosen by precision."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wusu_lib import legend
from wusu_lib.change import finding
from wusu_lib.change.finding import Judged, Question, Rule
from wusu_lib.measures.classes import binned, calibration_error

ROAD = legend.NAMES.index("Road")
BUILDING = tuple(legend.NAMES.index(name) for name in ("Low building", "High building"))


def flat(shares):
    """Probabilities [12, 1, 1] that add to 1."""
    return np.array(shares, dtype=np.float32).reshape(-1, 1, 1) / np.sum(shares)


def test_the_score_is_the_posterior_of_all_pairs_that_end_in_the_target_and_begin_elsewhere():
    rng = np.random.default_rng(4)
    counts = rng.integers(0, 10_000, (12, 12))
    asked = Question.learnt({"Building": BUILDING, "Road": (ROAD,)}, counts, smoothing=500.0)
    ratio = asked.ratio
    joint = (counts + 500) / (counts + 500).sum()
    np.testing.assert_allclose(ratio, joint / np.outer(joint.sum(axis=1), joint.sum(axis=0)))
    first, second = (flat(rng.random(12)) for _ in range(2))
    pairs = first[:, None, 0, 0] * second[None, :, 0, 0] * ratio
    pairs /= pairs.sum()
    for number, target in enumerate((BUILDING, (ROAD,))):
        outside = [a for a in range(12) if a not in target]
        wanted = pairs[np.ix_(outside, target)].sum()
        assert finding.scores(first, second, asked)[number, 0, 0] == round(wanted * 255)


def test_what_nobody_doubts_has_the_score_of_certainty_whatever_was_there_before():
    """Unlabelled ground is a class to come from; what was the target already is not new."""
    sure = np.eye(12, dtype=np.float32)
    second = np.repeat(sure[ROAD][:, None, None], 12, axis=2)
    first = sure[:, None, :]  # a pixel a class
    asked = Question.learnt({"Road": (ROAD,)}, np.ones((12, 12), dtype=np.int64))
    found = finding.scores(first, second, asked)[0, 0]
    assert found.tolist() == [0 if a == ROAD else 255 for a in range(12)]


@pytest.mark.parametrize("counts", [np.ones((11, 11)), np.zeros((12, 12))])
def test_counts_that_couple_nothing_are_refused(counts):
    with pytest.raises(ValueError, match=r"expected \(12, 12\), of ground that has masks at two dates"):
        Question.learnt({"Road": (ROAD,)}, counts)


SCORE = np.array(
    [
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 255, 128, 128, 128, 255, 0, 0],
        [0, 128, 128, 128, 128, 128, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 100, 100, 0, 0, 0, 0, 204],
    ],
    dtype=np.uint8,
)


def test_objects_are_areas_above_a_score_of_a_size():
    number, rows = finding.drawn(SCORE, Rule(0.3, 0.0, 2))
    assert rows["area"].tolist() == [10, 2]
    np.testing.assert_allclose(rows["score"], [(2 * 255 + 8 * 128) / 10 / 255, 100 / 255])
    assert (number > 0).sum() == 12
    assert number[4, 7] == 0  # one pixel is too small
    assert set(number[1:3, 1:6].ravel().tolist()) == {1}


def test_an_object_is_divided_between_its_seeds_and_one_without_a_seed_is_none():
    number, rows = finding.drawn(SCORE, Rule(0.3, 0.9, 1))
    assert len(rows) == 2
    assert rows["area"].sum() == 10
    assert number[1, 1] != number[1, 5]
    assert number[1, 1] == number[2, 1] == number[1, 2]
    assert number[1, 5] == number[2, 5] == number[1, 4]
    assert number[4].tolist() == [0] * 8
    assert finding.drawn(SCORE, Rule(0.3, 0.75, 1))[1]["area"].iloc[-1] == 1  # 204 is a seed by itself


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_dividing_neither_adds_nor_loses_a_pixel_of_an_object_with_a_seed(seed):
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).random((40, 40)), 2)
    score = ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)
    whole, _ = finding.drawn(score, Rule(0.5, 0.0, 1))
    parts, rows = finding.drawn(score, Rule(0.5, 0.8, 1))
    for number in range(1, whole.max() + 1):
        inside = whole == number
        seeded = (score[inside] >= 0.8 * 255).any()
        assert (parts[inside] > 0).all() == seeded
        assert (parts[inside] > 0).any() == seeded
    assert not parts[whole == 0].any()
    for number in range(1, parts.max() + 1):
        mine = parts == number
        assert rows["area"][number - 1] == mine.sum()
        _, count = ndimage.label((score >= 0.8 * 255) & mine, structure=np.ones((3, 3)))
        assert count == 1


def test_new_is_the_target_now_and_anything_else_before_even_unlabelled():
    before = np.array([[0, 0, 3, 3, ROAD, 255, 2, 2]] * 3, dtype=np.uint8)
    after = np.array([[ROAD] * 8] * 3, dtype=np.uint8)
    number, rows = finding.true_objects(before, after, (ROAD,), 1)
    assert number[0].tolist() == [1, 1, 1, 1, 0, 0, 2, 2]
    assert rows["unlabelled"].tolist() == [0.5, 0.0]
    assert rows["area"].tolist() == [12, 6]
    assert rows[["y", "x"]].to_numpy().tolist() == [[1, 1.5], [1, 6.5]]
    number, _ = finding.true_objects(before, after, (ROAD,), 7)
    assert number[0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]


def boxes(*places, shape=(40, 40)):
    """A map of numbered rectangles (top, bottom, left, right)."""
    found = np.zeros(shape, dtype=np.int32)
    for number, (top, bottom, left, right) in enumerate(places, start=1):
        found[top:bottom, left:right] = number
    return found


def test_objects_are_matched_one_to_one_and_the_best_overlap_first():
    true = boxes((0, 10, 0, 10), (20, 30, 0, 10), (0, 10, 30, 40))
    found = boxes((0, 10, 0, 6), (0, 10, 6, 10), (20, 30, 2, 14), (35, 40, 35, 40))
    pairs = finding.matched(true, found)
    assert pairs[["true", "found"]].to_numpy().tolist() == [[1, 1], [2, 3]]
    np.testing.assert_allclose(pairs["iou"], [0.6, 80 / 140])
    assert finding.matched(true, found, 0.59)["true"].tolist() == [1]
    assert finding.matched(true, np.zeros_like(true)).empty


def known(*unlabelled):
    """Rows of true objects of 100 px, of each the share that was unlabelled."""
    return pd.DataFrame({"area": [100] * len(unlabelled), "unlabelled": [float(v) for v in unlabelled]})


def test_a_whole_row_of_houses_drawn_as_one_is_one_hit_and_no_more():
    true = boxes((0, 10, 0, 10), (0, 10, 11, 21), (0, 10, 22, 32))
    found = boxes((0, 10, 0, 32))
    assert len(finding.matched(true, found)) == 1
    held = finding.judged((found, pd.DataFrame({"area": [320], "score": [0.9]})), (true, known(0, 0, 0)))
    assert held.counts(np.array([True])) == {"true": 3, "reported": 1, "right": 1}
    assert held.counts(np.array([True]), 0.5) == {"true": 3, "reported": 1, "right": 0}


def test_what_may_have_been_hidden_counts_neither_as_true_nor_as_false():
    true = boxes((0, 10, 0, 10), (20, 30, 0, 10))
    found = boxes((0, 10, 0, 10), (20, 30, 0, 10), (0, 10, 20, 30))
    rows = pd.DataFrame({"area": [100] * 3, "score": [0.9] * 3})
    bare = known(0.6, 0.4)
    everything = np.ones(3, dtype=bool)
    assert finding.judged((found, rows), (true, bare)).counts(everything) == {
        "true": 2,
        "reported": 3,
        "right": 2,
    }
    excusing = finding.judged((found, rows), (true, bare), excuses=True)
    assert excusing.counts(everything) == {"true": 1, "reported": 2, "right": 1}
    assert finding.figures(excusing.counts(everything)) == {"precision": 0.5, "recall": 1.0, "F": 2 / 3}


def test_figures_of_nothing_are_not_numbers():
    assert all(np.isnan(v) for v in finding.figures({"true": 0, "reported": 0, "right": 0}).values())


def ground(seed, n=60):
    """Squares of 100 px, half of them true with a high score; an eighth false with a low one."""
    rng = np.random.default_rng(seed)
    score, true = np.zeros((600, 600), dtype=np.uint8), np.zeros((600, 600), dtype=np.int32)
    cells = [(y, x) for y in range(0, 600, 30) for x in range(0, 600, 30)]
    number = 0
    for k, place in enumerate(rng.permutation(len(cells))[: 3 * n].tolist()):
        y, x = cells[place]
        at = slice(y, y + 10), slice(x, x + 10)
        score[at] = rng.integers(150, 240) if k % 3 == 0 else rng.integers(60, 190)
        if k % 3 == 0:
            number += 1
            true[at] = number
    return score, (true, known(*[0] * number))


def test_the_rule_keeps_the_precision_on_the_ground_that_chose_it_and_about_on_other_ground():
    loose, _ = finding.chosen([ground(1)], 0.0)
    rule, trials = finding.chosen([ground(1), ground(2)], 0.9)
    assert rule.least > 0
    pieces = [finding.judged(finding.drawn(s, rule), truth) for s, truth in (ground(1), ground(2))]
    held = finding.together(pieces)
    reached = finding.figures(held.counts(rule.confidence(held.reported) >= rule.least))
    assert reached["precision"] >= 0.9
    fair = trials[trials["precision"] >= 0.9]["F"].max()
    assert reached["F"] == pytest.approx(fair)
    score, truth = ground(3)
    other = finding.judged(finding.drawn(score, rule), truth)
    sure = rule.confidence(other.reported)
    elsewhere = finding.figures(other.counts(sure >= rule.least))
    assert elsewhere["precision"] > 0.8
    lax = finding.judged(finding.drawn(score, loose), truth)
    without = lax.counts(loose.confidence(lax.reported) >= loose.least)
    assert finding.figures(without)["precision"] < elsewhere["precision"]
    right = other.reported["iou"].to_numpy() >= 0.25
    assert abs(sure.mean() - right.mean()) < 0.08
    assert calibration_error(binned(sure, right, 5)) < 0.15


def test_ground_on_which_nothing_is_right_gives_a_rule_that_reports_nothing():
    score, (true, _) = ground(5)
    nothing = np.zeros_like(true), known()
    rule, trials = finding.chosen([(score, nothing)], 0.8)
    assert (trials["right"] == 0).all()
    held = finding.judged(finding.drawn(score, rule), nothing)
    assert len(held.reported) > 0
    assert not (rule.confidence(held.reported) >= rule.least).any()


def test_objects_of_several_pieces_of_ground_count_together():
    rows = pd.DataFrame({"area": [1], "score": [0.5], "iou": [0.3], "excused": [False]})
    true = pd.DataFrame({"area": [1], "unlabelled": [0.0], "excused": [False], "iou": [0.3]})
    both = finding.together([Judged(rows, true)] * 2)
    assert both.counts(np.ones(2, dtype=bool)) == {"true": 2, "reported": 2, "right": 2}
    assert both.true["piece"].tolist() == both.reported["piece"].tolist() == [0, 1]
