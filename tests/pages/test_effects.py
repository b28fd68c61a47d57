from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from wusu_lib.measures.verdict import Prediction
from wusu_lib.pages import differences
from wusu_lib.pages.style import OUTCOMES


def measured(value, low, high):
    return SimpleNamespace(value=value, low=low, high=high, metric="mIoU", split="val")


RISE = Prediction.parse("val mIoU rises by at least 0.01 over exp04")
FALL = Prediction.parse("val mIoU falls by at least 0.02 over exp04")


def vertical_lines(axes):
    return sorted(line.get_xdata()[0] for line in axes.lines if list(line.get_ydata()) == [0, 1])


def test_effect_shows_estimate_interval_zero_and_threshold():
    axes = differences.effect_figure(measured(0.034, -0.004, 0.071), RISE).axes[0]
    assert list(axes.lines[0].get_xdata()) == [-0.004, 0.071]
    assert list(axes.lines[1].get_xdata()) == [0.034]
    assert vertical_lines(axes) == [0, 0.01]
    assert axes.get_xlabel() == "difference in val mIoU to exp04 (95 % interval)"
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["+0.034  [−0.004, +0.071]", "no effect", "predicted +0.010"]


@pytest.mark.parametrize(("prediction", "inside", "outside"), [(RISE, 0.02, 0.005), (FALL, -0.03, -0.015)])
def test_the_predicted_side_is_shaded(prediction, inside, outside):
    axes = differences.effect_figure(measured(0.0, -0.05, 0.05), prediction).axes[0]
    box = axes.patches[0].get_extents().transformed(axes.transData.inverted())
    assert box.x0 <= inside <= box.x1
    assert not box.x0 <= outside <= box.x1


def test_a_predicted_fall_is_left_of_zero():
    axes = differences.effect_figure(measured(0.004, -0.024, 0.031), FALL).axes[0]
    assert vertical_lines(axes) == [-0.02, 0]
    low, high = axes.get_xlim()
    assert low < -0.024
    assert high > 0.031


def test_without_interval_it_says_so():
    axes = differences.effect_figure(measured(0.034, np.nan, np.nan), RISE).axes[0]
    assert axes.texts[0].get_text() == "+0.034  (no interval)"
    assert np.isfinite(axes.get_xlim()).all()
    assert axes.get_xlim()[1] > 0.034


@pytest.fixture
def rows():
    return pd.DataFrame(
        [
            ("exp04", "val mIoU", 0.05, 0.03, 0.07, 0.01, "supported", True),
            ("exp05", "val mIoU", -0.02, -0.04, -0.005, 0.01, "refuted", False),
            ("exp06", "val mIoU", 0.02, np.nan, np.nan, -0.03, "inconclusive", False),
        ],
        columns=["experiment", "metric", "value", "low", "high", "threshold", "outcome", "stands"],
    )


def test_forest_has_a_row_an_experiment(rows):
    figure = differences.forest_figure(rows)
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["exp04", "exp05", "exp06"]
    intervals, estimates, thresholds = (axes.lines[i:9:3] for i in range(3))
    assert list(intervals[1].get_xdata()) == [-0.04, -0.005]
    assert [line.get_xdata()[0] for line in estimates] == [0.05, -0.02, 0.02]
    assert [line.get_xdata()[0] for line in thresholds] == [0.01, 0.01, -0.03]
    assert [to_hex(line.get_color()) for line in estimates] == [OUTCOMES[o] for o in rows["outcome"]]
    low, high = axes.get_xlim()
    assert low < -0.04
    assert high > 0.07


def test_forest_tells_outcomes_in_words_too(rows):
    figure = differences.forest_figure(rows)
    figure.draw_without_rendering()
    right = figure.axes[0].child_axes[0]
    words = [t.get_text() for t in right.get_yticklabels()]
    assert words == ["+0.050  supported", "−0.020  refuted", "+0.020  inconclusive"]
    names = [t.get_text() for t in figure.legends[0].get_texts()]
    after = ["differs from 0 after Holm", "does not differ after Holm"]
    assert names == ["supported", "refuted", "inconclusive", *after, "predicted"]


def test_forest_legend_lists_only_outcomes_that_occur(rows):
    figure = differences.forest_figure(rows[:1])
    assert [t.get_text() for t in figure.legends[0].get_texts()] == [
        "supported",
        "differs from 0 after Holm",
        "predicted",
    ]


def test_what_does_not_stand_after_holm_is_hollow(rows):
    estimates = differences.forest_figure(rows).axes[0].lines[1:9:3]
    white = [to_hex(line.get_markerfacecolor()) == "#ffffff" for line in estimates]
    assert white == [False, True, True]


def test_measures_do_not_share_an_axis(rows):
    figure = differences.forest_figure(rows.assign(metric=["val mIoU", "val SeK from-to", "val mIoU"]))
    assert [axes.get_xlabel().split(" to the")[0] for axes in figure.axes] == [
        "difference in val mIoU",
        "difference in val SeK from-to",
    ]
    ticks = [[t.get_text() for t in axes.get_yticklabels()] for axes in figure.axes]
    assert ticks == [["exp04", "exp06"], ["exp05"]]
    assert figure.axes[0].get_xlim() != figure.axes[1].get_xlim()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.drop(columns="low"), "'low'"),
        (lambda rows: rows.assign(outcome="proven"), "proven.*supported, refuted|proven.*'supported'"),
        (lambda rows: rows[:0], "no row"),
    ],
)
def test_forest_refuses(rows, change, message):
    with pytest.raises(ValueError, match=message):
        differences.forest_figure(change(rows))
