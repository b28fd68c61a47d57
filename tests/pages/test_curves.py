from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from wusu_lib.pages import training
from wusu_lib.pages.style import BASELINE, THIS


def lines(axes, colour):
    """Continuous lines of one colour: the seeds' and last their mean."""
    return [line for line in axes.lines if to_hex(line.get_color()) == colour and line.get_linestyle() == "-"]


def test_each_seed_and_the_mean_are_drawn(runs, baseline_runs):
    figure = training.training_curves_figure(runs, baseline_runs)
    assert [axes.get_title("left") for axes in figure.axes] == [
        "Training loss",
        "Validation loss",
        "Validation mIoU",
    ]
    for axes, column in zip(figure.axes, ("train/loss", "val/loss", "val/mIoU"), strict=True):
        assert len(lines(axes, BASELINE)) == 3
        *seeds, mean = lines(axes, THIS)
        values = np.stack([run.history[column] for run in runs])
        np.testing.assert_allclose(np.stack([seed.get_ydata() for seed in seeds]), values)
        np.testing.assert_allclose(mean.get_ydata(), values.mean(axis=0))
        assert mean.get_linewidth() > 1.5 * seeds[0].get_linewidth()
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["exp04 (2 seeds)", "exp05 (3 seeds)", "least validation loss"]


def test_dot_at_the_epoch_of_least_validation_loss(runs):
    figure = training.training_curves_figure(runs[:1])
    history = runs[0].history
    best = history["val/loss"].argmin()
    dots = [next(line for line in axes.lines if line.get_marker() == "o") for axes in figure.axes]
    assert [dot.get_xdata()[0] for dot in dots] == [history["epoch"][best]] * 3
    assert dots[2].get_ydata()[0] == history["val/mIoU"][best]


@pytest.mark.parametrize("epochs", [1, 2, 9])
def test_ticks_are_whole_epochs(runs, epochs):
    short = SimpleNamespace(history=runs[0].history.iloc[:epochs], parameters={})
    for axes in training.training_curves_figure([short]).axes:
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert ticks
        assert all(tick == int(tick) for tick in ticks)


def test_losses_share_their_axis(runs):
    train, val, _ = training.training_curves_figure(runs).axes
    assert train.get_ylim() == val.get_ylim()


def test_mean_ends_where_the_shortest_seed_does(runs):
    stopped = SimpleNamespace(history=runs[0].history.iloc[:7], parameters={})
    figure = training.training_curves_figure([stopped, runs[1]])
    assert lines(figure.axes[0], THIS)[-1].get_xdata().tolist() == list(range(7))


def test_a_missing_column_is_named(runs):
    short = SimpleNamespace(history=pd.DataFrame({"epoch": [0], "train/loss": [1.0]}), parameters={})
    with pytest.raises(ValueError, match="val/loss"):
        training.training_curves_figure([short])


def test_a_baseline_without_epochs_has_no_curve(runs):
    floor = SimpleNamespace(history=pd.DataFrame(), called="exp00")
    figure = training.training_curves_figure(runs, [floor])
    assert [text.get_text() for text in figure.legends[0].get_texts()][:-1] == ["exp05 (3 seeds)"]
    with pytest.raises(ValueError, match="no run has a history"):
        training.training_curves_figure([floor])


def test_a_training_that_failed_from_the_start_has_no_best_epoch(runs):
    failed = SimpleNamespace(history=runs[0].history.assign(**{"val/loss": np.nan}), parameters={})
    axes = training.training_curves_figure([failed]).axes[2]
    assert [line for line in axes.lines if line.get_marker() == "o"] == []
    np.testing.assert_allclose(axes.lines[0].get_ydata(), runs[0].history["val/mIoU"])


def test_no_runs_is_an_error():
    with pytest.raises(ValueError, match="runs: got none"):
        training.training_curves_figure([])
