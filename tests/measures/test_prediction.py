"""Predictions are read or refused; verdicts follow from the interval and say so in words."""

import pytest

from wusu_lib.measures.comparison import Difference
from wusu_lib.measures.verdict import Prediction, verdict

SENTENCE = "val mIoU rises by at least 0.01 over exp04"


def change(value, low, high, **fields) -> Difference:
    sizes = {"n_patches": 144, "n_blocks": 24, "n_seeds": 3, "metric": "mIoU", "split": "val"}
    return Difference(value, low, high, **(sizes | fields))


def test_parse_literal():
    assert Prediction.parse(SENTENCE) == Prediction("val", "mIoU", "rises", 0.01, "exp04")
    assert Prediction.parse("test pixel_acc falls by at least 0.02 over exp00").direction == "falls"
    assert Prediction.parse(" val  F1 rises by at least .5\n over exp05 ").threshold == 0.5


@pytest.mark.parametrize(
    "sentence",
    [
        SENTENCE,
        "train acc falls by at least 0.125 over exp12",
        "val F1 rises by at least 1 over exp00",
        "val F1 rises by at least 0.00001 over exp00",
        "val F1 rises by at least 0.0123456789 over exp00",
    ],
)
def test_parse_and_str_are_inverse(sentence):
    assert str(Prediction.parse(sentence)) == sentence


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("it gets better", "expected '<split> <metric> rises|falls by at least <x> over <experiment>'"),
        ("val mIoU rises by at least 0.01", "for instance 'val mIoU rises by at least 0.01 over exp04'"),
        ("val mIoU rises by at least -0.01 over exp04", "expected '<split>"),
        ("val mIoU rises by at least 1 % over exp04", "expected '<split>"),
        ("dev mIoU rises by at least 0.01 over exp04", "split is 'dev'; allowed: train, val, test"),
        ("val iou rises by at least 0.01 over exp04", "metric is 'iou'; allowed: acc, pixel_acc, mIoU, F1"),
        ("val mIoU rises by at least 3 over exp04", "3 is impossible; metrics run from 0 to 1"),
        ("", "got ''"),
        ("val mIoU rises by at least 0 over exp04", "state the least rise that would count, above 0"),
        ("val mIoU falls by at least 0.00 over exp04", "state the least fall that would count, above 0"),
    ],
)
def test_parse_refuses(sentence, words):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the words hold regular expression characters
        Prediction.parse(sentence)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("low", "high", "rises", "falls"),
    [
        (0.018, 0.045, "supported", "refuted"),
        (0.01, 0.045, "supported", "refuted"),  # exactly at the threshold is at it
        (0.009, 0.045, "inconclusive", "refuted"),
        (-0.002, 0.01, "inconclusive", "refuted"),
        (-0.002, 0.009, "refuted", "refuted"),
        (-0.02, 0.02, "inconclusive", "inconclusive"),
        (-0.045, -0.009, "refuted", "inconclusive"),
        (-0.045, -0.01, "refuted", "supported"),
        (float("nan"), float("nan"), "inconclusive", "inconclusive"),
    ],
)
def test_outcome(low, high, rises, falls):
    found = change(0.0, low, high)
    assert verdict(Prediction.parse(SENTENCE), found).outcome == rises
    assert verdict(Prediction.parse(SENTENCE.replace("rises", "falls")), found).outcome == falls


def test_sentences_literal():
    rises, falls = Prediction.parse(SENTENCE), Prediction.parse(SENTENCE.replace("rises", "falls"))
    assert verdict(rises, change(0.031, 0.018, 0.045)).sentence == (
        "Supported: val mIoU rose by 0.031 over exp04 (95 % interval +0.018 to +0.045; 144 patches in 24 "
        "blocks, 3 seeds), at least the predicted rise of 0.010. "
        "The interval assumes that errors are alike over at most half a block's side."
    )
    assert verdict(falls, change(-0.031, -0.045, -0.018)).sentence == (
        "Supported: val mIoU fell by 0.031 over exp04 (95 % interval -0.045 to -0.018; 144 patches in 24 "
        "blocks, 3 seeds), at least the predicted fall of 0.010. "
        "The interval assumes that errors are alike over at most half a block's side."
    )
    assert verdict(rises, change(-0.02, -0.03, -0.012, n_seeds=1)).sentence == (
        "Refuted: val mIoU fell by 0.020 over exp04 (95 % interval -0.030 to -0.012; 144 patches in 24 "
        "blocks, 1 seed), short of the predicted rise of 0.010. "
        "The interval assumes that errors are alike over at most half a block's side. "
        "With one seed the interval covers other ground, not another training."
    )
    assert "which does not settle the predicted rise of 0.010." in (
        verdict(rises, change(0.012, -0.003, 0.027)).sentence
    )
    assert verdict(rises, change(0.012, -0.003, 0.027, placed=False)).sentence.endswith(
        "The interval assumes that errors are alike over at most half a block's side, and that all blocks "
        "touch, since it is not known how they lie to each other."
    )
    assert "val mIoU did not change over exp04" in verdict(rises, change(0.0, 0.0, 0.0)).sentence


def test_sentence_without_an_interval():
    nan = float("nan")
    found = verdict(
        Prediction.parse(SENTENCE),
        change(0.4, nan, nan, n_patches=1, n_blocks=1, missing="one block cannot give any"),
    )
    assert found.outcome == "inconclusive"
    assert "assumes" not in found.sentence
    assert "(no interval, since one block cannot give any; 1 patch in 1 block, 3 seeds)" in found.sentence


def test_printed_numbers_never_contradict_the_outcome():
    found = verdict(Prediction.parse(SENTENCE), change(0.0204, 0.0099996, 0.04))
    assert found.outcome == "inconclusive"
    assert "+0.0099996 to" in found.sentence
    found = verdict(Prediction.parse(SENTENCE), change(0.00024, -0.001, 0.002))
    assert "rose by 0.0002 " in found.sentence
    finer = Prediction.parse(SENTENCE.replace("0.01", "0.0125"))
    assert "rise of 0.0125." in verdict(finer, found_at(0.02)).sentence
    finest = Prediction.parse(SENTENCE.replace("0.01", "0.00001"))
    assert "rise of 0.00001." in verdict(finest, found_at(0.02)).sentence


def test_an_undefined_figure_is_called_so():
    nan = float("nan")
    found = verdict(
        Prediction.parse(SENTENCE), change(nan, nan, nan, missing="nothing that counts is annotated")
    )
    assert found.sentence.startswith(
        "Inconclusive: val mIoU is undefined over exp04 (no interval, since nothing that counts is annotated;"
    )


def found_at(value: float) -> Difference:
    return change(value, value, value)


def test_demo_is_labelled_and_changes_nothing_else():
    real, demo = (verdict(Prediction.parse(SENTENCE), found_at(0.03), demo=demo) for demo in (False, True))
    assert demo.demo
    assert not real.demo
    assert demo.outcome == real.outcome
    assert demo.sentence == real.sentence + (
        " Demo scale: this holds for made ground and miniature models, not for published ones."
    )


def test_a_difference_of_something_else_is_refused():
    with pytest.raises(ValueError, match="about metric 'mIoU', the difference about 'F1'"):
        verdict(Prediction.parse(SENTENCE), change(0.1, 0.1, 0.1, metric="F1"))
    with pytest.raises(ValueError, match="about split 'val', the difference about 'test'"):
        verdict(Prediction.parse(SENTENCE), change(0.1, 0.1, 0.1, split="test"))
