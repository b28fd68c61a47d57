import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from wusu_lib.pages import training
from wusu_lib.pages.style import BASELINE, THIS


@pytest.fixture
def stepped(runs, baseline_runs):
    rng = np.random.default_rng(0)
    for run in [*runs, *baseline_runs]:
        norm = np.full(60, 2.0)
        norm[30] = 8
        values = {"step": np.arange(60), "train/loss": rng.random(60), "gradient_norm": norm}
        run.steps = pd.DataFrame(values)
    return runs, baseline_runs


def test_every_run_has_its_steps_their_median_and_its_spikes(stepped):
    runs, baseline_runs = stepped
    loss, norm = training.step_losses_figure(runs, baseline_runs).axes
    for colour, side in ((THIS, runs), (BASELINE, baseline_runs)):
        drawn = [line for line in loss.lines if to_hex(line.get_color()) == colour]
        assert len(drawn) == 2 * len(side)
        np.testing.assert_array_equal(drawn[0].get_ydata(), side[0].steps["train/loss"])
        half = training.half_window(60)
        np.testing.assert_array_equal(
            drawn[1].get_ydata(), training.running_median(side[0].steps["train/loss"], half)
        )
    dots = [line for line in norm.lines if line.get_marker() == "o"]
    assert [dot.get_xdata().tolist() for dot in dots] == [[30]] * 5
    assert norm.get_yscale() == "log"
