from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from made_up_city import SIDE
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from wusu_lib import legend
from wusu_lib.pages import closer, maps
from wusu_lib.pages.style import BASELINE, THIS


@pytest.fixture(scope="module")
def pair(runs, baseline_runs):
    """One run and its baseline under one seed, with the losses and the confidence that stored runs have."""

    def complete(run):
        confidence = np.full((SIDE, SIDE), 230, dtype=np.uint8)

        def scores(split, *_):
            return {"mIoU": {"train": 0.5, "val": 0.4}[split], "loss": {"train": 0.8, "val": 1.0}[split]}

        return SimpleNamespace(
            **vars(run) | {"seed": 1, "scores": scores, "confidence": lambda _: confidence}
        )

    return [complete(runs[0])], [complete(baseline_runs[0])]


def xs(axes, colour):
    return [line.get_xdata() for line in axes.lines if to_hex(line.get_color()) == colour]


def test_the_gap_lies_between_training_and_validation(pair):
    found = closer.gap(*pair)
    left, right = closer.gap_figure(found, *pair).axes
    assert [tick.get_text() for tick in left.get_yticklabels()] == ["exp04", "exp05"]
    line, train, val = xs(right, THIS)
    assert (line.tolist(), list(train), list(val)) == ([0.8, 1.0], [0.8], [1.0])
    assert left.texts[1].get_text() == f"gap {found.loc[0, 'run']:+.3f}"


def test_boundaries_by_distance_and_class(pair, table):
    found = closer.compare_boundaries(*pair, table)
    assert len(found) == 2 * 3 * 12
    left, right = closer.boundary_figure(found, *pair).axes
    mean = found[(found["class"] == closer.MACRO) & (found["measure"] == "boundary F")]
    drawn = [line for line in left.lines if to_hex(line.get_color()) == THIS and line.get_linestyle() == "-"]
    np.testing.assert_array_equal(drawn[0].get_ydata(), mean["run"])
    assert (mean["run"] > mean["baseline"]).all()  # right on 60 % of the pixels against 40 %
    assert [tick.get_text().split(" (")[0] for tick in right.get_yticklabels()][-1] in legend.NAMES


def test_objects_by_size(pair, table):
    found = closer.compare_objects(*pair, table)
    assert found["number"].sum() > 0
    for axes, kind in zip(closer.objects_figure(found, *pair).axes, ("building", "road"), strict=True):
        rows = found[found["kind"] == kind]
        np.testing.assert_array_equal(xs(axes, BASELINE)[0], rows["baseline"])
        assert len(axes.get_yticks()) == len(rows)


def test_none_found_of_29_leaves_a_tenth_possible(pair, table):
    """0 of 29: up to 1 - 0.05^(1/29) = 9.8 % (Clopper and Pearson); of all found, as many may be missed."""
    found = closer.compare_objects(*pair, table)
    found = found[found["kind"] == "building"].iloc[:1].assign(number=29, difference=0.0, low=np.nan)
    found["missing"] = "no two blocks show anything but all right or all wrong"
    for share, word in ((0.0, "found"), (1.0, "missed")):
        text = closer.objects_sentence(found.assign(run=share, baseline=share), *pair).data
        assert f"all wrong; up to 10% of such buildings may be {word})." in text
    assert "may be" not in closer.objects_sentence(found.assign(run=0.5, baseline=0.5), *pair).data


def test_the_heaviest_contradiction_of_each_patch_is_framed(pair, table):
    woodland = np.full((SIDE, SIDE), 5, dtype=np.uint8)
    run = SimpleNamespace(**vars(pair[0][0]) | {"prediction": lambda _: woodland})
    ranking = maps.ranked_regions(run, table)
    figure = maps.disagreement_figure(run, table, ranking, n=2)
    first = ranking.drop_duplicates("patch").iloc[0]
    frames = [p for p in figure.axes[0].patches if isinstance(p, Rectangle)]
    assert (frames[0].get_x(), frames[0].get_y()) == (first["left"], first["top"])
    assert figure.axes[2].get_xlabel().startswith("rank 1: ")
    assert len(figure.axes) == 8
    nothing = maps.disagreement_figure(run, table, pd.DataFrame(columns=maps.COLUMNS))
    assert nothing.axes[0].texts[0].get_text() == "No region contradicts the labels with confidence."
