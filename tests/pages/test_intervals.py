"""The plain list of differences: what it draws and what it refuses."""

import pandas as pd
import pytest

from wusu_lib.pages import closer, differences, two_stage

ROWS = pd.DataFrame(
    {
        "experiment": ["no infrared", "skip from block 1"],
        "value": [-0.02, 0.01],
        "low": [-0.03, float("nan")],
        "high": [-0.01, float("nan")],
    }
)


def test_each_row_has_its_label_its_point_and_its_figures_in_words():
    figure = differences.intervals_figure(ROWS, "difference in val mIoU")
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == list(ROWS["experiment"])
    points = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
    assert points == list(ROWS["value"])
    right = next(child for child in axes.child_axes)
    words = [text.get_text() for text in right.get_yticklabels()]
    assert words == ["\u22120.020 [\u22120.030, \u22120.010]", "+0.010"]
    assert axes.get_xlabel() == "difference in val mIoU (95 % interval)"


def test_no_row_is_said_in_words():
    (axes,) = differences.intervals_figure(ROWS.iloc[:0], "difference").axes
    assert axes.get_title(loc="left") == "Nothing to compare with these parameters"


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match=r"columns \['low'\] are missing"):
        differences.intervals_figure(ROWS.drop(columns="low"), "difference")


def test_what_has_no_interval_is_not_said_to_hold_zero():
    rows = ROWS.assign(n_patches=9, n_blocks=1, n_seeds=1)
    assert differences.differences_sentence(rows, "mIoU", "exp04", "patch").data.startswith(
        "*no infrared* (−0.020) has a lower mIoU than exp04; for *skip from block 1* (+0.010) there is no "
        "interval. "
    )
    row = pd.Series({"difference": 0.1, "low": float("nan"), "high": float("nan"), "missing": "one block"})
    assert closer._moved(row, "exp04") == (
        "has no interval to be told apart from that of exp04 by (difference +0.100, no interval, since one "
        "block)"
    )


def test_an_undefined_difference_is_called_so():
    nan = float("nan")
    gains = pd.DataFrame({"split": ["val"], "step": ["map"], "value": [nan], "low": [nan], "high": [nan]})
    text = two_stage.two_stage_gains_sentence(gains).data
    assert "Of 1 steps on validation, 1 have no interval." in text
    assert "changes the figure: undefined (nothing annotated) on validation." in text
    text = two_stage.two_stage_gains_sentence(gains.assign(value=0.1)).data
    assert "changes the figure: +0.100 (no interval) on validation." in text
    axes = differences.intervals_figure(gains.assign(experiment="a"), "difference").axes[0]
    (right,) = axes.child_axes
    assert [text.get_text() for text in right.get_yticklabels()] == ["undefined (nothing annotated)"]
