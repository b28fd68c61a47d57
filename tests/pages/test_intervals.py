"""The plain list of differences: what it draws and what it refuses."""

import pandas as pd
import pytest

from wusu_lib.pages import differences

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
