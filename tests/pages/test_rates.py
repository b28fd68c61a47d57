import numpy as np
import pandas as pd
import pytest

from wusu_lib.pages import differences

ROWS = pd.DataFrame(
    {
        "length": [64, 512, 64, 512],
        "way": ["blocks", "blocks", "images", "images"],
        "rate": [0.02, 0.06, 0.5, 0.7],
        "low": [0.01, 0.03, 0.4, 0.6],
        "high": [0.05, 0.1, 0.6, 0.8],
    }
)


def test_rates_have_their_intervals_in_percent():
    axes = differences.rates_figure(ROWS, "length", "way", "length (m)", "pairs (%)", 0.05).axes[0]
    lines = [bars.lines[0] for bars in axes.containers]
    np.testing.assert_allclose([line.get_ydata(orig=False) for line in lines], [[2, 6], [50, 70]])
    first = axes.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose([segment[:, 1] for segment in first], [[1, 5], [3, 10]])
    assert [t.get_text() for t in axes.get_xticklabels()] == ["64", "512"]
    assert [t.get_text() for t in axes.figure.legends[0].get_texts()] == ["blocks", "images"]
    assert [line.get_ydata() for line in axes.lines if list(line.get_xdata()) == [0, 1]][-1] == [5, 5]


def test_rates_refuses():
    with pytest.raises(ValueError, match="columns \\['low'\\] are missing"):
        differences.rates_figure(ROWS.drop(columns="low"), "length", "way", "x", "y", 0.05)
    with pytest.raises(ValueError, match="there is no row"):
        differences.rates_figure(ROWS[:0], "length", "way", "x", "y", 0.05)
